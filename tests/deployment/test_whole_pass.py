import pytest
import torch
from torch import nn

from tokenseg.deployment.whole_pass import WholePass


@pytest.mark.parametrize("size", [(16, 24), (13, 30), (1, 5)])
def test_it_is_the_segmentor_on_whole_images(segmentor, size):
    images = torch.rand(2, 3, *size) * 255
    with torch.no_grad():
        wanted = torch.stack([one["sem_seg"] for one in segmentor([{"image": image} for image in images])])
        assert torch.equal(WholePass(segmentor, output_kind="scores")(images), wanted)
        assert torch.equal(WholePass(segmentor)(images), wanted.argmax(dim=1))


def test_other_models_are_refused(segmentor, monkeypatch):
    with pytest.raises(ValueError, match=r"Linear is not a Segmentor.*Detectron2 has its own exporters for detectors"):
        WholePass(nn.Linear(1, 1))
    with pytest.raises(ValueError, match="output_kind is 'masks'; wanted one of ids, scores"):
        WholePass(segmentor, output_kind="masks")
    # Detectron2 0.6 has a property of this name, and 0.5 has none.
    monkeypatch.setattr(type(segmentor.backbone), "padding_constraints", {"square_size": 1024}, raising=False)
    with pytest.raises(ValueError, match="Strided pads images to squares"):
        WholePass(segmentor)
