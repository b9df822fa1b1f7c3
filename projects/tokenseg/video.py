"""Reads the frames of videos and cameras, and writes videos in a codec that works on this machine."""

import contextlib
import math
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

# FFmpeg's codecs would print every failed attempt to stderr. FFmpeg reads this variable only once, so it must be set
# before OpenCV is imported.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

import cv2
import numpy as np

# Suffix of a file -> the codecs to try, beginning with the one that most programs can play. If none of them works, the
# last resort is motion JPEG in an .avi file, which OpenCV itself can always write.
CODECS = {
    ".mp4": ("avc1", "mp4v"),
    ".mov": ("avc1", "mp4v"),
    ".mkv": ("avc1", "mp4v"),
    ".webm": ("VP90", "VP80"),
    ".avi": ("XVID", "MJPG"),
}
_LAST_RESORT = (".avi", "MJPG")
# The frame rate if a source does not state one, and the highest stated one that is believed, in frames per second.
_USUAL_RATE, _HIGHEST_RATE = 25.0, 240.0


class VideoSource:
    """Iterates over the frames of a video file or a camera.

    Attributes:
        is_camera: Whether the frames come from a camera, and therefore never end.
        rate: The frame rate that the source states, in frames per second.
        count: The number of frames that the file states; 0 if it states none, and for a camera.
    """

    def __init__(self, source: str) -> None:
        """
        Args:
            source: The path of a file, or the number of a camera.

        Raises:
            ValueError: There is no such file or camera, it is not a video, or its first frame cannot be read.
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
            return f"camera {self._name} {why}; wanted the number of a camera that no other program is using"
        if opened:
            return f"video file {self._name} has no frame that can be read; it is empty or damaged"
        return f"video file {self._name} cannot be read: it is damaged, not a video, or in a codec that OpenCV lacks"

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yield the frames (H, W, 3) uint8 RGB, resized to the size of the first. They can be read only once."""
        height, width = self._first.shape[:2]
        read, frame = True, self._first
        while read:
            if frame.shape[:2] != (height, width):  # the size may change within a stream
                frame = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
            yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
            with _quiet():
                read, frame = self._capture.read()

    def close(self) -> None:
        """Release the file or camera."""
        self._capture.release()


class VideoFile:
    """Writes a video file, which is complete only after `close`.

    Attributes:
        path: The path of the file: the requested one, or the same with the suffix .avi if no codec works for the
            requested suffix.
        codec: The four letters of the codec.
        count: The number of pictures written so far.
    """

    def __init__(self, path: Path, *, rate: float, size: tuple[int, int]) -> None:
        """
        Args:
            path: The path of the file, whose suffix is one of `CODECS`.
            rate: The frame rate in frames per second.
            size: The (height, width) of the pictures in pixels.

        Raises:
            ValueError: The file cannot be written.
        """
        check_suffix(path)
        self._rate, self._size = rate, size
        # Most codecs store colours at half the resolution, so both sides must be even.
        self._even = tuple(side + side % 2 for side in size)
        suffix, self.codec = self._first_that_works(path.suffix.lower())
        self.path = path if suffix == path.suffix.lower() else path.with_suffix(suffix)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.count = 0
        with _quiet():
            self._writer = self._open(self.path, self.codec)
        if not self._writer.isOpened():
            raise ValueError(f"{self.path} cannot be written; wanted a folder in which files can be created")

    def _open(self, path: Path, codec: str) -> cv2.VideoWriter:
        return cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), self._rate, self._even[::-1])

    def _first_that_works(self, suffix: str) -> tuple[str, str]:
        candidates = [*((suffix, codec) for codec in CODECS[suffix]), _LAST_RESORT]
        return next((pair for pair in candidates if self._works(*pair)), _LAST_RESORT)

    def _works(self, suffix: str, codec: str) -> bool:
        """Return whether a video of two pictures can be written and read.

        The trial is necessary, since some writers can be opened although they write nothing.
        """
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
            ValueError: The picture and the video differ in size.
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
            ValueError: The file that was written cannot be read, for instance because the disk is full.
        """
        with _quiet():
            self._writer.release()
            if self.count and not _is_readable(self.path):
                raise ValueError(f"{self.path} was written but cannot be read; wanted enough free space on the disk")


class RealTimePacing:
    """Computes how often each picture of a camera is written, so that the video plays in real time."""

    def __init__(self, rate: float) -> None:
        """
        Args:
            rate: The frame rate of the video in frames per second.
        """
        self._rate, self._start, self._written = rate, time.perf_counter(), 0

    def repeats(self) -> int:
        """Return how often the next picture must be written, 1 or more, to keep up with the clock."""
        due = round((time.perf_counter() - self._start) * self._rate) - self._written
        self._written += max(1, due)
        return max(1, due)


def check_suffix(path: Path) -> None:
    """Refuse the path of a video if its suffix is not one of `CODECS`.

    Raises:
        ValueError: The suffix is not one of them.
    """
    if path.suffix.lower() not in CODECS:
        raise ValueError(f"--output is {path}; wanted a video file that ends in {', '.join(CODECS)}")


def _is_readable(path: Path) -> bool:
    """Return whether a file is a video with at least one picture."""
    capture = cv2.VideoCapture(str(path))
    read, _ = capture.read()
    capture.release()
    return read


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Inside the block OpenCV does not print to stderr. Failures that matter are raised as errors instead."""
    logging = cv2.utils.logging
    level = logging.getLogLevel()
    logging.setLogLevel(logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        logging.setLogLevel(level)
