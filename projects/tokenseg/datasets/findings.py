"""Errors and oddities of a data set after its survey, and advice for each."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from .instance_survey import SurveyedInstances
from .survey import Seen, SurveyedSplit

PAGE = "projects/tokenseg/datasets/LABELS.md"

# The description of each kind of fault that stops training, and the advice.
CURES = {
    "empty": ("a file is empty", "copy it again, or move image and label map away"),
    "image": ("the image cannot be read", "copy or convert it again, or move image and label map away"),
    "unsupported": (
        "the file would be misread",
        "describe the image with dataset.bands and dataset.value_range, or convert it to a single page of three 8-bit "
        "bands; convert a label map to a single page of integer ids",
    ),
    "label": ("the label map cannot be read", "copy or convert it again, or move image and label map away"),
    "colours": (
        "the label map contains colours, not ids",
        f"list the colours in dataset.colors, see 'Labels in colours' in {PAGE}",
    ),
    "unknown colours": ("the label map has colours that are not listed", "add them to dataset.colors"),
    "turned": (
        "its EXIF orientation rotates the image, but not the label map",
        "remove the tag (exiftool -Orientation= FILES), since the label map was drawn on the image as stored",
    ),
    "size": (
        "the size of the label map differs from that of the image",
        "export it at the size of the image, or resize it without interpolation (nearest neighbour)",
    ),
    "ids": ("the label map contains ids that are not classes", ""),
    "other": ("the training fails on it", "see the message"),
}


@dataclass
class Finding:
    """A message to the owner of a data set.

    Attributes:
        level: `ERROR` if training would stop or have nothing to learn, else `NOTE`.
        text: The description of what was found, its place, and the advice.
        source: The split or the file in which it was found; empty if the message concerns several.
    """

    level: str
    text: str
    source: str = ""

    def of(self, source: str) -> "Finding":
        """Return the same finding with another source."""
        return replace(self, source=source)

    def __str__(self) -> str:
        return f"{self.level}{f' {self.source}' if self.source else ''}: {self.text}"


def stops(
    split: SurveyedSplit | SurveyedInstances, cures: Mapping[str, tuple[str, str]] = MappingProxyType(CURES)
) -> list[Finding]:
    """Find the images for which the mapper raises an error, and return one finding for each kind of fault.

    Args:
        split: The survey of the split.
        cures: The description of each kind of fault and the advice, by kind.
    """
    findings = []
    for kind, (what, cure) in cures.items():
        hit = [seen for seen in split.seen if seen.stop == kind]
        if not hit:
            continue
        if kind == "ids" and isinstance(split, SurveyedSplit):
            wrong = [stored for stored in sorted(split.ids()) if split.class_of(stored) is None]
            what += f": {_listed(wrong)}"
            cure = id_cure(split, wrong)
        if kind in ("image", "unsupported", "label", "unknown colours", "other"):
            what += f": {hit[0].message}"
        findings.append(Finding("ERROR", f"{_where(hit, split)}{what}. Cure: {cure}"))
    return findings


def _where(hit: Sequence[Seen], split: SurveyedSplit | SurveyedInstances) -> str:
    return f"{len(hit)} of {len(split.seen)} (first {hit[0].name}): "


def id_cure(split: SurveyedSplit, wrong: list[int]) -> str:
    """Return the advice for stored ids that are not classes.

    Args:
        split: The survey of the split.
        wrong: The stored ids that are not classes, in ascending order.
    """
    if split.id_map is not None:
        return f"map them in dataset.id_map to a class id or the word ignore: {_listed(wrong)}"
    ids, count = sorted(split.ids()), len(split.classes)
    if len(wrong) > 20:
        return "export the label maps again, as PNG: so many ids come from JPEG or from resizing with interpolation"
    if wrong == [count] and 1 in ids:  # the ids are 1 to K, with or without 0
        shifted: dict[int, int | str] = {stored: stored - 1 for stored in range(1, count + 1)}
        shifted = {0: "ignore", **shifted} if 0 in ids else shifted
        return (
            f"if ids begin at 1, set {as_override(shifted, split)}; if they begin at 0, add a name to dataset.classes"
        )
    # If there are as many ids as classes, each id is probably a class; otherwise the ignore label is probably not.
    counted = [stored for stored in ids if stored != split.ignore_label]
    candidates = ids if len(ids) == count else counted
    if len(candidates) <= count:
        id_map: dict[int, int | str] = {stored: place for place, stored in enumerate(candidates)}
        return f"if these are the classes in this order, set {as_override(id_map, split)}"
    return f"name a class for each of the ids {_listed(ids)} in dataset.classes, or map them with dataset.id_map"


def as_override(id_map: dict[int, int | str], split: SurveyedSplit) -> str:
    """Format an id map as an override for the command line. If the ignore label occurs, it remains ignored."""
    if split.ignore_label in split.ids() and split.ignore_label not in id_map:
        id_map = id_map | {split.ignore_label: "ignore"}
    return "'dataset.id_map={" + ", ".join(f"{stored}: {wanted}" for stored, wanted in id_map.items()) + "}'"


def label_findings(split: SurveyedSplit) -> list[Finding]:
    """Find oddities in the ids of label maps that the mapper accepts."""
    ids, present = split.ids(), split.present()
    findings: list[Finding] = []
    if not ids:
        return findings
    level = "ERROR" if split.name == "train" else "NOTE"
    everything = sum(ids.values())
    ignored = sum(pixels for stored, pixels in ids.items() if split.class_of(stored) == split.ignore_label)
    if split.id_map is None and set(ids) == {0, split.ignore_label} and len(split.classes) > 1:
        cure = f"'dataset.id_map={{0: 0, {split.ignore_label}: 1}}'"
        text = f"the label maps contain only 0 and {split.ignore_label}, and {split.ignore_label} is ignored"
        findings.append(Finding(level, f"{text}. Cure, if {split.ignore_label} is class 1: {cure}"))
    elif len(present) < 2:
        what = f"only class {present.pop()}" if present else "no class"
        cure = "see the table: is an id missing in dataset.id_map, or is this the wrong folder?"
        if len(split.classes) == 1:
            cure = "name the background as a class too, since a model cannot distinguish a single class from anything"
        findings.append(Finding(level, f"the label maps contain {what}. Cure: {cure}"))
    elif absent := [name for k, name in enumerate(split.classes) if k not in present]:
        text = "classes that never occur" + (" in the files that were checked" if split.limited else "")
        cure = "add images, or remove classes" if split.name == "train" else "none needed: means exclude them"
        if 0 not in present and split.id_map is None:
            cure += "; or set dataset.id_map, if the ids begin at 1"
        findings.append(Finding("NOTE", f"{text}: {_listed(absent)}. Cure: {cure}"))
    if len(present) > 1 and ignored > everything / 2:
        text = f"{100 * ignored / everything:.0f} % of the pixels are ignored"
        findings.append(Finding("NOTE", f"{text}. Cure: if {split.ignore_label} is a class, map it in dataset.id_map"))
    blank = [s for s in split.seen if s.ids and all(split.class_of(i) == split.ignore_label for i in s.ids)]
    if blank and present:
        text = f"{_where(blank, split)}the label map is ignored completely"
        findings.append(
            Finding("NOTE", f"{text}. Cure: label it, or move the pair away, since nothing is learnt from it")
        )
    return findings


def image_findings(split: SurveyedSplit | SurveyedInstances) -> list[Finding]:
    """Find oddities of the images that can be read."""

    def note(what: str, cure: str, condition: Callable[[Seen], bool]) -> Iterable[Finding]:
        hit = [seen for seen in split.seen if seen.size and not seen.stop and condition(seen)]
        if hit:
            yield Finding("NOTE", f"{_where(hit, split)}{what}. Cure: {cure}")

    return [
        *note(
            "its EXIF orientation rotates the image when it is read, but not its labels",
            "none if labels were drawn on the rotated image; else remove the tag (exiftool -Orientation= FILES)",
            lambda seen: seen.orientation not in (0, 1),
        ),
        *note(
            "the image has transparency, which is discarded",
            "none if nothing is transparent; else compose it with a background",
            lambda seen: seen.mode in ("RGBA", "LA", "PA"),
        ),
        *note(
            "the image is grey, and its value is used for red, green and blue",
            "none needed",
            lambda seen: seen.mode in ("L", "1"),
        ),
        *note(
            "the image is in CMYK, and its colours are approximate",
            "convert it to RGB",
            lambda seen: seen.mode == "CMYK",
        ),
    ]


def copies(splits: Sequence[SurveyedSplit | SurveyedInstances]) -> list[Finding]:
    """Find identical images in different splits, and within a split."""
    places = defaultdict(list)
    for split in splits:
        for seen in split.seen:
            if seen.digest and seen.size:
                places[seen.digest].append((split.name, seen.name))
    findings = []
    for text, cure, condition in (
        (
            "an image is in training and test",
            "keep it in only one of them, since it makes the result look better than it is",
            lambda s: len(set(s)) > 1,
        ),
        ("an image occurs more than once", "keep one copy", lambda s: len(s) > len(set(s))),
    ):
        hit = [found for found in places.values() if condition([split for split, _ in found])]
        if hit:
            first = ", ".join(f"{name} ({split})" for split, name in hit[0][:3])
            findings.append(Finding("NOTE", f"{len(hit)} times {text}, first {first}. Cure: {cure}"))
    return findings


def _listed(values: Sequence) -> str:
    return ", ".join(map(str, values[:12])) + (", ..." if len(values) > 12 else "")
