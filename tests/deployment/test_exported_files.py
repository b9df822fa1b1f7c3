import math
import sys

import pytest
import torch
from detectron2.config import instantiate
from torch import nn
from torch.export import Dim

from test_methods import tiny_config
from tokenseg.deployment.exported_files import open_file, write_file
from tokenseg.deployment.file_facts import FileFacts
from tokenseg.deployment.tracing import example_images, trace
from tokenseg.deployment.verification import verify
from tokenseg.deployment.whole_pass import WholePass


def test_facts_are_read_as_they_were_written(exported_facts):
    assert FileFacts.from_json(exported_facts.to_json(), path="f") == exported_facts
    for text in (None, "{}", "[]", "no json", '{"size": 1}'):
        with pytest.raises(ValueError, match="'f' does not describe the classes"):
            FileFacts.from_json(text, path="f")


@pytest.mark.slow("files of torch.export for images of any size")
def test_a_file_of_any_size_gives_what_the_model_gives(segmentor, exported_facts, tmp_path):
    model, path = WholePass(segmentor), tmp_path / "model.pt2"
    write_file(trace(model, size=None), path, facts=exported_facts)
    with pytest.raises(ValueError, match=r"reading it can run any code; wanted allow_pickle=True"):
        open_file(path)
    run, told = open_file(path, allow_pickle=True)
    assert told == exported_facts
    assert verify(run, model, size=None) == 0


def test_a_swin_is_recorded_with_several_windows_along_each_side():
    """Otherwise torch would record their number as a constant, and the file would fail at other sizes."""
    model = WholePass(instantiate(tiny_config("uper_net").model))  # windows of 4 cells
    height, width = example_images(model, None).shape[-2:]
    assert height // 32 > 4 < width // 32 and height % 32 and width % 32


def test_a_model_without_windows_is_recorded_small(segmentor):
    assert example_images(WholePass(segmentor), None).shape == (2, 3, 19, 25)


def test_a_model_that_knows_one_size_is_not_traced_for_any(segmentor, monkeypatch):
    """The same holds for a model whose code reads values of tensors."""
    forward = segmentor.backbone.forward
    monkeypatch.setattr(segmentor.backbone, "forward", lambda x: forward(x[:, :, : int(torch.tensor(x.shape[2]) * 1)]))
    with pytest.raises(ValueError, match=r"cannot be traced for images of any size .*; wanted --size H W"):
        trace(WholePass(segmentor), size=None)


class Half(nn.Module):
    """Rounds a size up, as a ResNet-D does where it pads."""

    def forward(self, images):
        return images[:, :, : math.ceil(images.shape[2] / 2)]


@pytest.mark.slow("what torch records for images of any size and cannot write")
def test_a_model_that_torch_cannot_write_for_any_size_is_told(exported_facts, tmp_path):
    program = torch.export.export(Half(), (torch.zeros(1, 3, 9, 9),), dynamic_shapes={"images": {2: Dim.DYNAMIC}})
    told = r"cannot write it to a .pt2 file \(.*ceil.*\); wanted --size H W instead of .*, or --format onnx$"
    with pytest.raises(ValueError, match=told):
        write_file(program, tmp_path / "model.pt2", facts=exported_facts)


@torch.no_grad()
def test_another_model_is_told_from_the_file(segmentor):
    model = WholePass(segmentor)
    assert verify(lambda images: model(torch.from_numpy(images)).numpy(), model, size=(9, 9)) == 0
    with pytest.raises(ValueError, match=r"the file and its model differ by .*; wanted at most 0.0001"):
        verify(lambda images: 0 * images[:, 0].astype("int64"), model, size=(9, 9))
    with pytest.raises(ValueError, match=r"the file fails on images \(1, 3, 9, 9\), which the model accepts: "):
        verify(lambda images: 1 / 0, model, size=(9, 9))
    model = WholePass(segmentor, output_kind="scores")
    with pytest.raises(ValueError, match="differ by nan"):
        verify(lambda images: model(torch.from_numpy(images)).numpy() * float("nan"), model, size=(9, 9))


def test_packages_that_are_not_there_are_named(exported_facts, tmp_path, monkeypatch):
    for package in ("onnx", "onnxruntime"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ValueError, match=r"need the package onnx .*pip install 'tokenseg\[export\]'"):
        write_file(None, tmp_path / "model.onnx", facts=exported_facts)
    (tmp_path / "model.onnx").touch()
    with pytest.raises(ValueError, match="need the package onnxruntime"):
        open_file(tmp_path / "model.onnx")
    with pytest.raises(ValueError, match=r"'gone\.onnx' does not exist"):
        open_file(tmp_path.joinpath("gone.onnx").relative_to(tmp_path))


@pytest.mark.slow("models in onnxruntime equal those in torch")
@pytest.mark.parametrize("name", ["structtoken_pwe", "segvit", "fcn_sgr", "mask_former", "ecenet_vit"])
def test_onnx_files_give_what_the_models_give(name, exported_facts, tmp_path):
    """The number of images differs from that of the example with which the model was traced."""
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    model, path = WholePass(instantiate(tiny_config(name).model), output_kind="scores"), tmp_path / "model.onnx"
    write_file(trace(model, size=(60, 64)), path, facts=exported_facts)
    run, told = open_file(path)
    assert told == exported_facts
    assert verify(run, model, size=(60, 64)) <= 1e-4
