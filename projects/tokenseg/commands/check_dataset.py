"""Looks at images and label maps before a training does: the body of the command `check_dataset`."""

import argparse
import statistics
from collections import Counter

from detectron2.data import MetadataCatalog
from omegaconf import DictConfig
from tabulate import tabulate
from tqdm import tqdm

from ..config.instantiate import instantiate
from ..config.load import load_config
from ..config.shipped import CONFIGS
from ..data.mapper import SemSegMapper
from ..datasets.findings import copies, image_findings, label_findings, stops
from ..datasets.records import load_records
from ..datasets.survey import SurveyedSplit, look


def describe(split: SurveyedSplit, crop: int | None) -> str:
    """Describe a split: its sizes, its kinds of files, and the pixels of every stored id."""
    lines = [f"{split.name}: {len(split.seen)} images of {split.root}"]
    sizes = [seen.size for seen in split.seen if seen.size]
    if sizes:
        parts = [
            f"{name} {min(sides)} / {statistics.median_low(sides)} / {max(sides)}"
            for name, sides in zip(("height", "width"), zip(*sizes, strict=True), strict=True)
        ]
        lines.append(f"  smallest / median / largest: {', '.join(parts)} pixels")
        if crop:
            lines.append(f"  {sum(min(size) < crop for size in sizes)} have a side below the training crop of {crop}")
    for what, modes in (("images", (s.mode for s in split.seen)), ("label maps", (s.label_mode for s in split.seen))):
        counts = Counter(mode or "unreadable" for mode in modes).most_common()
        lines.append(f"  {what}: " + ", ".join(f"{count} {mode}" for mode, count in counts))
    ids = split.ids()
    rows = []
    for stored in sorted(ids):
        wanted = split.class_of(stored)
        name = "NO CLASS" if wanted is None else "(ignored)" if wanted == split.ignore_label else split.classes[wanted]
        number = wanted if wanted in range(len(split.classes)) else ""
        rows.append(
            (stored, number, name, 100 * ids[stored] / sum(ids.values()), sum(stored in s.ids for s in split.seen))
        )
    if len(rows) > 300:
        rows = [*rows[:300], ("...", "", f"{len(rows) - 300} more", None, None)]
    headers = ["stored id", "class", "name", "pixels %", "images"]
    return "\n".join([*lines, tabulate(rows, headers=headers, floatfmt=".2f")])


def read_split(cfg: DictConfig, name: str, limit: int | None) -> SurveyedSplit:
    """Look at all images of a split, or at `limit` of them spread over it."""
    names = instantiate(cfg.dataloader[name].dataset)
    records = load_records(names)
    metadata = MetadataCatalog.get(names if isinstance(names, str) else names[0])
    classes, wanted = metadata.stuff_classes, cfg.dataloader.train.mapper
    if len(classes) != wanted.num_classes:
        raise ValueError(
            f"{metadata.name} has {len(classes)} class names; wanted dataset.num_classes, {wanted.num_classes}"
        )
    mapper = SemSegMapper(
        is_train=True, augmentations=[], num_classes=wanted.num_classes, ignore_label=wanted.ignore_label
    )
    chosen = records[:: max(1, len(records) // limit)][:limit] if limit else records
    return SurveyedSplit(
        name=name,
        root=metadata.get("image_root", metadata.name),
        classes=classes,
        ignore_label=wanted.ignore_label,
        id_map=records[0].get("sem_seg_id_map"),
        seen=[look(record, mapper) for record in tqdm(chosen, desc=name, unit="image", disable=None)],
        limited=len(chosen) < len(records),
    )


def main(args: argparse.Namespace) -> int:
    """Print what the splits of `args` hold and what is wrong with it; 1 if a training could not run on it."""
    path = args.config_file or str(CONFIGS / "own_data.py")
    cfg = load_config(path, args.overrides, trust_config=args.trust_config)
    splits = [read_split(cfg, name, args.limit) for name in ([args.split] if args.split else ("train", "test"))]
    errors = 0
    for split in splits:
        print(f"\n{describe(split, cfg.get('dataset', {}).get('crop'))}")
    print()
    for split in splits:
        for finding in stops(split) + label_findings(split) + image_findings(split):
            print(f"{finding.level} {split.name}: {finding.text}")
            errors += finding.level == "ERROR"
    for finding in copies(splits):
        print(f"{finding.level}: {finding.text}")
    print(f"Errors to cure first: {errors}" if errors else "A training can run on this data.")
    return 1 if errors else 0
