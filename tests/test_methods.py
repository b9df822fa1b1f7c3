"""What every method must do, tested once over all of them; and every config builds."""

from pathlib import Path

import pytest
import torch
from detectron2.config import LazyConfig, instantiate

from tokenseg.inference.policy import WholeImage
from tokenseg.overrides import load_config

ROOT = Path(__file__).resolve().parents[1]
# Every experiment; templates are in common/ or called model.py.
CONFIGS = sorted(
    path for path in (ROOT / "configs").rglob("*.py") if "common" not in path.parts and path.name != "model.py"
)

METHODS = {"structtoken_pwe": "configs/structtoken/structtoken_pwe_vit_t_ade20k_512_160k.py"}


def tiny_model(name):
    """A method's model from its config, made small: two blocks of 48 channels, crop 64, 5 classes."""
    cfg = load_config(
        str(ROOT / METHODS[name]),
        [
            "dataset.crop=64",
            "dataset.num_classes=5",
            "vit={model_name: vit_tiny_patch16_224, channels: 48, last_block: 1}",
            "model.backbone.timm_args={embed_dim: 48, depth: 2, num_heads: 3}",
            "model.inference.stride=43",
        ],
    )
    torch.manual_seed(0)
    return instantiate(cfg.model)


@pytest.fixture(params=METHODS)
def model(request):
    return tiny_model(request.param)


def batch(*labels, size=(64, 64)):
    """Training inputs with the label maps given: a number fills one, None draws one."""
    return [
        {
            "image": torch.randint(0, 256, (3, *size), dtype=torch.uint8),
            "sem_seg": torch.randint(0, 5, size) if label is None else torch.full(size, label),
        }
        for label in labels
    ]


@pytest.mark.parametrize("labels", [(None, None), (255, 255), (255, None), (2, 2)])
def test_every_parameter_gets_a_finite_gradient(model, labels):
    losses = model.train()(batch(*labels))
    total = sum(losses.values())
    assert torch.isfinite(total)
    total.backward()
    without = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert without == []
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())


def test_labels_that_are_all_ignored_cost_nothing(model):
    assert sum(model.train()(batch(255, 255)).values()).item() == 0


def test_loss_falls(model):
    samples, optimizer = batch(0, 1, 2, 3), torch.optim.AdamW(model.train().parameters(), lr=1e-3)
    values = []
    for _ in range(12):
        loss = sum(model(samples).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    assert values[-1] < 0.8 * values[0]


@pytest.mark.parametrize("size", [(64, 64), (1, 1), (17, 130), (100, 40)])
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
    assert (got.float() - wanted).abs().max() < 0.05 * wanted.abs().max() + 0.05


def test_activation_checkpointing_changes_nothing(model):
    samples = batch(None)
    gradients = []
    for enabled in (False, True):
        model.zero_grad()
        model.backbone.vit.set_grad_checkpointing(enabled)
        torch.manual_seed(0)
        sum(model.train()(samples).values()).backward()
        gradients.append(model.backbone.vit.patch_embed.proj.weight.grad.clone())
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_builds_and_survives_saving(path, tmp_path):
    cfg = load_config(str(path))
    with torch.device("meta"):
        model = instantiate(cfg.model)
    cfg.optimizer.params.model = model
    groups = instantiate(cfg.optimizer).param_groups
    assert sum(p.numel() for g in groups for p in g["params"]) == sum(p.numel() for p in model.parameters())
    instantiate(cfg.lr_multiplier)
    LazyConfig.save(load_config(str(path)), str(tmp_path / "config.yaml"))
    with torch.device("meta"):
        again = instantiate(load_config(str(tmp_path / "config.yaml")).model)
    shapes = [{name: value.shape for name, value in m.state_dict().items()} for m in (model, again)]
    assert shapes[0] == shapes[1]


# Millions of parameters as published (TCSVT, Tables I and V), and the tolerance for the released grouped convolution.
@pytest.mark.parametrize(
    ("name", "published", "tolerance"),
    [
        ("structtoken_pwe_vit_t_ade20k_512_160k", 12, 1.0),
        ("structtoken_pwe_vit_s_ade20k_512_160k", 38, 0.02 * 38),
        ("structtoken_pwe_vit_b_ade20k_512_160k", 132, 0.02 * 132),
        ("structtoken_pwe_vit_l_ade20k_640_160k", 379, 0.02 * 379),
    ],
)
def test_parameter_counts_of_the_paper(name, published, tolerance):
    cfg = load_config(str(ROOT / f"configs/structtoken/{name}.py"))
    with torch.device("meta"):
        model = instantiate(cfg.model)
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(published, abs=tolerance)
