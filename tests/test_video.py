import time

import cv2
import numpy as np
import pytest

from tokenseg import video
from tokenseg.video import RealTimePacing, VideoFile, VideoSource, check_suffix


def write(path, count=5, *, size=(31, 47), rate=12.0):
    """Write a video whose first frames are red, green and blue, and whose other frames are grey."""
    colors = [(230, 20, 20), (20, 230, 20), (20, 20, 230)] + [(120, 120, 120)] * count
    file = VideoFile(path, rate=rate, size=size)
    for color in colors[:count]:
        file.write(np.full((*size, 3), color, dtype=np.uint8))
    file.close()
    return file


@pytest.mark.parametrize("suffix", [".mp4", ".avi"])
def test_what_is_written_can_be_read(tmp_path, suffix):
    file = write(tmp_path / f"a/b{suffix}")
    source = VideoSource(str(file.path))
    frames = list(source)
    assert (file.count, source.count, source.rate, source.is_camera) == (5, 5, 12.0, False)
    assert len(frames) == 5 and {frame.shape for frame in frames} == {(32, 48, 3)}  # even sides
    assert [int(frame.mean(axis=(0, 1)).argmax()) for frame in frames[:3]] == [0, 1, 2]  # red, green, blue


def test_codecs_that_write_nothing_are_passed_over(tmp_path, monkeypatch):
    monkeypatch.setattr(VideoFile, "_works", lambda self, suffix, codec: codec == "MJPG")
    file = write(tmp_path / "a.mp4")
    assert (file.path, file.codec) == (tmp_path / "a.avi", "MJPG") and len(list(VideoSource(str(file.path)))) == 5
    monkeypatch.undo()
    monkeypatch.setitem(video.CODECS, ".mp4", ("none", "mp4v"))
    assert write(tmp_path / "b.mp4").codec == "mp4v"


def test_what_was_not_written_is_told(tmp_path, monkeypatch):
    file = VideoFile(tmp_path / "a.avi", rate=5.0, size=(16, 16))
    file.write(np.zeros((16, 16, 3), np.uint8))
    monkeypatch.setattr(video, "_is_readable", lambda path: False)
    with pytest.raises(ValueError, match=r"a\.avi was written but cannot be read"):
        file.close()
    with pytest.raises(ValueError, match=r"shape \(8, 16, 3\); wanted \(16, 16, 3\)"):
        file.write(np.zeros((8, 16, 3), np.uint8))


def test_files_that_are_no_videos(tmp_path):
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "empty.avi").write_bytes(b"")
    whole = write(tmp_path / "whole.mp4").path.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    for name in ("text.mp4", "empty.avi", "cut.mp4"):
        with pytest.raises(ValueError, match=rf"video file .*{name} (cannot be read|has no frame)"):
            VideoSource(str(tmp_path / name))
    for name in ("none.mp4", ""):
        with pytest.raises(ValueError, match="wanted a file, or the number of a camera"):
            VideoSource(str(tmp_path / name))


def test_a_cut_avi_gives_the_frames_that_it_has(tmp_path):
    path = write(tmp_path / "a.avi", 40).path
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 9 // 10])
    source = VideoSource(str(path))
    assert 0 < len(list(source)) < source.count


class Camera:
    """A stand-in for OpenCV's capture of a camera, which has only the given frames."""

    def __init__(self, number):
        assert number == 3
        self.frames = [np.full((4, 6, 3), level, np.uint8) for level in (10, 20)] + [np.zeros((8, 12, 3), np.uint8)]
        self.released = False

    def read(self):
        return (True, self.frames.pop(0)) if self.frames else (False, None)

    def get(self, _):
        return -1.0

    def isOpened(self):
        return True

    def release(self):
        self.released = True


def test_a_camera_has_no_end_and_its_frames_one_size(monkeypatch):
    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    source = VideoSource("3")
    assert (source.is_camera, source.rate, source.count) == (True, 25.0, 0)
    assert [frame.shape for frame in source] == [(4, 6, 3)] * 3
    monkeypatch.setattr(Camera, "read", lambda self: (False, None))
    with pytest.raises(ValueError, match="camera 3 gives no picture; wanted the number of a camera"):
        VideoSource("3")


def test_pictures_of_a_camera_are_repeated_until_time_has_passed(monkeypatch):
    now = iter([0.0, 0.1, 0.5, 0.51, 1.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(now))
    speed = RealTimePacing(10.0)
    assert [speed.repeats() for _ in range(4)] == [1, 4, 1, 4]


def test_the_suffix_names_a_container(tmp_path):
    check_suffix(tmp_path / "A.MP4")
    with pytest.raises(ValueError, match=r"a\.gif; wanted a video file that ends in \.mp4, \.mov"):
        check_suffix(tmp_path / "a.gif")
