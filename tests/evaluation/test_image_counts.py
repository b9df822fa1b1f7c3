import numpy as np
import pytest

from counted_images import counted
from tokenseg.evaluation.image_counts import ImageCounts, class_ious, mean_of_classes


def test_ious_by_hand():
    ious = class_ious(np.array([3, 0, 0]), np.array([4, 2, 0]), np.array([5, 0, 1]))
    assert ious[0] == 3 / 6 and np.isnan(ious[1]) and ious[2] == 0
    assert mean_of_classes(ious) == 0.25 and np.isnan(mean_of_classes(np.array([np.nan])))


def test_mean_iou_of_weighted_images_by_hand():
    counts = counted([[3, 1], [2, 0]], [[4, 2], [6, 0]], [[4, 2], [2, 4]])
    # all images: 5 / (10 + 6 - 5) and 1 / (2 + 6 - 1); the first twice: 6 / 10 and 2 / 6... over its own pixels
    assert counts.mean_iou() == pytest.approx(100 * (5 / 11 + 1 / 7) / 2)
    assert counts.mean_iou(np.array([[2, 0], [0, 2]])) == pytest.approx([100 * (3 / 5 + 1 / 3) / 2, 100 * (2 / 6) / 2])


def test_a_file_holds_all_and_the_order_of_the_processes_is_no_matter(tmp_path):
    rows = [(f"/data/{name}.png", np.full((3, 2), place)) for place, name in enumerate(["b/1", "a/2"])]
    counts = ImageCounts.of_images(rows, ["x", "y"])
    assert list(counts.images) == ["a/2.png", "b/1.png"] and counts.labelled.tolist() == [[1, 1], [0, 0]]
    (tmp_path / "run/inference").mkdir(parents=True)
    for folder in ("", "run/inference"):
        counts.write(tmp_path / folder / "sem_seg_per_image.npz")
    for path in (tmp_path, tmp_path / "sem_seg_per_image.npz", tmp_path / "run"):
        read = ImageCounts.read(path)
        assert list(read.images) == list(counts.images) and (read.labelled == counts.labelled).all()


def test_other_files_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"no .*/inference/sem_seg_per_image.npz; wanted .* --eval-only"):
        ImageCounts.read(tmp_path)
    (tmp_path / "a.npz").write_bytes(b"PK nonsense")
    np.savez(tmp_path / "b.npz", images=np.array(["a.png"]))
    for name in "ab":
        with pytest.raises(ValueError, match="cannot be read as pixel counts of images"):
            ImageCounts.read(tmp_path / f"{name}.npz")
