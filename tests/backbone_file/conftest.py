"""Exported files of small backbones."""

import functools

import pytest

from small_backbones import (
    segmentor,
)
from tokenseg import save_backbone


@pytest.fixture
def exported(tmp_path):
    """A function that exports the backbone of a model to a file and returns the path."""

    def export(model, **args):
        path = str(tmp_path / "backbone.safetensors")
        save_backbone(model, path, **(dict(image_format="RGB", run=dict(output_dir="run", iteration=7)) | args))
        return path

    return export


@pytest.fixture(scope="module")
def file_of(tmp_path_factory):
    """A function from a builder of a backbone to the exported file of a segmentor with it, which is made once."""

    @functools.cache
    def path(build):
        file = str(tmp_path_factory.mktemp("exported") / "backbone.safetensors")
        save_backbone(segmentor(build()), file, image_format="RGB", run=dict(output_dir="run", iteration=7))
        return file

    return path
