import contextlib
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from detectron2.data import MetadataCatalog
from PIL import Image

from tokenseg import Predictor
from tokenseg.commands import demo
from tokenseg.commands.demo_video import write_video
from tokenseg.video import VideoFile, VideoSource
from tokenseg.visualize import spread_colors
from tokenseg.visualize_names import draw_segments


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9, 7)).save(path)
    return [folder / name for name in names]


def test_files_folders_and_globs(tmp_path):
    a, b, c = touch(tmp_path, "a.png", "sub/b.JPG", "sub/c.png")
    (tmp_path / "notes.txt").write_text("no image")
    assert demo.find_images([str(tmp_path)]) == [a, b, c]
    assert demo.find_images([str(a), f"{tmp_path}/sub/*.png", str(a)]) == [a, c]
    with pytest.raises(ValueError, match="matches nothing"):
        demo.find_images([f"{tmp_path}/*.gif"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no images in"):
        demo.find_images([str(tmp_path / "empty")])


def test_equal_names_are_kept_apart(tmp_path):
    images = touch(tmp_path, "one/a.png", "two/a.png", "two/b.png", "two/b.jpg")
    names = list(demo.output_names(images).values())
    assert len(set(names)) == 4 and names[0] == "one_a_png"


def test_outputs(command, tmp_path, toy_predictor):
    image = tmp_path / "in" / "a.png"
    touch(tmp_path, "in/a.png")
    (tmp_path / "in" / "broken.png").write_bytes(b"no image")
    words = ["--input", str(tmp_path / "in"), "train.device=cpu", "--output", str(tmp_path / "out")]
    words += ["--config-file", toy_predictor[0], "--weights", toy_predictor[1], "--save", "overlay,ids,palette"]
    with pytest.raises(ValueError, match=r"could not be read:\s+.*broken\.png"):
        command("demo", *words)
    out = Path(tmp_path / "out")
    assert sorted(p.name for p in out.iterdir()) == ["a_ids.png", "a_overlay.png", "a_palette.png"]
    ids, palette = Image.open(out / "a_ids.png"), Image.open(out / "a_palette.png")
    assert (ids.mode, palette.mode) == ("L", "P")
    assert np.array_equal(np.asarray(ids), np.asarray(palette))
    assert np.asarray(ids).shape == (7, 9) == Image.open(image).size[::-1]


def test_stored_ids_and_submissions(command, tmp_path, toy_predictor):
    touch(tmp_path, "in/a.png")
    metadata = MetadataCatalog.get("toy_sem_seg").set(stored_ids={7: 1, 9: 0, 5: 2})
    words = ["--input", str(tmp_path / "in"), "--output", str(tmp_path / "out"), "train.device=cpu"]
    words += ["--config-file", toy_predictor[0], "--weights", toy_predictor[1], "--windows", "4"]
    with pytest.raises(ValueError, match=r"augmentations=\[\]"):
        command("demo", *words, "--save", "ids,stored")
    words.append("dataloader.test.mapper.augmentations=[]")
    command("demo", *words, "--save", "ids,stored")
    ids, stored = (np.asarray(Image.open(tmp_path / f"out/a_{kind}.png")) for kind in ("ids", "stored"))
    assert ids.shape == (7, 9) and np.array_equal(stored, np.array([9, 7, 5])[ids])
    with pytest.raises(ValueError, match=f"{metadata.name}, whose submission format is not known"):
        command("demo", *words, "--save", "submission")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--windows"], "--windows never reads an image as a whole"),
        (["--save", "mask"], "--save has mask"),
        (["--confidence-threshold", "5"], "--confidence-threshold is 5.0; wanted a number from 0 to 1"),
    ],
)
def test_wrong_arguments_are_refused(command, words, message):
    with pytest.raises(ValueError, match=message):
        command("demo", "--config-file", "c", "--weights", "w", "--input", "i", "--output", "o", *words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--weights", "a.onnx", "--config-file", "c"], r"a\.onnx is a complete model; wanted no --config-file"),
        (["--weights", "a.onnx", "train.device=cpu"], "wanted no --config-file, overrides"),
        (["--weights", "a.pth"], r"--config-file is missing, and --weights a\.pth does not end in \.onnx"),
    ],
)
def test_exported_files_want_no_config_and_others_do(command, words, message):
    with pytest.raises(ValueError, match=message):
        command("demo", "--input", "i", "--output", "o", *words)


@pytest.fixture
def strange_names(toy_dataset):
    metadata = MetadataCatalog.get(toy_dataset)
    names = metadata.as_dict()["stuff_classes"]
    saved, names[:] = [*names], ["=1+2", "a$x$b", r"$\frac$"]
    yield
    names[:] = saved


def words_for(paths, *inputs, output):
    config, weights = paths
    return ["--config-file", config, "--weights", weights, "--input", *inputs, "--output", output]


def test_label_maps_stand_beside_the_prediction(strange_names, command, tmp_path, toy_predictor):
    words = words_for(toy_predictor, tmp_path / "toy/images/1.png", output=tmp_path / "out")
    command("demo", *words)
    alone = np.asarray(Image.open(tmp_path / "out/1_overlay.png").convert("RGB"))
    command("demo", *words, "--annotations")
    both = np.asarray(Image.open(tmp_path / "out/1_overlay.png"))
    assert alone.shape == (40, 48, 3) and both.shape == (24 + 40 + 6, 48 + 6 + 48, 3)
    assert np.array_equal(both[24:64, 54:], alone) and not np.array_equal(both[24:64, :48], alone)


def test_boxes_and_masks_stand_beside_those_annotated(command, tmp_path, toy_detector, capsys):
    words = words_for(toy_detector, tmp_path / "instances/1.png", output=tmp_path / "out")
    command("demo", *words, "--annotations", tmp_path / "instances.json", "--confidence-threshold", "0.2")
    assert re.search(r"1 images with [1-9]\d* instances of score 0\.2 or more; overlay", capsys.readouterr().out)
    picture = np.asarray(Image.open(tmp_path / "out/1_overlay.png"))
    assert picture.shape == (
        24 + 14 * 40 + 6,
        2 * 14 * 48 + 6,
        3,
    )  # the smallest integer factor that gives at least 640 pixels
    truth = picture[24:-6, : 14 * 48]
    rows, columns = np.nonzero((truth == spread_colors(2)[1]).all(axis=-1)[3 * 14 :])  # below the label with the name
    assert (columns.min(), columns.max() + 1) == (8 * 14, 20 * 14) and rows.max() + 1 == 30 * 14


@pytest.mark.parametrize(
    ("further", "message"),
    [
        (["--save", "overlay,ids"], "--save is overlay,ids, but GeneralizedRCNN predicts no class ids"),
        (["--annotations"], "data set toy_instances has ground truth of none of the 1 images"),
    ],
)
def test_what_does_not_fit_a_detector(command, tmp_path, toy_detector, further, message):
    touch(tmp_path, "a.png")
    with pytest.raises(ValueError, match=message):
        command("demo", *words_for(toy_detector, tmp_path / "a.png", output=tmp_path / "out"), *further)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("further", [["--confidence-threshold", "0.5"], ["--annotations", "a.json"]])
def test_what_does_not_fit_a_segmentor(command, tmp_path, toy_predictor, further):
    touch(tmp_path, "a.png")
    with pytest.raises(ValueError, match="is for detectors; the model is a Segmentor"):
        command("demo", *words_for(toy_predictor, tmp_path / "a.png", output=tmp_path / "out"), *further)


def video_of_toys(folder, tmp_path, count=4):
    """A video of three stripes, and the arguments with which the demo reads it."""
    with_stripes = np.asarray(Image.open(tmp_path / "toy/images/1.png"))
    file = VideoFile(folder / "in.avi", rate=10.0, size=with_stripes.shape[:2])
    for _ in range(count):
        file.write(with_stripes)
    file.close()
    return file.path


def video_words(paths, source, output):
    config, weights = paths
    return ["--config-file", config, "--weights", weights, "--video", source, "--output", output]


def test_videos_keep_their_length_and_speed(command, tmp_path, toy_predictor, capsys):
    source = video_of_toys(tmp_path, tmp_path)
    command("demo", *video_words(toy_predictor, source, tmp_path / "deep/out.mp4"))
    said = capsys.readouterr().out
    assert re.search(r"4 frames in \d+\.\d s: \d+\.\d\d frames per second", said)
    assert re.search(r"deep/out\.mp4 written \(codec \w{4}, 10 frames per second\)", said)
    written = VideoSource(str(tmp_path / "deep/out.mp4"))
    assert written.rate == 10.0 and {frame.shape for frame in written} == {(14 * 40, 14 * 48, 3)}


def test_videos_of_a_detector(command, tmp_path, toy_detector, capsys):
    file = VideoFile(tmp_path / "in.avi", rate=10.0, size=(40, 48))
    file.write(np.asarray(Image.open(tmp_path / "instances/1.png")))
    file.close()
    words = video_words(toy_detector, file.path, tmp_path / "out.mp4")
    command("demo", *words, "--confidence-threshold", "0.2")
    assert "out.mp4 written" in capsys.readouterr().out and len(list(VideoSource(str(tmp_path / "out.mp4")))) == 1


@pytest.mark.parametrize("is_camera", [True, False])
def test_ctrl_c_leaves_a_whole_file(toy_predictor, tmp_path, capsys, is_camera):
    source = VideoSource(str(video_of_toys(tmp_path, tmp_path)))
    source.is_camera = is_camera
    predictor, frames = Predictor(*toy_predictor), []

    def painter(frame):
        frames.append(frame)
        if len(frames) == 3:
            raise KeyboardInterrupt
        return draw_segments(frame, predictor(frame), names=["a", "b", "c"], colors=spread_colors(3))

    with contextlib.nullcontext() if is_camera else pytest.raises(KeyboardInterrupt):
        write_video(source, tmp_path / "out.avi", painter)
    assert "2 frames in" in capsys.readouterr().out
    assert len(list(VideoSource(str(tmp_path / "out.avi")))) >= 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--video", "0"], "--output is missing; wanted a file for the video"),
        (["--input", "i"], "--output is missing; wanted a folder"),
        (["--web", "--output", "o"], "--output is o, but --web writes nothing"),
        (["--web", "--port", "0"], "--port is 0; wanted a number from 1 to 65535"),
        (["--video", "0", "--output", "o.mp4", "--annotations"], "--annotations is for images; wanted --input"),
        (["--video", "0", "--output", "o.mp4", "--save", "ids"], "--save is ids, but --video and --web draw overlays"),
        (["--video", "0", "--output", "."], r"--output is \., which is a folder; wanted a file"),
        (["--video", "0", "--output", "o.txt"], r"--output is o\.txt; wanted a video file that ends in \.mp4"),
        (["--video", "none.mp4", "--output", "o.mp4"], "--video is 'none.mp4'; wanted a file, or the number of"),
    ],
)
def test_sources_and_outputs_that_do_not_fit(command, words, message):
    with pytest.raises(ValueError, match=message):
        command("demo", "--config-file", "c", "--weights", "w", *words)


def test_the_page_wants_gradio(command, toy_predictor, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(ValueError, match=r"needs the package gradio, which is not .*'tokenseg\[web\]'"):
        command("demo", "--config-file", "c", "--weights", "w", "--web")
