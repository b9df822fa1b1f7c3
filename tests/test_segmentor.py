"""The shared segmentor against Detectron2's SemanticSegmentor, with equal weights."""

import math

import pytest
import torch
from detectron2.config import get_cfg
from detectron2.layers import ShapeSpec
from detectron2.modeling import (
    FPN,
    META_ARCH_REGISTRY,
    SEM_SEG_HEADS_REGISTRY,
    ResNet,
    SemanticSegmentor,
    build_model,
    build_sem_seg_head,
)
from detectron2.modeling.backbone.resnet import BasicStem
from detectron2.modeling.meta_arch.semantic_seg import SemSegFPNHead

from tokenseg.inference.policy import MultiScale, SlidingWindow, WholeImage
from tokenseg.inspection import RegionSegmentor, image_regions
from tokenseg.segmentor import Prediction, Segmentor

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
    def count(self, targets):
        return {}

    def forward(self, features, targets):
        return {"loss_extra": targets.labels.new_tensor(float(len(targets.inputs))) + 0 * features["p2"].sum()}


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


class Scores(torch.nn.Module):
    ignore_value, runs = 255, 0

    def forward(self, features, targets):
        self.runs += 1
        return features["p2"][:, :5], {"beside": features["p2"][:, :2].abs()}

    def region_weights(self, features):
        return features["beside"]


def test_regions_cover_the_image_and_not_its_padding(pair):
    ours = RegionSegmentor(backbone=pair[0].backbone, sem_seg_head=Scores(), **PIXELS).eval()
    with torch.no_grad():
        [output] = ours(inputs((37, 50)))
    # cells of 4 x 4 pixels of the input, which is 37 x 50; the output is 73 x 53
    assert output["regions"].shape == (2, 10, 13) and output["sem_seg"].shape == (5, 73, 53)
    assert output["region_cell"] == pytest.approx((4 * 73 / 37, 4 * 53 / 50))
    assert image_regions(ours, torch.zeros(3, 32, 64)).weights.shape == (2, 8, 16)


@pytest.mark.parametrize(("policy", "runs"), [(WholeImage(), 1), (SlidingWindow(window=64, stride=64), 2)])
def test_whole_images_run_once_for_scores_and_regions(pair, policy, runs):
    ours = RegionSegmentor(backbone=pair[0].backbone, sem_seg_head=Scores(), inference=policy, **PIXELS).eval()
    with torch.no_grad():
        [output] = ours.ids(inputs((80, 80)))
        wanted = Segmentor.ids(ours, inputs((80, 80)))
    assert ours.sem_seg_head.runs == runs + 1
    assert output.keys() == {"class_ids", "regions", "region_cell"} and wanted[0].keys() == {"class_ids"}


class Original:
    """An original image that records the requested scales; its views are uniformly grey."""

    def __init__(self):
        self.scales = []

    def at_scale(self, scale):
        self.scales.append(scale)
        return torch.full((3, 64, 64), 100.0 * scale)


@pytest.mark.parametrize("kind", [Segmentor, RegionSegmentor])
def test_views_at_several_scales_are_made_of_the_original(pair, kind, caplog):
    policy = MultiScale(policy=WholeImage(), scales=[0.5, 2.0], flip=True)
    ours = kind(backbone=pair[0].backbone, sem_seg_head=Scores(), inference=policy, **PIXELS).eval()
    views, segment = [], ours.predict
    ours.predict = lambda images: views.append(images) or segment(images)
    record = inputs((64, 64))[0] | {"original": Original()}
    with torch.no_grad():
        ours([record])
    assert record["original"].scales == [0.5, 2.0]
    greys = [float(image[0].mean() * 60 + 120) for images in views[:2] for image in images]
    assert greys == pytest.approx([50, 50, 200, 200])


def test_views_of_images_that_were_resized_before_are_told(pair, caplog):
    policy = MultiScale(policy=WholeImage(), scales=[1.0], flip=False)
    ours = Segmentor(backbone=pair[0].backbone, sem_seg_head=Scores(), inference=policy, **PIXELS).eval()
    with torch.no_grad():
        ours([{"image": torch.zeros(3, 64, 64)}])
        assert not caplog.messages
        ours(inputs((64, 64)))
    assert "keep_original=true" in caplog.text


def test_a_model_without_regions_says_so(pair):
    with pytest.raises(ValueError, match="neither FPN nor SemSegFPNHead has region_weights"):
        image_regions(pair[0], torch.zeros(3, 32, 32))


def test_ids_are_those_of_the_highest_scores(pair):
    ours, batch = pair[0].eval(), inputs((64, 96), (37, 50))
    with torch.no_grad():
        pairs = zip(ours.ids(batch), ours(batch), strict=True)
    assert all(torch.equal(one["class_ids"], other["sem_seg"].argmax(dim=0)) for one, other in pairs)


@pytest.mark.parametrize("name", ["StructToken", "SegViT", "ECENet", "SGR", "Segmentor"])
def test_a_yacs_config_is_pointed_to_lazy_configs(name):
    cfg = get_cfg()
    cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.DEVICE = name, "cpu"
    with pytest.raises(ValueError, match=rf"^{name} cannot be built from a yacs config.*wanted a LazyConfig"):
        build_model(cfg)


@pytest.mark.parametrize("name", ["StructTokenHead", "SegViTHead", "ECENetHead", "FCNHead", "PerPixelHead"])
def test_heads_are_registered_and_point_to_lazy_configs_too(name):
    cfg = get_cfg()
    cfg.MODEL.SEM_SEG_HEAD.NAME = name
    assert SEM_SEG_HEADS_REGISTRY.get(name).__name__ == name
    with pytest.raises(ValueError, match=rf"^{name} cannot be built from a yacs config"):
        build_sem_seg_head(cfg, {})


def test_a_method_demands_its_parts(pair):
    with pytest.raises(ValueError, match="SegViT got the sem_seg_head SemSegFPNHead; wanted SegViTHead"):
        META_ARCH_REGISTRY.get("SegViT")(backbone=pair[0].backbone, sem_seg_head=pair[0].sem_seg_head, **PIXELS)
    with pytest.raises(ValueError, match="SGR got the backbone FPN; wanted ReasoningBackbone"):
        META_ARCH_REGISTRY.get("SGR")(backbone=pair[0].backbone, sem_seg_head=pair[0].sem_seg_head, **PIXELS)


def test_losses_of_detectron2s_heads_are_averaged_over_the_parts_of_a_step(pair):
    """These heads average over the images of a call, so each part is weighted by its number of images."""
    ours, batch = pair[0].train(), inputs((64, 64), (64, 64), (64, 64), (64, 64))
    counts = ours.count(batch)
    parts = [ours(part, counts)["loss_sem_seg"] for part in (batch[:1], batch[1:])]
    torch.testing.assert_close(sum(parts), (ours(batch[:1])["loss_sem_seg"] + 3 * ours(batch[1:])["loss_sem_seg"]) / 4)


def test_scores_are_resized_in_single_precision(pair):
    ours, batch = pair[0].eval(), inputs((64, 96))
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        [output] = ours(batch)
        coarse = ours.predict(ours.normalised(batch)).scores
    assert coarse.dtype == torch.bfloat16 and output["sem_seg"].dtype == torch.float32


def test_mean_and_std_must_match(pair):
    with pytest.raises(ValueError, match="3 channels and pixel_std 1"):
        Segmentor(backbone=None, sem_seg_head=None, pixel_mean=[1.0, 2.0, 3.0], pixel_std=[1.0])


def test_methods_are_registered():
    assert issubclass(META_ARCH_REGISTRY.get("StructToken"), Segmentor)


@pytest.mark.parametrize("policy", [WholeImage(), MultiScale(policy=WholeImage(), scales=[1.0], flip=False)])
@pytest.mark.parametrize("probabilities", [False, True])
def test_confidence_is_the_share_of_the_likeliest_class(pair, policy, probabilities):
    ours = Segmentor(backbone=pair[0].backbone, sem_seg_head=Scores(), inference=policy, **PIXELS).eval()
    ours.sem_seg_head.gives_probabilities = probabilities
    ours.sem_seg_head.count = dict  # now it implements the protocol `Head`
    scores = torch.tensor([4.0, 2, 1]).log().view(1, 3, 1, 1)
    ours.predict = lambda images: Prediction(scores, {}, (1, 1), [(1, 1)])
    [output] = ours.ids([{"image": torch.zeros(3, 1, 1)}], {"confidence"})
    # log(4), log(2) and 0 as logits: 4 / (4 + 2 + 1); as scores that add up to more than 1: log(4) / log(8)
    wanted = math.log(4) / math.log(8) if probabilities else 4 / 7
    assert output["confidence"].tolist() == [[pytest.approx(wanted)]] and output["class_ids"].tolist() == [[0]]


def test_confidence_goes_row_by_row(pair):
    """Probabilities are computed for a few rows at a time, and equal those of the whole image."""
    ours, scores = pair[0].eval(), torch.randn(5, 70, 3)
    torch.testing.assert_close(ours.confidence(scores), scores.softmax(dim=0).amax(dim=0))
    assert torch.equal(ours.confidence(torch.full((5, 1, 1), -200.0).exp()), torch.full((1, 1), 0.2))


def test_what_a_segmentor_does_not_give(pair):
    with pytest.raises(ValueError, match="beside class ids depth are wanted; a segmentor gives confidence, regions"):
        pair[0].eval().ids(inputs((32, 32)), {"depth"})
