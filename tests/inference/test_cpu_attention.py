import pytest
import torch
import torch.nn.functional as F

from tokenseg.engine.precision import autocast
from tokenseg.inference import cpu_attention
from tokenseg.inference.cpu_attention import AttentionByProducts, attention_by_products, products_are_faster

CPU = torch.device("cpu")


def heads(queries, keys, width=4, dtype=torch.bfloat16):
    """Draw queries, keys and values of two images and three heads; the values are wider than the keys."""
    shapes = [(queries, width), (keys, width), (keys, width + 1)]
    return [torch.randn(2, 3, *shape).to(dtype) for shape in shapes]


@pytest.mark.parametrize("scale", [None, 2.0])
def test_it_equals_the_fused_kernel(monkeypatch, scale):
    monkeypatch.setattr(cpu_attention, "_PIECE", 100)  # blocks of 7, 7, 7 and 2 queries
    inputs = heads(23, 13, dtype=torch.float64)
    ours, wanted = attention_by_products(*inputs, scale=scale), F.scaled_dot_product_attention(*inputs, scale=scale)
    torch.testing.assert_close(ours, wanted)
    assert ours.transpose(1, 2).is_contiguous()


@pytest.fixture
def calls(monkeypatch):
    """The calls of `attention_by_products`, on a CPU on which it is the faster one."""
    found = []
    monkeypatch.setattr(cpu_attention, "attention_by_products", lambda *inputs, **_: found.append(inputs))
    monkeypatch.setattr("tokenseg.engine.precision.products_are_faster", lambda: True)
    return found


LARGE = (256, 128)


@torch.no_grad()
def test_large_attentions_in_bfloat16_use_it(calls):
    with AttentionByProducts():
        F.scaled_dot_product_attention(*heads(*LARGE))
        F.scaled_dot_product_attention(*heads(*LARGE), dropout_p=0.0, scale=0.5)
        F.scaled_dot_product_attention(**dict(zip(("query", "key", "value"), heads(*LARGE), strict=True)))
    assert [len(inputs) for inputs in calls] == [3, 3, 3]


@pytest.mark.parametrize(
    ("inputs", "options"),
    [
        (heads(255, 128), {}),
        (heads(*LARGE, dtype=torch.float32), {}),
        (heads(*LARGE), {"attn_mask": torch.ones(LARGE, dtype=torch.bool)}),
        (heads(*LARGE), {"dropout_p": 0.5}),
        (heads(*LARGE), {"is_causal": True}),
        ([x[0] for x in heads(*LARGE)], {}),
        ([x if place == 0 else x[:, :1] for place, x in enumerate(heads(*LARGE))], {"enable_gqa": True}),
    ],
    ids=["small", "float32", "mask", "dropout", "causal", "without-images", "grouped"],
)
@torch.no_grad()
def test_others_use_torchs_kernel(calls, inputs, options):
    with AttentionByProducts():
        mixed = F.scaled_dot_product_attention(*inputs, **options)
    assert mixed.shape[-2:] == (inputs[0].shape[-2], 5) and not calls


def test_autocast_uses_it_in_inference_alone(calls):
    def attend(dtype):
        with autocast(CPU, dtype):
            F.scaled_dot_product_attention(*heads(*LARGE))

    attend(torch.bfloat16)
    with torch.no_grad():
        attend(None)
        assert not calls
        attend(torch.bfloat16)
    assert len(calls) == 1


@pytest.mark.filterwarnings("ignore:TF32 acceleration")
@pytest.mark.parametrize(
    ("onednn", "threads", "variable", "faster"),
    [(True, 1, "X", True), (False, 1, "X", False), (True, 9, "X", False), (True, 1, "ONEDNN_MAX_CPU_ISA", False)],
)
def test_it_needs_onednn_and_few_threads(monkeypatch, onednn, threads, variable, faster):
    for name, known in {"_is_avx512_bf16_supported": True, "_is_amx_tile_supported": False}.items():
        monkeypatch.setattr(torch.cpu, name, lambda known=known: known)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setenv(variable, "AVX2")
    cpu_attention._has_instructions.cache_clear()
    with torch.backends.mkldnn.flags(enabled=onednn):
        assert products_are_faster() is faster
    cpu_attention._has_instructions.cache_clear()
