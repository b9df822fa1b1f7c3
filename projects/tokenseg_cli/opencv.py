"""Whether OpenCV can be imported, asked before a command imports it deep inside other packages."""

import importlib
from importlib import metadata

# PyPI's distributions of OpenCV: all install into the same folder, cv2, so that one overwrites the files of another,
# and uninstalling one takes the files of both away.
DISTRIBUTIONS = (
    "opencv-python",
    "opencv-python-headless",
    "opencv-contrib-python",
    "opencv-contrib-python-headless",
)


def check_opencv() -> None:
    """Import OpenCV.

    Raises:
        ValueError: It cannot be imported; the text says which distributions are installed, and the cure.
    """
    try:
        _ = importlib.import_module("cv2").__version__  # a folder without files is a package too, but has no version
    except (ImportError, AttributeError) as error:
        found = _installed()
        if not found:
            raise ValueError(f"OpenCV is not installed ({error}); wanted pip install opencv-python-headless") from error
        names = " ".join(found)
        versions = ", ".join(f"{name} {version}" for name, version in found.items())
        shared = ", which write into the same folder" if len(found) > 1 else ""
        raise ValueError(
            f"OpenCV cannot be imported ({error}). Installed: {versions}{shared}; wanted one whole installation: "
            f"pip uninstall -y {names} && pip install opencv-python-headless"
        ) from error


def _installed() -> dict[str, str]:
    """The installed distributions of OpenCV and their versions."""
    found = {}
    for name in DISTRIBUTIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
