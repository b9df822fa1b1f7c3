"""The part of the command `demo` for --video, which writes a video with predictions drawn over its frames."""

import time
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ..contracts import Predicts
from ..video import RealTimePacing, VideoFile, VideoSource
from ..visualize import palette
from ..visualize_instances import draw_found
from ..visualize_names import draw_segments


class FramePainter:
    """Predicts frames and draws the predictions, with the same colour for a class in all frames."""

    def __init__(self, predictor: Predicts, *, confidence_threshold: float) -> None:
        """
        Args:
            predictor: The predictor of a segmentor or a detector.
            confidence_threshold: The lowest score of an instance that is drawn.
        """
        self._predictor, self._threshold = predictor, confidence_threshold
        kind = "stuff" if predictor.task == "sem_seg" else "thing"
        self._classes: dict[str, Any] = {
            "names": predictor.class_names,
            "colors": palette(predictor.metadata, kind=kind),
        }

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Draw the predictions for a frame (H, W, 3) uint8 RGB; a small frame is enlarged by an integer factor."""
        if self._predictor.task == "sem_seg":
            return draw_segments(image, self._predictor.class_ids(image), **self._classes)
        found = self._predictor.instances(image, confidence_threshold=self._threshold)
        return draw_found(image, found, **self._classes)


def write_video(source: VideoSource, output: Path, painter: FramePainter) -> None:
    """Write a video with predictions; Ctrl-C stops it after the current frame and leaves a file that can be played.

    Args:
        source: The frames of a file or a camera.
        output: The path of the video.
        painter: The function that draws a frame.

    Raises:
        KeyboardInterrupt: Ctrl-C stopped a file before its end. A camera is always stopped this way, without an error.
    """
    video, frames, interrupt = None, 0, None
    start = time.perf_counter()
    speed = RealTimePacing(source.rate)
    progress = tqdm(source, total=source.count or None, unit="frame", disable=None)
    try:
        for frame in progress:
            picture = painter(frame)
            if video is None:
                video = VideoFile(output, rate=source.rate, size=picture.shape[:2])
            for _ in range(speed.repeats() if source.is_camera else 1):
                video.write(picture)
            frames += 1
    except KeyboardInterrupt as stopped:
        interrupt = stopped
    finally:
        seconds = time.perf_counter() - start
        progress.close()
        source.close()
        if video is not None:
            video.close()
    _tell(source, video, frames, seconds, stopped=interrupt is not None)
    if interrupt is not None and not source.is_camera:
        raise interrupt


def _tell(source: VideoSource, video: VideoFile | None, frames: int, seconds: float, *, stopped: bool) -> None:
    """Print the number of frames, the speed, and the path of the video."""
    if video is None:
        print("stopped before the first frame; nothing was written")
        return
    if not stopped and frames < source.count:
        print(
            f"warning: only {frames} of {source.count} frames could be read; the file is damaged, or states a wrong "
            "number of frames"
        )
    rate = frames / max(seconds, 1e-9)
    print(
        f"{frames} frames in {seconds:.1f} s: {rate:.2f} frames per second for reading, predicting, drawing and writing"
    )
    print(f"{video.path} written (codec {video.codec}, {source.rate:g} frames per second)")
