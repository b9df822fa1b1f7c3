from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tokenseg.commands import demo


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


def test_wrong_kinds_are_refused(command):
    with pytest.raises(ValueError, match="--save has mask"):
        command("demo", "--config-file", "c", "--weights", "w", "--input", "i", "--output", "o", "--save", "mask")
