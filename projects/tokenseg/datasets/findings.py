"""What is wrong or odd about image folders that have been looked at, and the cure of each."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from .instance_survey import SurveyedInstances
from .survey import Seen, SurveyedSplit

PAGE = "projects/tokenseg/datasets/LABELS.md"

# What stops a training, by kind: what is wrong, and the cure.
CURES = {
    "empty": ("a file has no bytes", "copy it again, or move image and label map away"),
    "image": ("the image cannot be read", "copy or convert it again, or move image and label map away"),
    "unsupported": (
        "it would be misread",
        "tell what it is by dataset.bands and dataset.value_range, or convert it: one page of three bands of 8 bits; "
        "label maps hold ids in whole numbers",
    ),
    "label": ("the label map cannot be read", "copy or convert it again, or move image and label map away"),
    "colours": (
        "the label map holds colours, not ids",
        f"list the colours in dataset.colors, see 'Labels in colours' in {PAGE}",
    ),
    "unknown colours": ("the label map is not of the colours listed", "add them to dataset.colors"),
    "turned": (
        "its EXIF orientation turns the image, but not the label map",
        "the label map was drawn on the image as stored: remove the tag (exiftool -Orientation= FILES)",
    ),
    "size": (
        "the label map has another size than the image",
        "export it at the size of the image, or resize it without interpolation (nearest neighbour)",
    ),
    "ids": ("the label map holds ids that are no class", ""),
    "other": ("the training refuses it", "as the message says"),
}


@dataclass
class Finding:
    """Something to tell the owner of a data set.

    Args:
        level: ERROR if a training would stop or have nothing to learn, else NOTE.
        text: What was found, where, and the cure.
        source: The split or the file it was found in; empty if it is about several.
    """

    level: str
    text: str
    source: str = ""

    def of(self, source: str) -> "Finding":
        """The same, found in `source`."""
        return replace(self, source=source)

    def __str__(self) -> str:
        return f"{self.level}{f' {self.source}' if self.source else ''}: {self.text}"


def stops(
    split: SurveyedSplit | SurveyedInstances, cures: Mapping[str, tuple[str, str]] = MappingProxyType(CURES)
) -> list[Finding]:
    """Find what the mapper refuses, with one finding for each kind.

    Args:
        split: What was seen.
        cures: Kind -> what is wrong, and the cure.
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
    """Say what to do about stored ids that are no class."""
    if split.id_map is not None:
        return f"name them in dataset.id_map, with a class id or the word ignore: {_listed(wrong)}"
    ids, count = sorted(split.ids()), len(split.classes)
    if len(wrong) > 20:
        return "so many ids come from JPEG or from resizing with interpolation: export the label maps anew, as PNG"
    if wrong == [count] and 1 in ids:
        shifted: dict[int, int | str] = {stored: stored - 1 for stored in range(1, count + 1)}
        shifted = {0: "ignore", **shifted} if 0 in ids else shifted
        return (
            f"if ids count from 1: {as_override(shifted, split)}; if they count from 0: a name more in dataset.classes"
        )
    counted = [stored for stored in ids if stored != split.ignore_label]
    candidates = ids if len(ids) == count else counted
    if len(candidates) <= count:
        id_map: dict[int, int | str] = {stored: place for place, stored in enumerate(candidates)}
        return f"if these are the classes in this order: {as_override(id_map, split)}"
    return f"name a class for each of the ids {_listed(ids)} in dataset.classes, or map them with dataset.id_map"


def as_override(id_map: dict[int, int | str], split: SurveyedSplit) -> str:
    """Write an id map as a word for the command line; the ignore label, where it is stored, stays what it is."""
    if split.ignore_label in split.ids() and split.ignore_label not in id_map:
        id_map = id_map | {split.ignore_label: "ignore"}
    return "'dataset.id_map={" + ", ".join(f"{stored}: {wanted}" for stored, wanted in id_map.items()) + "}'"


def label_findings(split: SurveyedSplit) -> list[Finding]:
    """Find what is odd about the ids that the mapper accepts."""
    ids, present = split.ids(), split.present()
    findings: list[Finding] = []
    if not ids:
        return findings
    level = "ERROR" if split.name == "train" else "NOTE"
    everything = sum(ids.values())
    ignored = sum(pixels for stored, pixels in ids.items() if split.class_of(stored) == split.ignore_label)
    if split.id_map is None and set(ids) == {0, split.ignore_label} and len(split.classes) > 1:
        cure = f"'dataset.id_map={{0: 0, {split.ignore_label}: 1}}'"
        text = f"the label maps hold 0 and {split.ignore_label} alone, and {split.ignore_label} is ignored, no class"
        findings.append(Finding(level, f"{text}. Cure, where {split.ignore_label} is class 1: {cure}"))
    elif len(present) < 2:
        what = f"nothing but class {present.pop()}" if present else "no class at all"
        cure = "see the table: is an id missing in dataset.id_map, or is this another folder?"
        if len(split.classes) == 1:
            cure = "one class cannot be told from anything: name the background as a class too"
        findings.append(Finding(level, f"the label maps hold {what}. Cure: {cure}"))
    elif absent := [name for k, name in enumerate(split.classes) if k not in present]:
        text = "classes that never occur" + (" in the files looked at" if split.limited else "")
        cure = "more images, or fewer dataset.classes" if split.name == "train" else "none needed: no mean counts them"
        if 0 not in present and split.id_map is None:
            cure += "; or ids that count from 1, which want an id map"
        findings.append(Finding("NOTE", f"{text}: {_listed(absent)}. Cure: {cure}"))
    if len(present) > 1 and ignored > everything / 2:
        text = f"{100 * ignored / everything:.0f} % of the pixels are ignored"
        findings.append(
            Finding("NOTE", f"{text}. Cure: is {split.ignore_label} a class? Then name it in dataset.id_map")
        )
    blank = [s for s in split.seen if s.ids and all(split.class_of(i) == split.ignore_label for i in s.ids)]
    if blank and present:
        text = f"{_where(blank, split)}the label map is ignored whole"
        findings.append(Finding("NOTE", f"{text}. Cure: label it, or move the pair away; it teaches nothing"))
    return findings


def image_findings(split: SurveyedSplit | SurveyedInstances) -> list[Finding]:
    """Find what is odd about the images that can be read."""

    def note(what: str, cure: str, condition: Callable[[Seen], bool]) -> Iterable[Finding]:
        hit = [seen for seen in split.seen if seen.size and not seen.stop and condition(seen)]
        if hit:
            yield Finding("NOTE", f"{_where(hit, split)}{what}. Cure: {cure}")

    return [
        *note(
            "its EXIF orientation turns the image when it is read, and not its labels",
            "none if these were drawn on the turned image; else remove the tag (exiftool -Orientation= FILES)",
            lambda seen: seen.orientation not in (0, 1),
        ),
        *note(
            "the image has transparency, which is dropped",
            "none if nothing is transparent; else paint it on a background",
            lambda seen: seen.mode in ("RGBA", "LA", "PA"),
        ),
        *note(
            "the image is grey, its value is read as red, green and blue",
            "none needed",
            lambda seen: seen.mode in ("L", "1"),
        ),
        *note("the image is in CMYK, its colours are estimates", "convert it to RGB", lambda seen: seen.mode == "CMYK"),
    ]


def copies(splits: Sequence[SurveyedSplit | SurveyedInstances]) -> list[Finding]:
    """Find equal images in different splits and within one."""
    places = defaultdict(list)
    for split in splits:
        for seen in split.seen:
            if seen.digest and seen.size:
                places[seen.digest].append((split.name, seen.name))
    findings = []
    for text, cure, condition in (
        (
            "an image is in training and test",
            "keep it in one of them: it flatters the result",
            lambda s: len(set(s)) > 1,
        ),
        ("an image is there more than once", "keep one of each", lambda s: len(s) > len(set(s))),
    ):
        hit = [found for found in places.values() if condition([split for split, _ in found])]
        if hit:
            first = ", ".join(f"{name} ({split})" for split, name in hit[0][:3])
            findings.append(Finding("NOTE", f"{len(hit)} times {text}, first {first}. Cure: {cure}"))
    return findings


def _listed(values: Sequence) -> str:
    return ", ".join(map(str, values[:12])) + (", ..." if len(values) > 12 else "")
