"""The requirements that every method must meet, tested over all methods."""

import copy
import functools
from pathlib import Path

import pytest
import torch
from detectron2.config import LazyCall, LazyConfig, instantiate
from torch import nn

from tokenseg import Predictor
from tokenseg.alarms.probes import measure
from tokenseg.config.load import load_config
from tokenseg.contracts import HasClassMasks, HasRegions, HasTokens, Head, ShowsStages
from tokenseg.data.components import ConnectedComponents
from tokenseg.engine.build import begin_random
from tokenseg.engine.precision import autocast
from tokenseg.inference.policy import SlidingWindow, WholeImage
from tokenseg.sgr.glore import GloRe
from tokenseg.sgr.reasoning import SemanticReasoning

ROOT = Path(__file__).resolve().parents[1]

# Overrides for small backbones: crops of 64 pixels, 2 or 4 blocks of 48 channels, or stages of 8 channels and more.
VIT = [
    "vit={model_name: vit_tiny_patch16_224, channels: 48, last_block: 1}",
    "model.backbone.timm_args={embed_dim: 48, depth: 2, num_heads: 3}",
]
VIT_TAPS = [
    "vit={model_name: vit_tiny_patch16_224, channels: 48}",
    "model.backbone.timm_args={embed_dim: 48, depth: 4, num_heads: 3}",
    "model.backbone.out_blocks=[0,1,2,3]",
    "model.sem_seg_head.in_features=[block0,block1,block2,block3]",
]
SWIN = [
    "pyramid={model_name: swin_tiny_patch4_window7_224, channels: [8, 16, 32, 64]}",
    "model.backbone.timm_args={embed_dim: 8, depths: [1, 1, 1, 1], num_heads: [1, 2, 4, 8], window_size: 4}",
]
SEGVIT_LEVELS = [
    "vit={model_name: vit_tiny_patch16_224, channels: 48, last_block: 3}",
    "model.backbone.timm_args={embed_dim: 48, depth: 4, num_heads: 3}",
    "model.backbone.out_blocks=[1,3]",
    "decoder={width: 32, num_heads: 2}",
]
SEGVIT_STAGES = [
    *SWIN,
    "model.backbone.drop_path_rate=0.0",
    "decoder={width: 32, num_heads: 2}",
    "model.sem_seg_head.num_layers=1",
    "model.sem_seg_head.bases.num_groups=4",
]
SHRUNK = [*SEGVIT_LEVELS, "model.backbone.downsample.block=2"]
RESNET = [
    "pyramid={model_name: resnet18, channels: [8, 16, 32, 64]}",
    "model.extra_losses.auxiliary.head.width=16",
]
FCN = ["model.sem_seg_head.width=128"]
PLAIN_RESNET = [*RESNET, "model.backbone.timm_args={channels: [8, 16, 32, 64]}"]
REASONING_RESNET = [*RESNET, "model.backbone.backbone.timm_args={channels: [8, 16, 32, 64]}"]
SGR = [
    *REASONING_RESNET,
    "sgr={num_concepts: 12, num_active: 8}",
    "model.backbone.components.res5.width=32",
]
UPER_NET = [
    *SWIN,
    "model.backbone.drop_path_rate=0.0",
    "model.sem_seg_head.width=96",
    "model.extra_losses.auxiliary.head.width=16",
]
# Their group norms have 32 groups, which need two channels each where a map is one cell.
QUERIES = [
    *(f"model.sem_seg_head.{part}" for part in ("width=64", "num_queries=6", "num_layers=3", "hidden=32")),
    "model.sem_seg_head.num_heads=2",
]
MASK_FORMER = [
    "pyramid={model_name: resnet50, channels: [16, 32, 64, 128]}",
    *QUERIES,
    "model.sem_seg_head.dropout=0.0",
]
BOTTLENECKS = "timm_args={channels: [4, 8, 16, 32], layers: [1, 1, 1, 3]}"
MASK2FORMER = [
    *SWIN,
    "model.backbone.drop_path_rate=0.0",
    *QUERIES,
    "model.sem_seg_head.num_encoder_layers=1",
    "model.sem_seg_head.encoder_hidden=32",
    "model.sem_seg_head.criterion.sampling.num_points=256",
]
METHODS = {
    "structtoken_cse": ("structtoken/structtoken_cse_vit_t_ade20k_512_160k", VIT),
    "structtoken_sse": ("structtoken/structtoken_sse_vit_t_ade20k_512_160k", VIT),
    "structtoken_pwe": ("structtoken/structtoken_pwe_vit_t_ade20k_512_160k", VIT),
    "per_pixel": ("structtoken/per_pixel_vit_t_ade20k_512_160k", VIT),
    "ecenet_swin": ("ecenet/ecenet_swin_b_ade20k_640_160k", [*SWIN, "model.sem_seg_head.width=16"]),
    "ecenet_resnet": (
        "ecenet/ecenet_resnet_101_ade20k_512_160k",
        [
            "pyramid={model_name: resnet18d, channels: [8, 16, 32, 64]}",
            "model.backbone.timm_args={channels: [8, 16, 32, 64]}",
            "model.sem_seg_head.width=16",
        ],
    ),
    "ecenet_vit": ("ecenet/ecenet_vit_b_ade20k_512_160k", [*VIT_TAPS, "model.sem_seg_head.width=16"]),
    "segvit": ("segvit/segvit_vit_b_ade20k_512_160k", SEGVIT_LEVELS),
    "segvit_gated": ("segvit/segvit_gated_vit_b_ade20k_512_160k", SEGVIT_LEVELS),
    "segvit_swin": ("segvit/segvit_swin_t_ade20k_512_160k", SEGVIT_STAGES),
    "segvit_naive_shrunk": ("segvit/segvit_naive_shrunk_vit_b_ade20k_512_160k", SHRUNK),
    "segvit_shrunk": ("segvit/segvit_shrunk_vit_b_ade20k_512_160k", SHRUNK),
    "fcn": ("sgr/fcn_resnet_101_ade20k_512_160k", [*PLAIN_RESNET, *FCN]),
    "fcn_glore": ("sgr/fcn_glore_resnet_101_ade20k_512_160k", [*REASONING_RESNET, *FCN]),
    "fcn_sgr": ("sgr/fcn_sgr_resnet_101_ade20k_512_160k", [*SGR, *FCN]),
    "deeplab_v3_sgr": (
        "sgr/deeplab_v3_sgr_resnet_101_ade20k_512_160k",
        [*SGR, "model.sem_seg_head.layers.width=32"],
    ),
    "uper_net": ("sgr/uper_net_swin_t_ade20k_512_160k", UPER_NET),
    "mask_former": ("sgr/mask_former_resnet_101c_ade20k_512_160k", [*MASK_FORMER, f"model.backbone.{BOTTLENECKS}"]),
    "mask_former_sgr": (
        "sgr/mask_former_sgr_resnet_101c_coco_stuff_10k_512_60k",
        [
            *MASK_FORMER,
            f"model.backbone.backbone.{BOTTLENECKS}",
            "sgr={num_concepts: 12, num_active: 8}",
            "model.backbone.components.res5.width=32",
        ],
    ),
    "mask2former": ("sgr/mask2former_swin_t_coco_stuff_10k_512_60k", MASK2FORMER),
}
# The loss terms that do not depend on labels.
REGULARISERS = {"loss_diversity"}


def tiny_config(name):
    """A method's config, made small: a crop of 64 pixels, 5 classes, overlapping windows."""
    return copy.deepcopy(_tiny_config(name))


@functools.cache
def _tiny_config(name):
    config, overrides = METHODS[name]
    cfg = load_config(str(ROOT / f"configs/{config}.py"), ["dataset.crop=64", "dataset.num_classes=5", *overrides])
    cfg.model.inference = LazyCall(SlidingWindow)(window=64, stride=43)
    return cfg


def tiny_model(name):
    """The model of `tiny_config`."""
    model = copy.deepcopy(_built(name))
    torch.manual_seed(0)
    return model


@functools.cache
def _built(name):
    torch.manual_seed(0)
    model = begin_random(instantiate(tiny_config(name).model))
    for module in model.modules():
        # These components start as the identity, so that their other parameters would get no gradient.
        if isinstance(module, SemanticReasoning):
            nn.init.normal_(module.back.weight, std=0.1)
        elif isinstance(module, GloRe):
            nn.init.ones_(module.back[1].weight)
    return model


ONE_OF_EACH = {"structtoken_pwe", "segvit", "ecenet_vit", "fcn_sgr", "mask2former"}


def one_of_each(more, names=METHODS):
    """The names of models for an expensive test: one of each method, and the others as slow tests that add `more`."""
    return [pytest.param(name, marks=() if name in ONE_OF_EACH else pytest.mark.slow(more)) for name in names]


@pytest.fixture(params=METHODS)
def model(request):
    return tiny_model(request.param)


def batch(*labels, size=(64, 64)):
    """Training inputs from label maps; a number stands for a constant map, None for a random one."""
    drawn = [torch.randint(0, 5, size) if label is None else label for label in labels]
    maps = [label if isinstance(label, torch.Tensor) else torch.full(size, label) for label in drawn]
    components = ConnectedComponents(num_active=8)
    return [
        {
            "image": torch.randint(0, 256, (3, *size), dtype=torch.uint8),
            "sem_seg": label,
            "components": components(label.numpy()),
            "seed": place,
        }
        for place, label in enumerate(maps)
    ]


GRADIENTS = [
    ((None, None), (64, 64), None),
    ((255, 2), (33, 130), None),
    ((255, 255), (64, 64), None),
    ((255, None), (64, 64), None),
    ((255, 2), (64, 64), torch.bfloat16),
    ((255, None), (64, 64), torch.float16),
]


def cases_of_gradients():
    """Yield every case for one model of each method, and the first two for all; the others are slow tests."""
    more = pytest.mark.slow("gradients of further labels and precisions, for the variants of the methods")
    for name in METHODS:
        for place, case in enumerate(GRADIENTS):
            yield pytest.param(name, *case, marks=[more] if place > 1 and name not in ONE_OF_EACH else [])


@pytest.mark.parametrize(("name", "labels", "size", "dtype"), cases_of_gradients())
def test_every_parameter_gets_a_finite_gradient(name, labels, size, dtype):
    model = tiny_model(name)
    with autocast(torch.device("cpu"), dtype):
        losses = model.train()(batch(*labels, size=size))
    total = sum(losses.values())
    assert torch.isfinite(total)
    total.backward()
    without = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert without == []
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())


def test_labels_that_are_all_ignored_cost_nothing(model):
    losses = model.train()(batch(255, 255))
    assert sum(value for name, value in losses.items() if name not in REGULARISERS).item() == 0


@pytest.mark.parametrize("name", one_of_each("the loss of the variants of the methods falls"))
def test_loss_falls(name):
    model = tiny_model(name)
    samples, optimizer = batch(0, 1, 2, 3), torch.optim.AdamW(model.train().parameters(), lr=1e-3)
    values = []
    for _ in range(12):
        loss = sum(model(samples).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    assert values[-1] < 0.8 * values[0]


@pytest.mark.parametrize("size", [(1, 1), (17, 130), (100, 40)])
@pytest.mark.parametrize("whole", [True, False])
def test_any_input_size(model, size, whole):
    model.eval()
    if whole:
        model.inference = WholeImage()
    with torch.no_grad():
        scores = model([{"image": torch.randint(0, 256, (3, *size), dtype=torch.uint8)}])[0]["sem_seg"]
    assert scores.shape == (5, *size) and torch.isfinite(scores).all()


def test_bfloat16_is_close(model):
    model.eval()
    samples = batch(None)
    with torch.no_grad():
        wanted = model(samples)[0]["sem_seg"]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            got = model(samples)[0]["sem_seg"]
    # The tolerance is wide, since norms over five random channels amplify rounding errors. A wrong layout or overflow
    # gives a difference of 1 or more.
    assert (got.float() - wanted).norm() < 0.3 * wanted.norm()
    assert wanted.stride(0) == got.stride(0) == 1  # all classes of a pixel are adjacent in memory, with windows too


@pytest.mark.slow("class ids of whole models of many classes, in windows and of whole images")
@pytest.mark.parametrize("name", ["structtoken_pwe", "segvit", "ecenet_vit", "fcn_sgr", "mask2former"])
def test_ids_are_those_of_the_highest_scores(name):
    config = tiny_config(name)
    config.dataset.num_classes = 150
    torch.manual_seed(0)
    model, samples = begin_random(instantiate(config.model)).eval(), batch(None, size=(90, 117))
    samples[0] |= {"height": 131, "width": 140}
    for policy in (model.inference, WholeImage()):
        model.inference = policy
        with torch.no_grad(), autocast(torch.device("cpu"), torch.bfloat16):
            wanted, found = model(samples)[0]["sem_seg"], model.ids(samples)[0]["class_ids"]
        assert torch.equal(found, wanted.max(dim=0).indices)


def test_what_can_collapse_is_measured(model):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    values = measure(model.train(), batch(None, None))
    parts = {name for name, part in model.named_modules() if isinstance(part, HasTokens)}
    assert {name.rpartition("/")[0] for name in values if name.endswith("image_x_token")} == parts
    regions = {name for name in ("backbone", "sem_seg_head") if isinstance(getattr(model, name), HasRegions)}
    assert {name.rpartition("/")[0] for name in values if name.endswith("mass")} == regions
    assert all(-1 <= value <= 1.000001 for name, value in values.items() if not name.endswith("mass"))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items()) and model.training


@pytest.mark.parametrize("name", one_of_each("activation checkpointing of the variants of the methods"))
def test_activation_checkpointing_changes_nothing(name):
    model = tiny_model(name)
    samples = batch(None, None)
    gradients, trunk = [], next(part for part in model.backbone.modules() if hasattr(part, "set_grad_checkpointing"))
    for enabled in (False, True):
        model.zero_grad()
        trunk.set_grad_checkpointing(enabled)
        torch.manual_seed(0)
        sum(model.train()(samples).values()).backward()
        gradients.append(next(trunk.parameters()).grad.clone())
    torch.testing.assert_close(*gradients)


def test_pictures_have_a_map_of_every_class_at_every_stage(model):
    model.eval()
    with torch.no_grad():
        features = model.backbone(torch.randn(2, 3, 64, 96))
        maps, (scores, _) = model.sem_seg_head.token_maps(features), model.sem_seg_head(features)
    assert isinstance(model.sem_seg_head, Head) and isinstance(model.sem_seg_head, ShowsStages)
    assert maps and all(one.shape[:2] == (2, 5) and torch.isfinite(one).all() for one in maps.values())
    *_, last = maps.values()
    if not model.sem_seg_head.gives_probabilities:
        torch.testing.assert_close(last, scores)


TOKEN_METHODS = [name for name in METHODS if name not in ("per_pixel", "fcn", "uper_net")]


@pytest.mark.parametrize("name", TOKEN_METHODS)
def test_regions_of_every_method_with_tokens(name):
    model = tiny_model(name).eval()
    with torch.no_grad():
        [output] = model.ids(batch(None, size=(64, 96))[:1], {"regions"})
    regions, (height, width) = output["regions"], output["region_cell"]
    assert output["class_ids"].shape == (64, 96) and torch.isfinite(regions).all() and regions.min() >= 0
    assert (regions.shape[1] * height, regions.shape[2] * width) == (64, 96)
    if isinstance(model.sem_seg_head, HasClassMasks):
        assert len(regions) == 5 and regions.max() <= 1


@pytest.mark.parametrize(
    ("name", "stage", "activation"),
    [
        ("structtoken_pwe", "logits", lambda x: x.softmax(dim=1)),
        ("segvit", "sum of masks 1-2", torch.sigmoid),
        ("ecenet_vit", "sum of masks", torch.sigmoid),
    ],
)
def test_the_regions_of_classes_are_their_masks(name, stage, activation):
    model = tiny_model(name).eval()
    with torch.no_grad():
        features = model.backbone(torch.randn(1, 3, 64, 64))
        wanted, got = model.sem_seg_head.token_maps(features)[stage], model.sem_seg_head.class_masks(features)
    torch.testing.assert_close(got, activation(wanted))


@pytest.mark.parametrize("name", ["per_pixel", "fcn", "uper_net"])
def test_methods_without_tokens_say_so(name):
    with pytest.raises(ValueError, match="has region_weights; wanted a part whose tokens have regions"):
        tiny_model(name).eval().ids(batch(None), {"regions"})


@pytest.mark.parametrize("name", one_of_each("saved models of the variants of the methods"))
def test_a_saved_model_segments_pictures_of_any_size_at_several_scales(name, tmp_path):
    LazyConfig.save(tiny_config(name), str(tmp_path / "config.yaml"))
    torch.save({"model": tiny_model(name).state_dict()}, tmp_path / "weights.pth")
    words = ["train.device=cpu", "dataset={short_side: 32, long_side: 64}"]
    words += ["train.tta={enabled: true, scales: [0.5, 1.0]}"]
    predictor = Predictor(tmp_path / "config.yaml", tmp_path / "weights.pth", overrides=words)
    image = torch.randint(0, 256, (41, 70, 3), dtype=torch.uint8).numpy()
    ids = predictor(image)
    assert ids.shape == (41, 70) and 0 <= ids.min() <= ids.max() < 5
    if any(isinstance(part, HasRegions) for part in (predictor.model.backbone, predictor.model.sem_seg_head)):
        regions = predictor.regions(image)
        assert len(regions) in (6, 12, 16) and regions.min() >= 0 and regions.max() > 0


def test_a_map_that_the_backbone_lacks_is_told(model):
    model.eval()
    with torch.no_grad(), pytest.raises(ValueError, match=r"there is no feature map .*wanted some of other"):
        model.sem_seg_head({"other": torch.zeros(1, 8, 4, 4)})
