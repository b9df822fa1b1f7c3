"""Errors and oddities of a detection data set after its survey, and advice for each."""

import os
from collections.abc import Mapping, Sequence

from .annotation_faults import annotation_faults
from .annotation_file import ordered_names
from .findings import CURES, Finding, stops
from .instance_survey import SurveyedInstances

_INSTANCE_CURES = {
    "empty": ("a file is empty", "copy it again, or remove the image from the annotation file"),
    "image": (CURES["image"][0], "copy or convert it again, or remove it from the annotation file"),
    "unsupported": (CURES["unsupported"][0], "convert it to a single page of three 8-bit bands"),
    "turned": (
        "its EXIF orientation rotates the image, but not the size in the annotation file",
        "remove the tag (exiftool -Orientation= FILES), since boxes were drawn on the image as stored",
    ),
    "size": (
        "the size of the image differs from that in the annotation file",
        "use the image that was annotated, or scale boxes and masks with the image",
    ),
    "other": CURES["other"],
}


def file_findings(path: str, content: dict, *, mask_format: str | None) -> list[Finding]:
    """Find the mistakes in an annotation file; see `annotation_faults`.

    Args:
        path: The path of the file.
        content: The content of the file.
        mask_format: The format of the masks that the model expects; None if it uses no masks.
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
    """Find what would stop training on a split, and classes that do not occur in it."""
    findings = stops(split, _INSTANCE_CURES)
    absent = [name for name, one in zip(split.classes, split.objects, strict=True) if not one.sides]
    if len(absent) == len(split.classes):
        level = "ERROR" if split.name == "train" else "NOTE"
        findings.append(Finding(level, "no image has an object other than crowds. Cure: annotate objects"))
    elif absent:
        cure = "add images, or remove categories" if split.name == "train" else "none needed: means exclude them"
        findings.append(Finding("NOTE", f"classes that never occur: {', '.join(absent[:12])}. Cure: {cure}"))
    return findings


def class_findings(files: Mapping[str, dict], classes: Sequence[str]) -> list[Finding]:
    """Find annotation files whose classes, or their order, differ from those of the model.

    Args:
        files: The contents of the annotation files by their paths.
        classes: The names of the model's classes.
    """
    findings = []
    for path, content in files.items():
        found = ordered_names(content["categories"], path=path)
        if found != [*classes]:
            said = f"in the order of their ids, are {', '.join(found)}; the model's are {', '.join(classes)}"
            cure = "use the same categories in all files, with ids in the same order"
            findings.append(Finding("ERROR", f"the classes, {said}. Cure: {cure}", source=os.path.basename(path)))
    return findings
