"""The body of the command `check_dataset`, which checks images and labels before a training reads them."""

import argparse
import os
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import chain

import numpy as np
from detectron2.data import DatasetMapper, MetadataCatalog
from detectron2.data.catalog import Metadata
from detectron2.data.transforms import AugmentationList
from omegaconf import DictConfig, OmegaConf
from tabulate import tabulate
from tqdm import tqdm

from ..config.instantiate import instantiate
from ..config.load import load_config
from ..config.shipped import CONFIGS
from ..data.mapper import SemSegMapper
from ..datasets.annotation_file import read_annotations
from ..datasets.class_weights import balanced_weights
from ..datasets.findings import Finding, copies, image_findings, label_findings, stops
from ..datasets.instance_findings import class_findings, file_findings, instance_findings
from ..datasets.instance_survey import SurveyedInstances, count_objects, describe_instances, look_at_record
from ..datasets.records import load_records
from ..datasets.survey import Seen, SurveyedSplit, describe_levels, describe_sizes, look


def describe(split: SurveyedSplit, crop: int | None) -> str:
    """Describe a split: the sizes and types of its images, and the number of pixels of every stored id."""
    lines = [f"{split.name}: {len(split.seen)} images of {split.root}", *describe_sizes(split.seen)]
    sizes = [seen.size for seen in split.seen if seen.size]
    if sizes and crop:
        lines.append(f"  {sum(min(size) < crop for size in sizes)} have a side below the training crop of {crop}")
    for what, modes in (("images", (s.mode for s in split.seen)), ("label maps", (s.label_mode for s in split.seen))):
        counts = Counter(mode or "unreadable" for mode in modes).most_common()
        lines.append(f"  {what}: " + ", ".join(f"{count} {mode}" for mode, count in counts))
    lines += describe_levels(split.seen)
    ids = split.ids()
    pixels = np.zeros(len(split.classes), dtype=int)
    for stored, number in ids.items():
        if split.class_of(stored) in range(len(pixels)):
            pixels[split.class_of(stored)] += number
    weights = balanced_weights(pixels) if pixels.any() else np.ones(len(pixels))
    rows: list[tuple] = []
    for stored in sorted(ids):
        wanted = split.class_of(stored)
        name = "NO CLASS" if wanted is None else "(ignored)" if wanted == split.ignore_label else split.classes[wanted]
        place = wanted if wanted is not None and wanted in range(len(split.classes)) else None
        rows.append(
            (
                stored,
                "" if place is None else place,
                name,
                ids[stored],
                100 * ids[stored] / sum(ids.values()),
                sum(stored in s.ids for s in split.seen),
                None if place is None else weights[place],
            )
        )
    if len(rows) > 300:
        rows = [*rows[:300], ("...", "", f"{len(rows) - 300} more", None, None, None, None)]
    headers = ["stored id", "class", "name", "pixels", "pixels %", "images", "balanced weight"]
    return "\n".join([*lines, tabulate(rows, headers=headers, floatfmt=("", "", "", "", ".2f", "", ".4g"))])


def look_at_some(records: Sequence[dict], one: Callable[[dict], Seen], *, name: str, limit: int | None) -> list[Seen]:
    """Inspect all images of a split with the function `one`, or `limit` of them, evenly spread over the split."""
    chosen = records[:: max(1, len(records) // limit)][:limit] if limit else records
    return [one(record) for record in tqdm(chosen, desc=name, unit="image", disable=None)]


def check_num_classes(metadata: Metadata, classes: Sequence[str], num_classes: int | None) -> None:
    """Raise a ValueError if the number of a data set's classes is not `num_classes`; None accepts any number."""
    if num_classes not in (None, len(classes)):
        raise ValueError(f"{metadata.name} has {len(classes)} class names; wanted dataset.num_classes, {num_classes}")


def read_split(cfg: DictConfig, name: str, limit: int | None) -> SurveyedSplit:
    """Inspect the images and label maps of a split, or only `limit` of them."""
    names = instantiate(cfg.dataloader[name].dataset)
    records = load_records(names)
    metadata = MetadataCatalog.get(names if isinstance(names, str) else names[0])
    wanted = cfg.dataloader.train.mapper
    check_num_classes(metadata, metadata.stuff_classes, wanted.num_classes)
    told = {key: wanted[key] for key in ("image_format", "bands", "value_range") if key in wanted}
    mapper = SemSegMapper(
        is_train=True, augmentations=[], num_classes=wanted.num_classes, ignore_label=wanted.ignore_label, **told
    )
    seen = look_at_some(records, lambda record: look(record, mapper), name=name, limit=limit)
    return SurveyedSplit(
        name=name,
        root=metadata.get("image_root", metadata.name),
        classes=metadata.stuff_classes,
        ignore_label=wanted.ignore_label,
        id_map=records[0].get("sem_seg_id_map"),
        seen=seen,
        limited=len(seen) < len(records),
    )


def check_label_maps(cfg: DictConfig, names: Sequence[str], limit: int | None) -> list[Finding]:
    """Print a description of the splits, and find the problems of their images and label maps."""
    splits = [read_split(cfg, name, limit) for name in names]
    findings = []
    for split in splits:
        print(f"\n{describe(split, cfg.get('dataset', {}).get('crop'))}")
        findings += [one.of(split.name) for one in stops(split) + label_findings(split) + image_findings(split)]
    return findings + copies(splits)


def check_instances(cfg: DictConfig, names: Sequence[str], limit: int | None) -> list[Finding]:
    """Print a description of the splits, and find the problems of their annotation files, then of their images.

    Raises:
        ValueError: A data set cannot be read for a reason other than an error in its annotation file.
    """
    sets = {name: instantiate(cfg.dataloader[name].dataset) for name in names}
    sets = {name: [found] if isinstance(found, str) else [*found] for name, found in sets.items()}
    mapper = instantiate(cfg.dataloader.train.mapper)
    mapper.augmentations = AugmentationList([])
    mask_format = mapper.instance_mask_format if mapper.use_instance_mask else None
    files, refusals = {}, []
    for data_set in chain(*sets.values()):
        try:
            load_records(data_set)
        except ValueError as error:
            refusals.append(error)
        path = MetadataCatalog.get(data_set).get("json_file", "")
        if refusals and not os.path.isfile(path):
            raise refusals[0]
        files[path] = read_annotations(path)
    metadata = MetadataCatalog.get(sets[names[0]][0])
    check_num_classes(metadata, metadata.thing_classes, OmegaConf.select(cfg, "dataset.num_classes"))
    findings = class_findings(files, metadata.thing_classes)
    for path, content in files.items():
        findings += file_findings(path, content, mask_format=mask_format)
    if any(finding.level == "ERROR" for finding in findings):
        return findings  # with such a file, images and objects cannot be inspected
    if refusals:
        raise refusals[0]
    splits = [_read_instances(data_sets, name, mapper, limit) for name, data_sets in sets.items()]
    for split in splits:
        print(f"\n{describe_instances(split)}")
        findings += [one.of(split.name) for one in instance_findings(split) + image_findings(split)]
    return findings + copies(splits)


def _read_instances(data_sets: Sequence[str], name: str, mapper: DatasetMapper, limit: int | None) -> SurveyedInstances:
    records, metadata = load_records(data_sets), MetadataCatalog.get(data_sets[0])
    objects, without = count_objects(records, num_classes=len(metadata.thing_classes))
    return SurveyedInstances(
        name=name,
        root=metadata.get("image_root", metadata.name),
        classes=metadata.thing_classes,
        objects=objects,
        without=without,
        count=len(records),
        seen=look_at_some(records, lambda record: look_at_record(record, mapper), name=name, limit=limit),
    )


def main(args: argparse.Namespace) -> int:
    """Print a description and the problems of the splits; return 1 if a training could not run on this data."""
    path = args.config_file or str(CONFIGS / "own_data.py")
    cfg = load_config(path, args.overrides, trust_config=args.trust_config)
    names = [args.split] if args.split else ["train", "test"]
    has_label_maps = isinstance(instantiate(cfg.dataloader.train.mapper), SemSegMapper)
    findings = (check_label_maps if has_label_maps else check_instances)(cfg, names, args.limit)
    print()
    for finding in findings:
        print(finding)
    errors = sum(finding.level == "ERROR" for finding in findings)
    print(f"Errors to fix first: {errors}" if errors else "A training can run on this data.")
    return 1 if errors else 0
