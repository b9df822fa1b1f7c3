"""Shipped configs, each loaded once for all tests that only read it."""

import functools
from pathlib import Path

from omegaconf import DictConfig

from annotated import without_files
from tokenseg.config.load import load_config


@functools.cache
def loaded(path: Path) -> DictConfig:
    """Load a config that all tests share. A test that changes a config must load its own."""
    return load_config(str(path), without_files(path))
