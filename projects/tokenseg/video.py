"""Videos: the frames of a file or a camera, and a file of pictures in whatever codec this machine can write."""

import contextlib
import math
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

# The codecs speak of every failed attempt on stderr, in the library's words; FFmpeg reads this once.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

import cv2
import numpy as np

# Suffix of a file -> codecs that it can hold, the one first that most programs play. The last resort of all is motion
# JPEG in an .avi, which OpenCV writes itself.
CODECS = {
    ".mp4": ("avc1", "mp4v"),
    ".mov": ("avc1", "mp4v"),
    ".mkv": ("avc1", "mp4v"),
    ".webm": ("VP90", "VP80"),
    ".avi": ("XVID", "MJPG"),
}
_LAST_RESORT = (".avi", "MJPG")
# Frames a second, where a source tells none that a video can have.
_USUAL_RATE, _HIGHEST_RATE = 25.0, 240.0


class VideoSource:
    """The frames of a video file or of a camera, one after the other.

    Attributes:
        is_camera: Whether frames come from a camera, and therefore without end.
        rate: Frames a second, as the source tells it.
        count: The number of frames that the file tells; 0 if it tells none, and of a camera.
    """

    def __init__(self, source: str) -> None:
        """
        Args:
            source: The path of a file, or the number of a camera.

        Raises:
            ValueError: There is no such file or camera, or it is no video, or its first frame cannot be read.
        """
        self._name, self.is_camera = source, source.isdigit() and not os.path.exists(source)
        if not self.is_camera and not os.path.isfile(source):
            raise ValueError(f"--video is '{source}'; wanted a file, or the number of a camera such as 0")
        with _quiet():
            self._capture = cv2.VideoCapture(int(source) if self.is_camera else source)
            read, self._first = self._capture.read()
        if not read:
            opened = self._capture.isOpened()
            self.close()
            raise ValueError(self._complaint(opened))
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.rate = rate if 0 < rate <= _HIGHEST_RATE else _USUAL_RATE
        told = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.count = 0 if self.is_camera or not math.isfinite(told) else max(0, int(told))

    def _complaint(self, opened: bool) -> str:
        if self.is_camera:
            why = "gives no picture" if opened else "cannot be opened"
            return f"camera {self._name} {why}; wanted the number of a camera that no other program uses"
        if opened:
            return f"video file {self._name} has no frame that can be read; it is empty or damaged"
        return f"video file {self._name} cannot be read: it is damaged, no video, or in a codec that OpenCV lacks"

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yields frames (H, W, 3) uint8 RGB, all of the size of the first; they can be read once."""
        height, width = self._first.shape[:2]
        read, frame = True, self._first
        while read:
            if frame.shape[:2] != (height, width):  # a stream may change its size
                frame = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
            yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
            with _quiet():
                read, frame = self._capture.read()

    def close(self) -> None:
        """Let go of the file or camera."""
        self._capture.release()


class VideoFile:
    """A video file that is being written; `close` makes it whole.

    Attributes:
        path: Where it is written: the path that was asked for, or one that ends in .avi where no codec for that path
            can be had.
        codec: The four letters of the codec.
        count: The number of pictures that it holds.
    """

    def __init__(self, path: Path, *, rate: float, size: tuple[int, int]) -> None:
        """
        Args:
            path: The path of the file, whose suffix is one of `CODECS`.
            rate: Frames a second.
            size: Height and width of the pictures in pixels.

        Raises:
            ValueError: The file cannot be written.
        """
        check_suffix(path)
        self._rate, self._size = rate, size
        self._even = tuple(side + side % 2 for side in size)  # most codecs halve the colours' sides
        suffix, self.codec = self._first_that_works(path.suffix.lower())
        self.path = path if suffix == path.suffix.lower() else path.with_suffix(suffix)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.count = 0
        with _quiet():
            self._writer = self._open(self.path, self.codec)
        if not self._writer.isOpened():
            raise ValueError(f"{self.path} cannot be written; wanted a place where files can be made")

    def _open(self, path: Path, codec: str) -> cv2.VideoWriter:
        return cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), self._rate, self._even[::-1])

    def _first_that_works(self, suffix: str) -> tuple[str, str]:
        candidates = [*((suffix, codec) for codec in CODECS[suffix]), _LAST_RESORT]
        return next((pair for pair in candidates if self._works(*pair)), _LAST_RESORT)

    def _works(self, suffix: str, codec: str) -> bool:
        """Whether a video of two pictures can be written and read: some writers open, and write nothing."""
        with tempfile.TemporaryDirectory() as folder, _quiet():
            path = Path(folder, f"trial{suffix}")
            writer = self._open(path, codec)
            for _ in range(2):
                writer.write(np.zeros((*self._even, 3), np.uint8))
            writer.release()
            return _is_readable(path)

    def write(self, picture: np.ndarray) -> None:
        """Append a picture (H, W, 3) uint8 RGB.

        Raises:
            ValueError: The picture has another size than the video.
        """
        if picture.shape != (*self._size, 3):
            raise ValueError(f"a picture of the video has shape {picture.shape}; wanted {(*self._size, 3)}")
        bottom, right = (even - side for even, side in zip(self._even, self._size, strict=True))
        whole = cv2.copyMakeBorder(picture, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
        with _quiet():
            self._writer.write(cv2.cvtColor(whole, cv2.COLOR_RGB2BGR))
        self.count += 1

    def close(self) -> None:
        """Finish the file.

        Raises:
            ValueError: What was written cannot be read, for instance because the disk is full.
        """
        with _quiet():
            self._writer.release()
            if self.count and not _is_readable(self.path):
                raise ValueError(f"{self.path} was written but cannot be read; wanted room for it on the disk")


class LifeSpeed:
    """How often each picture of a camera is written, so that the video runs as fast as life."""

    def __init__(self, rate: float) -> None:
        """
        Args:
            rate: Frames a second of the video.
        """
        self._rate, self._start, self._written = rate, time.perf_counter(), 0

    def repeats(self) -> int:
        """The number of times that the next picture is due, 1 or more."""
        due = round((time.perf_counter() - self._start) * self._rate) - self._written
        self._written += max(1, due)
        return max(1, due)


def check_suffix(path: Path) -> None:
    """Refuse the path of a video whose suffix names no container that can be written.

    Raises:
        ValueError: It does not.
    """
    if path.suffix.lower() not in CODECS:
        raise ValueError(f"--output is {path}; wanted a video file that ends in {', '.join(CODECS)}")


def _is_readable(path: Path) -> bool:
    """Whether a file holds a video of at least one picture."""
    capture = cv2.VideoCapture(str(path))
    read, _ = capture.read()
    capture.release()
    return read


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what OpenCV writes to stderr: what matters of it is an error of ours."""
    logging = cv2.utils.logging
    level = logging.getLogLevel()
    logging.setLogLevel(logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        logging.setLogLevel(level)
