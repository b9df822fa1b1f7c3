import random

import numpy as np
import pytest
import torch
from torch import nn

from tokenseg.alarms.probes import measure
from tokenseg.layers.attention import Attention
from tokenseg.segvit.shrunk import QueryUpsample


class Tokens(nn.Module):
    """A model whose tokens, regions and attention are given by its input."""

    def __init__(self):
        super().__init__()
        self.last, self.attention = nn.Dropout(0.5), Attention(width=4, num_heads=2, dropout=0.5)
        self.norm = nn.BatchNorm1d(1).eval()  # frozen, as in some backbones

    def forward(self, inputs):
        tokens = self.last(torch.stack([one["tokens"] for one in inputs]))
        self.attention(tokens, tokens)
        self.attention(tokens, torch.zeros(len(inputs), 3, 4))
        assert torch.rand(1) + random.random() + np.random.rand() > 0
        return {"regions": torch.eye(2).expand(len(inputs), 2, 2, 2)}

    def token_part(self):
        return self.last

    def region_weights(self, features):
        return features["regions"]


def test_every_part_is_measured_by_its_contract():
    values = measure(Tokens(), [{"tokens": scale * torch.ones(5, 4)} for scale in (1, 3)])
    assert values["model/image"] == pytest.approx(1) and values["model/image_x_token"] == 0
    assert values["model/cosine"] == pytest.approx(1) and values["model/dead_tokens"] == 0
    # Keys of zeros give uniform attention. The self-attention of the tokens is not measured.
    assert values["attention/entropy"] == pytest.approx(1)
    assert values["model/mass"] == 0.5 and values["model/dead_regions"] == 0
    assert len(values) == 8


def test_modes_and_random_states_are_left_as_they_were():
    model, modes = Tokens(), []
    model.last.register_forward_hook(lambda part, *_: modes.append(part.training))
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    measure(model, [{"tokens": torch.ones(5, 4)}] * 2)
    assert modes == [False] and model.training and model.last.training and not model.norm.training
    assert random.getstate() == states[0] and np.random.get_state()[1].tolist() == states[1]
    assert torch.equal(torch.get_rng_state(), states[2])
    assert not model.attention._forward_pre_hooks and len(model.last._forward_hooks) == 1


class Upsampled(nn.Module):
    """Shrunk's query upsampling, applied to given maps."""

    def __init__(self):
        super().__init__()
        sizes = dict(channels=8, width=16, img_size=64, stride=16, num_heads=2, num_layers=1, dropout=0.1)
        self.bases = QueryUpsample(blocks=[1, 3], **sizes)

    def forward(self, inputs):
        lowest = torch.stack([one["map"] for one in inputs])
        return self.bases({"block1": lowest, "block3": lowest[..., ::2, ::2]})


@torch.no_grad()
def test_a_map_that_is_all_position_and_one_that_is_one_vector():
    model, inputs = Upsampled(), [{"map": torch.randn(8, 4, 4)} for _ in range(2)]
    last = model.bases.layers[-1][-1]
    assert measure(model, inputs)["bases/token"] > 0.5  # at the start, the variance is mostly that of the position
    for layer in (model.bases.layers[0][0], last):
        layer.cross_attention.out.weight.zero_()
    values = measure(model, inputs)  # the tokens no longer depend on the images
    assert values["bases/token"] == pytest.approx(1) and values["bases/dead_tokens"] == 1
    nn.init.ones_(model.bases.queries)
    assert measure(model, inputs)["bases/cosine"] == pytest.approx(1)
