"""The shared segmentor against Detectron2's SemanticSegmentor, with equal weights."""

import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import FPN, META_ARCH_REGISTRY, ResNet, SemanticSegmentor
from detectron2.modeling.backbone.resnet import BasicStem
from detectron2.modeling.meta_arch.semantic_seg import SemSegFPNHead

from tokenseg.segmentor import Segmentor

PIXELS = dict(pixel_mean=[120.0, 110.0, 100.0], pixel_std=[60.0, 50.0, 55.0])


@pytest.fixture(scope="module")
def pair():
    torch.manual_seed(0)
    stages = ResNet.make_default_stages(18, norm="GN")
    resnet = ResNet(BasicStem(3, 64, norm="GN"), stages, out_features=["res2", "res3", "res4", "res5"])
    backbone = FPN(resnet, ["res2", "res3", "res4", "res5"], 32, norm="GN")
    shapes = {name: ShapeSpec(channels=32, stride=2**level) for level, name in ((2, "p2"), (3, "p3"))}
    head = SemSegFPNHead(shapes, num_classes=5, conv_dims=32, common_stride=4, norm="GN")
    ours = Segmentor(backbone=backbone, sem_seg_head=head, **PIXELS)
    return ours, SemanticSegmentor(backbone=backbone, sem_seg_head=head, **PIXELS)


def inputs(*sizes):
    return [
        {
            "image": torch.randint(0, 256, (3, *size), dtype=torch.uint8),
            "sem_seg": torch.randint(0, 5, size),
            "height": 2 * size[0] - 1,
            "width": size[1] + 3,
        }
        for size in sizes
    ]


@pytest.mark.parametrize("sizes", [((64, 96),), ((37, 50), (70, 33))])
def test_inference_equals_detectron2(pair, sizes):
    ours, theirs = (model.eval() for model in pair)
    batch = inputs(*sizes)
    with torch.no_grad():
        for got, wanted, record in zip(ours(batch), theirs(batch), batch, strict=True):
            assert got["sem_seg"].shape == (5, record["height"], record["width"])
            torch.testing.assert_close(got["sem_seg"], wanted["sem_seg"], rtol=0, atol=0)


def test_losses_equal_detectron2(pair):
    ours, theirs = (model.train() for model in pair)
    batch = inputs((64, 64), (33, 40))
    got, wanted = ours(batch), theirs(batch)
    assert got.keys() == wanted.keys()
    torch.testing.assert_close(got["loss_sem_seg"], wanted["loss_sem_seg"], rtol=0, atol=0)


def test_output_size_defaults_to_the_image(pair):
    ours = pair[0].eval()
    with torch.no_grad():
        assert ours([{"image": torch.zeros(3, 41, 29)}])[0]["sem_seg"].shape == (5, 41, 29)


def test_training_without_labels_names_the_file(pair):
    with pytest.raises(ValueError, match=r"label map.*a\.png"):
        pair[0].train()([{"image": torch.zeros(3, 32, 32), "file_name": "a.png"}])


class Doubled(torch.nn.Module):
    def forward(self, features, targets, inputs):
        return {"loss_extra": targets.new_tensor(float(len(inputs))) + 0 * features["p2"].sum()}


def test_further_losses_stand_beside_the_heads(pair):
    ours = Segmentor(
        backbone=pair[0].backbone, sem_seg_head=pair[0].sem_seg_head, extra_losses={"a": Doubled(), "b": None}, **PIXELS
    )
    assert list(ours.extra_losses) == ["a"]
    losses = ours.train()(inputs((64, 64), (33, 40)))
    assert set(losses) == {"loss_sem_seg", "loss_extra"} and losses["loss_extra"].item() == 2


def test_losses_of_one_name_are_refused(pair):
    parts = dict(backbone=pair[0].backbone, sem_seg_head=pair[0].sem_seg_head, **PIXELS)
    ours = Segmentor(extra_losses={"a": Doubled(), "b": Doubled()}, **parts).train()
    with pytest.raises(ValueError, match=r"extra_losses\.b gives loss_extra, which is there already"):
        ours(inputs((64, 64)))


class OneRegion(torch.nn.Identity):
    """Turns the backbone's finest map into a region."""

    def region_weights(self, features):
        return features["p2"][:, :1].abs()


def test_regions_cover_the_image_and_not_its_padding(pair):
    ours = Segmentor(backbone=pair[0].backbone, sem_seg_head=OneRegion(), region_outputs=True, **PIXELS).eval()
    ours.inference = lambda model, images, sizes: [torch.zeros(5, *size) for size in sizes]
    [output] = ours(inputs((37, 50)))
    # cells of 4 x 4 pixels of the input, which is 37 x 50; the output is 73 x 53
    assert output["regions"].shape == (1, 10, 13)
    assert output["region_cell"] == pytest.approx((4 * 73 / 37, 4 * 53 / 50))
    assert ours.regions(torch.zeros(3, 32, 64)).shape == (1, 8, 16)


def test_a_model_without_regions_says_so(pair):
    with pytest.raises(ValueError, match="neither FPN nor SemSegFPNHead has region_weights"):
        pair[0].regions(torch.zeros(3, 32, 32))


def test_mean_and_std_must_match(pair):
    with pytest.raises(ValueError, match="3 channels and pixel_std 1"):
        Segmentor(backbone=None, sem_seg_head=None, pixel_mean=[1.0, 2.0, 3.0], pixel_std=[1.0])


def test_methods_are_registered():
    assert issubclass(META_ARCH_REGISTRY.get("StructToken"), Segmentor)
