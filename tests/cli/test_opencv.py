import sys

import pytest

from tokenseg_cli.opencv import check_opencv


@pytest.fixture
def site(tmp_path, monkeypatch):
    """The only folder from which modules and distributions are imported."""
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "cv2", raising=False)
    yield tmp_path
    sys.modules.pop("cv2", None)


def install(site, name, version):
    folder = site / f"{name.replace('-', '_')}-{version}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def test_one_that_works_is_left_in_peace(site):
    (site / "cv2.py").write_text("__version__ = '4.8'\n")
    check_opencv()


def test_two_that_spoilt_one_another_are_named_with_the_cure(site):
    install(site, "opencv-python", "4.9")
    install(site, "opencv-python-headless", "5.0")
    (site / "cv2").mkdir()  # the rest that remains after one of them was uninstalled
    with pytest.raises(ValueError, match=r"opencv-python 4\.9, opencv-python-headless 5\.0, which write") as told:
        check_opencv()
    cure = "pip uninstall -y opencv-python opencv-python-headless && pip install opencv-python-headless"
    assert str(told.value).endswith(cure)


def test_a_library_of_the_system_that_lacks_is_told(site):
    install(site, "opencv-python", "4.9")
    (site / "cv2.py").write_text("raise ImportError('libGL.so.1: cannot open shared object file')\n")
    with pytest.raises(ValueError, match=r"\(libGL.so.1: cannot.*Installed: opencv-python 4.9; wanted one complete"):
        check_opencv()


def test_none_is_told(site):
    with pytest.raises(ValueError, match=r"is not installed .*wanted pip install opencv-python-headless"):
        check_opencv()
