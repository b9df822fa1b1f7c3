"""The components against plain renderings of the equations, and between a backbone and what follows."""

import math

import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import FPN, META_ARCH_REGISTRY, Backbone

from reference import sgr as plain
from tokenseg.segmentor import Segmentor
from tokenseg.sgr.glore import GloRe
from tokenseg.sgr.plug import ReasoningBackbone
from tokenseg.sgr.positions import PositionConv, sine_code
from tokenseg.sgr.reasoning import SemanticReasoning


def component(**changes):
    """A small component whose way back is not zero."""
    part = SemanticReasoning(**{"channels": 8, "num_concepts": 6, "width": 16, "num_heads": 2, **changes})
    torch.nn.init.normal_(part.back.weight)
    torch.nn.init.normal_(part.concepts.weight)
    return part


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"xy_code": False},
        {"centroid_code": False},
        {"xy_code": False, "centroid_code": False},
        {"reasoning": "graph"},
        {"token_aggregation": "sum"},
        {"num_layers": 1},
    ],
)
def test_component_follows_the_equations(changes):
    part, x = component(**changes), torch.randn(2, 8, 5, 7)
    for got, wanted in zip(part(x), plain.semantic_reasoning(x, part), strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)


def test_graph_convolution_and_glore_follow_the_equations():
    part, nodes = component(reasoning="graph").reason, torch.randn(2, 6, 16)
    torch.testing.assert_close(part(nodes), plain.graph_convolution(nodes, part))
    part, x = GloRe(channels=8).eval(), torch.randn(2, 8, 5, 7)
    torch.nn.init.normal_(part.back[1].weight)
    assert part.project.weight.shape[:2] == (2, 8) and part.reduce.weight.shape[:2] == (4, 8)
    for got, wanted in zip(part(x), plain.glore(x, part), strict=True):
        torch.testing.assert_close(got, wanted)
    assert part.back[1].eps == 1e-4
    torch.testing.assert_close(part.region_weights(torch.tensor([-2.0, 1])), torch.tensor([2.0, 1]))


@pytest.mark.parametrize("make", [SemanticReasoning, GloRe])
def test_at_the_start_features_come_out_as_they_went_in(make):
    part, x = make(channels=16).train(), torch.randn(2, 16, 4, 4)
    torch.testing.assert_close(part(x)[0], x, rtol=0, atol=0)


def test_regions_start_near_one_per_cent():
    x = torch.randn(2, 256, 8, 8).relu()
    weights = SemanticReasoning.region_weights(SemanticReasoning(channels=256)(x)[1])
    assert weights.shape == (2, 512, 8, 8)
    assert 0.005 < weights.median() < 0.02


def test_codes_by_hand():
    code = sine_code(torch.tensor([0.0, 0.25]), channels=4)
    slow = math.pi / 2 / 100  # temperature ** (1 / 2)
    torch.testing.assert_close(code[0], torch.tensor([0.0, 0, 1, 1]))
    torch.testing.assert_close(code[1], torch.tensor([1, math.sin(slow), 0, math.cos(slow)]))
    # the same place has the same code on every map
    conv = PositionConv(channels=4, out_channels=3)
    small, large = conv(torch.zeros(1, 4, 3, 3)), conv(torch.zeros(1, 4, 9, 9))
    torch.testing.assert_close(small, large[:, :, 1::3, 1::3])
    with pytest.raises(ValueError, match="3 channels"):
        sine_code(torch.zeros(1), channels=3)


def test_a_mean_token_does_not_depend_on_the_size_of_the_map():
    part, x = component(xy_code=False, centroid_code=False), torch.randn(1, 8, 4, 4)
    twice = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    tokens = [part.tokens(y, part.region_weights(part(y)[1])) for y in (x, twice)]
    torch.testing.assert_close(*tokens)
    part = component(xy_code=False, centroid_code=False, token_aggregation="sum")
    small, large = (part.tokens(y, part.region_weights(part(y)[1])) for y in (x, twice))
    torch.testing.assert_close(4 * small, large)


def test_a_region_without_mass_is_no_trouble():
    part = component()
    part.concepts.bias.data.fill_(-200.0)
    enhanced, _ = part(torch.zeros(1, 8, 3, 3))
    enhanced.sum().backward()
    assert torch.isfinite(enhanced).all()
    assert all(torch.isfinite(p.grad).all() for p in part.parameters())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reasoning": "gru"}, "reasoning is 'gru'"),
        (
            {"token_aggregation": "max"},
            "token_aggregation 'max'; wanted one of transformer, graph and one of mean, sum",
        ),
        ({"width": 18}, "width is 18"),
        ({"start_probability": 1.0}, "start_probability is 1.0"),
        ({"channels": 7}, "channels is 7; wanted an even number"),
    ],
)
def test_mistakes(changes, message):
    with pytest.raises(ValueError, match=message):
        component(**changes)


class TwoMaps(Backbone):
    """The smallest backbone with two maps."""

    size_divisibility = 4

    def output_shape(self):
        return {"fine": ShapeSpec(channels=8, stride=2), "coarse": ShapeSpec(channels=8, stride=4)}

    def forward(self, images):
        return {
            name: images.mean(1, keepdim=True).expand(-1, 8, -1, -1)[:, :, ::stride, ::stride]
            for name, stride in (("fine", 2), ("coarse", 4))
        }


def test_any_backbone_can_be_wrapped():
    inner, images = TwoMaps(), torch.randn(2, 3, 8, 12)
    backbone = ReasoningBackbone(backbone=inner, components={"fine": GloRe(channels=8), "coarse": component()})
    assert backbone.output_shape() == inner.output_shape() and backbone.size_divisibility == 4
    assert backbone.padding_constraints == {}
    features, before = backbone.eval()(images), inner(images)
    assert {name: tuple(x.shape) for name, x in features.items()} == {
        "fine": (2, 8, 4, 6),
        "coarse": (2, 8, 2, 3),
        "fine_regions": (2, 2, 4, 6),
        "coarse_regions": (2, 6, 2, 3),
    }
    assert not torch.equal(features["coarse"], before["coarse"])
    torch.testing.assert_close(backbone.region_weights(features), features["coarse_regions"].sigmoid())
    fpn = FPN(backbone, ["fine", "coarse"], 4)  # of Detectron2, which reads output_shape
    assert set(fpn(images)) == {"p1", "p2"}


def test_a_wrapped_backbone_keeps_its_constraints():
    class Square(TwoMaps):
        padding_constraints, size_divisibility = {"square_size": 8}, 0

    backbone = ReasoningBackbone(backbone=Square(), components={"coarse": component()})
    assert backbone.padding_constraints == {"square_size": 8}
    # Detectron2's ResNet does not pad; a cell of a component's map must have its whole stride
    assert backbone.size_divisibility == 4


@pytest.mark.parametrize("reasoning", ["transformer", "graph"])
def test_weights_in_bfloat16(reasoning):
    part = component(reasoning=reasoning).eval()
    torch.nn.init.normal_(part.back.weight, std=0.1)
    x = torch.randn(2, 8, 4, 6)
    with torch.no_grad():
        wanted, got = part(x)[0], part.bfloat16()(x.bfloat16())[0].float()
    assert (got - wanted).norm() < 0.03 * wanted.norm()


def test_components_are_for_maps_that_there_are():
    with pytest.raises(ValueError, match=r"maps \['res5'\]; wanted some of the backbone's, fine, coarse"):
        ReasoningBackbone(backbone=TwoMaps(), components={"res5": component()})


def test_detectron2_finds_the_meta_architecture():
    assert issubclass(META_ARCH_REGISTRY.get("SGR"), Segmentor)
