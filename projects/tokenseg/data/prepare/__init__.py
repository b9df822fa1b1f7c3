"""From a data set's official archives to the folders that the registration reads; used by tools/prepare_datasets."""

from .archives import Archive, Entry, open_archive
from .build import Preparation, Split, main, prepare
from .rules import Rule, apply_rules, read_lists, read_mat, read_png, relabel

__all__ = [
    "Archive",
    "Entry",
    "Preparation",
    "Rule",
    "Split",
    "apply_rules",
    "main",
    "open_archive",
    "prepare",
    "read_lists",
    "read_mat",
    "read_png",
    "relabel",
]
