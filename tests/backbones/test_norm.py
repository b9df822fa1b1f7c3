import pytest
import timm
import torch
from torch import nn

from tokenseg.backbones.norm import convert_batch_norm


def toy_resnet():
    model = timm.create_model("resnet18", layers=(1, 1, 1, 1))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.normal_(module.running_mean)
    return model


@pytest.mark.parametrize("kind", ["BN", "SyncBN", "FrozenBN"])
def test_weights_and_outputs_stay(kind):
    model, images = toy_resnet().eval(), torch.randn(2, 3, 32, 32)
    state = {name: value.clone() for name, value in model.state_dict().items() if "num_batches" not in name}
    wanted = model(images)
    model = convert_batch_norm(model, kind).eval()
    torch.testing.assert_close(model(images), wanted, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close({name: model.state_dict()[name] for name in state}, state)


def test_frozen_statistics_do_not_move():
    model = convert_batch_norm(toy_resnet(), "FrozenBN").train()
    before = model.bn1.running_mean.clone()
    model(torch.randn(2, 3, 32, 32)).sum().backward()
    torch.testing.assert_close(model.bn1.running_mean, before)
    assert not list(model.bn1.parameters())


def test_frozen_norms_keep_the_type_of_mixed_precision():
    model = convert_batch_norm(toy_resnet(), "FrozenBN").eval()
    maps, images = [], torch.randn(2, 3, 32, 32)
    wanted = model(images)
    for norm in (model.bn1, model.layer1[0].bn2):
        norm.register_forward_hook(lambda *call: maps.append(call[-1].dtype))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = model(images)
    assert maps == [torch.bfloat16] * 2
    torch.testing.assert_close(found.float(), wanted, rtol=0, atol=0.1 * wanted.abs().max().item())


def test_synchronised_norms_train_in_mixed_precision():
    model = convert_batch_norm(toy_resnet(), "SyncBN").train()
    assert not any(type(module) is nn.BatchNorm2d for module in model.modules())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        model(torch.randn(2, 3, 32, 32)).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_unknown_kind():
    with pytest.raises(ValueError, match="norm is 'bn'; wanted one of BN, SyncBN, FrozenBN"):
        convert_batch_norm(toy_resnet(), "bn")
