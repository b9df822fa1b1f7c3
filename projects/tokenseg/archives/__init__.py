"""Builds the folders that the registered data sets read from official archives; used by commands/prepare_datasets."""

from .preparation import Preparation, SplitLayout, prepare
from .reading import Archive, Entry, open_archive
from .rules import FileRule, apply_rules, read_lists, read_mat, read_png, relabel

__all__ = [
    "Archive",
    "Entry",
    "FileRule",
    "Preparation",
    "SplitLayout",
    "apply_rules",
    "open_archive",
    "prepare",
    "read_lists",
    "read_mat",
    "read_png",
    "relabel",
]
