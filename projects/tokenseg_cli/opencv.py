"""A check that OpenCV can be imported, before other packages import it and fail with an obscure error."""

import importlib
from importlib import metadata

# PyPI's distributions of OpenCV. All of them install into the same folder, cv2, so one overwrites the files of another,
# and uninstalling one removes the files of both.
DISTRIBUTIONS = (
    "opencv-python",
    "opencv-python-headless",
    "opencv-contrib-python",
    "opencv-contrib-python-headless",
)


def check_opencv() -> None:
    """Import OpenCV.

    Raises:
        ValueError: OpenCV cannot be imported. The message says which distributions are installed and what to do.
    """
    try:
        # Reading the version also detects an empty folder cv2, which Python imports as a package.
        _ = importlib.import_module("cv2").__version__
    except (ImportError, AttributeError) as error:
        found = _installed()
        if not found:
            raise ValueError(f"OpenCV is not installed ({error}); wanted pip install opencv-python-headless") from error
        names = " ".join(found)
        versions = ", ".join(f"{name} {version}" for name, version in found.items())
        shared = ", which write into the same folder" if len(found) > 1 else ""
        raise ValueError(
            f"OpenCV cannot be imported ({error}). Installed: {versions}{shared}; wanted one complete installation: "
            f"pip uninstall -y {names} && pip install opencv-python-headless"
        ) from error


def _installed() -> dict[str, str]:
    """Return the versions of the installed distributions of OpenCV, by name."""
    found = {}
    for name in DISTRIBUTIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
