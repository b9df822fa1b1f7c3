"""What is wrong or odd about a data set for detection that has been looked at, and the cure of each."""

import os
from collections.abc import Mapping, Sequence

from .annotation_faults import annotation_faults
from .annotation_file import ordered_names
from .findings import CURES, Finding, stops
from .instance_survey import SurveyedInstances

_INSTANCE_CURES = {
    "empty": ("a file has no bytes", "copy it again, or take the image out of the annotation file"),
    "image": (CURES["image"][0], "copy or convert it again, or take it out of the annotation file"),
    "unsupported": (CURES["unsupported"][0], "convert it: one page, three bands of 8 bits"),
    "turned": (
        "its EXIF orientation turns the image, but not the size in the annotation file",
        "boxes were drawn on the image as stored: remove the tag (exiftool -Orientation= FILES)",
    ),
    "size": (
        "the image has another size than the annotation file says",
        "take the image that was annotated, or scale boxes and masks with it",
    ),
    "other": CURES["other"],
}


def file_findings(path: str, content: dict, *, mask_format: str | None) -> list[Finding]:
    """Find what is wrong in an annotation file; see `annotation_faults`.

    Args:
        path: The path of the file.
        content: What is in it.
        mask_format: How the model wants its masks; None if it takes none.
    """
    return [
        Finding(
            "ERROR" if fault.stops else "NOTE",
            f"{len(fault.places)} times {fault.what}, first {fault.places[0]}. Cure: {fault.cure}",
            source=os.path.basename(path),
        )
        for fault in annotation_faults(content, mask_format=mask_format)
    ]


def instance_findings(split: SurveyedInstances) -> list[Finding]:
    """Find what stops a training at a split, and classes that it does not show."""
    findings = stops(split, _INSTANCE_CURES)
    absent = [name for name, one in zip(split.classes, split.objects, strict=True) if not one.sides]
    if len(absent) == len(split.classes):
        level = "ERROR" if split.name == "train" else "NOTE"
        findings.append(Finding(level, "no image has an object that is no crowd. Cure: annotations of this split"))
    elif absent:
        cure = "more images, or fewer categories" if split.name == "train" else "none needed: no mean counts them"
        findings.append(Finding("NOTE", f"classes that never occur: {', '.join(absent[:12])}. Cure: {cure}"))
    return findings


def class_findings(files: Mapping[str, dict], classes: Sequence[str]) -> list[Finding]:
    """Find annotation files whose classes are not those of the model, or are in another order.

    Args:
        files: Path -> content of the annotation files.
        classes: The names of the model's classes.
    """
    findings = []
    for path, content in files.items():
        found = ordered_names(content["categories"], path=path)
        if found != [*classes]:
            said = f"in the order of their ids, are {', '.join(found)}; the model's are {', '.join(classes)}"
            cure = "the same categories in all files, with ids in the same order"
            findings.append(Finding("ERROR", f"the classes, {said}. Cure: {cure}", source=os.path.basename(path)))
    return findings
