import pytest
import torch
from torch import nn

from tokenseg.layers.attention import Attention


@pytest.mark.parametrize("fused", [True, False])
def test_it_equals_torchs_with_values_and_a_mask(fused):
    attention, theirs = Attention(width=12, num_heads=3, dropout=0.0), nn.MultiheadAttention(12, 3, batch_first=True)
    attention.fused = fused
    layers = attention.query, attention.key, attention.value
    theirs.in_proj_weight.data = torch.cat([layer.weight for layer in layers])
    theirs.in_proj_bias.data = torch.cat([layer.bias for layer in layers])
    theirs.out_proj.load_state_dict(attention.out.state_dict())
    tokens, memory, values = torch.randn(2, 4, 12), torch.randn(2, 5, 12), torch.randn(2, 5, 12)
    allowed = torch.rand(2, 4, 5) > 0.4
    allowed[..., 0] = True
    got, similarity = attention(tokens, memory, values, allowed=allowed)
    wanted, _ = theirs(tokens, memory, values, attn_mask=~allowed.repeat_interleave(3, 0), need_weights=False)
    torch.testing.assert_close(got, wanted)
    _, weights = theirs(tokens, memory, values, attn_mask=~allowed.repeat_interleave(3, 0), average_attn_weights=False)
    torch.testing.assert_close(attention.weights(tokens, memory, allowed=allowed), weights)
    assert similarity is None
