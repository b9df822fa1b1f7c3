"""ECENet's parts by hand and against plain renderings of the equations."""

import pytest
import torch
from torch import nn

from tokenseg.ecenet.blocks import ClassConfidence, GhostUpscale, SemanticsAttention, combined_prediction
from tokenseg.ecenet.reconstruction import FeatureReconstruction, diversity_loss, feature_reconstructions


class Constant(nn.Module):
    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, x):
        return torch.full_like(x, self.value)


def test_channels_that_share_no_pixel_cost_nothing():
    # Each of four channels lies on a pixel of its own: the maxima are 1 on four pixels, 1 - 4 / 4 = 0.
    diverse = 1000 * torch.eye(4).view(1, 4, 2, 2)
    assert diversity_loss(diverse).item() == 0


def test_channels_that_are_all_alike_cost_most():
    # One distribution over pixels, whose maxima sum to 1 whatever it is: 1 - 1 / 4.
    diverse = torch.randn(3, 1, 5, 7).expand(3, 4, 5, 7)
    assert diversity_loss(diverse).item() == pytest.approx(3 * 0.75)


def test_diversity_of_two_channels_by_hand():
    # Shares 1/2, 1/4, 1/4 and 1/4, 1/4, 1/2: maxima 1/2, 1/4, 1/2 sum to 5/4, and 1 - 5/8 = 3/8.
    diverse = torch.tensor([[2.0, 1.0, 1.0], [1.0, 1.0, 2.0]]).log().view(1, 2, 1, 3)
    assert diversity_loss(diverse).item() == pytest.approx(0.375)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert diversity_loss(diverse.bfloat16()).dtype == torch.float32


def test_the_loss_parts_channels():
    diverse = torch.randn(1, 4, 3, 3).requires_grad_()
    before = diversity_loss(diverse)
    before.backward()
    assert diversity_loss((diverse - diverse.grad).detach()) < before


def test_reconstruction_keeps_shapes_and_halves_the_diverse_branch():
    features, diverse = FeatureReconstruction(channels=8)(torch.randn(2, 8, 3, 5))
    assert features.shape == (2, 8, 3, 5) and diverse.shape == (2, 4, 3, 5)
    assert [part.project.in_channels for part in feature_reconstructions(channels=[4, 8])] == [4, 8]
    with pytest.raises(ValueError, match="channels is 6; wanted a multiple of 4"):
        FeatureReconstruction(channels=6)


def test_without_sigmoid_the_diverse_branch_is_unbounded():
    x = torch.randn(2, 8, 3, 5)
    for sigmoid, factor in ((True, torch.tensor(3.0).sigmoid()), (False, 3.0)):
        part = FeatureReconstruction(channels=8, se_sigmoid=sigmoid).eval()
        plain = part.cheap(part.intrinsic(x))
        part.recalibrate.squeeze = nn.Flatten()  # in its place the excitation is 3 for every channel
        part.recalibrate.excite = Constant(3.0)
        torch.testing.assert_close(part(x)[1], factor * plain)


def test_attention_reversed_is_attention_to_the_opposite():
    part = SemanticsAttention(width=8, num_heads=2).eval()
    x, embeddings = torch.randn(1, 8, 3, 4), torch.randn(1, 5, 8)
    reversed_part = SemanticsAttention(width=8, num_heads=2, reverse_similarity=True).eval()
    reversed_part.load_state_dict(part.state_dict())
    got, masks = reversed_part(x, embeddings)
    with torch.no_grad():
        part.key_value.weight[:8] *= -1
    wanted, opposite = part(x, embeddings)
    torch.testing.assert_close(got, wanted)
    torch.testing.assert_close(masks, -opposite)


def test_masks_are_mean_similarities():
    # Features and embeddings that the norms leave alone, maps that pass them on: S = Q K^T / 2, half from each head.
    part = SemanticsAttention(width=4, num_heads=2)
    part.feature_norm = part.embedding_norm = part.query = nn.Identity()
    with torch.no_grad():
        part.key_value.weight.copy_(torch.eye(4).repeat(2, 1))
    features = torch.tensor([1.0, 2.0, 0.0, 3.0]).view(1, 4, 1, 1)
    embeddings = torch.tensor([[[1.0, 0.0, 5.0, 0.0], [0.0, 0.0, 0.0, 1.0]]])
    _, masks = part(features, embeddings)
    torch.testing.assert_close(masks.flatten(), torch.tensor([1.0, 3.0]) / 2**0.5 / 2)


def test_attention_wants_heads_that_divide():
    with pytest.raises(ValueError, match="num_heads is 3; wanted a divisor of the width, 8"):
        SemanticsAttention(width=8, num_heads=3)


def test_softmax_is_in_full_precision():
    part = SemanticsAttention(width=8, num_heads=2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features, masks = part(torch.randn(1, 8, 3, 4), torch.randn(1, 5, 8))
        confidence = ClassConfidence(num_classes=5, width=8)(torch.randn(1, 5, 8))
    assert masks.dtype == confidence.dtype == torch.float32 and torch.isfinite(features).all()


def test_upscaling_by_hand():
    # One channel in, two from it and two by the depth-wise convolution from these, dealt to the corners of a pixel.
    part = GhostUpscale(width=1).eval()
    with torch.no_grad():
        part.primary[0].weight.copy_(torch.tensor([1.0, 2.0]).view(2, 1, 1, 1))
        part.cheap[0].weight.zero_()
        part.cheap[0].weight[:, 0, 1, 1] = 10.0
    got = part(torch.tensor([[[[1.0, -1.0]]]]))[0, 0] * (1 + part.primary[1].eps) ** 0.5
    torch.testing.assert_close(got, torch.tensor([[1.0, 2.0, 0, 0], [10.0, 20.0, 0, 0]]), rtol=1e-4, atol=1e-4)


def test_confidence_is_the_own_probability():
    part = ClassConfidence(num_classes=3, width=3)
    with torch.no_grad():
        part.classify.weight.copy_(torch.eye(3))
        part.classify.bias.zero_()
    embeddings = torch.tensor([[[0.0, 0, 0], [0, torch.tensor(2.0).log(), 0], [5.0, 0, 0]]])
    got = part(embeddings)[0]
    torch.testing.assert_close(got, torch.tensor([1 / 3, 2 / 4, 1 / (torch.tensor(5.0).exp().item() + 2)]))


def test_combined_prediction_by_hand():
    dense = torch.tensor([1.0, 2.0]).view(1, 2, 1, 1)
    masks = torch.tensor([0.0, 3.0]).log().view(1, 2, 1, 1)  # sigmoids 0 and 3/4
    got = combined_prediction(dense, torch.tensor([[0.5, 0.4]]), masks).flatten()
    torch.testing.assert_close(got, torch.tensor([1.0, 2.3]))
