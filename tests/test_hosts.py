import pytest
import torch

from tokenseg.backbones.trivial import PixelPositions, RawPixels
from tokenseg.contracts import Targets
from tokenseg.hosts.auxiliary import AuxiliaryHead
from tokenseg.hosts.deeplab_v3 import deeplab_v3_layers
from tokenseg.hosts.fcn import FCNHead
from tokenseg.hosts.per_pixel import PerPixelHead, bottleneck_layers, point_layers


def test_positions_see_no_pixels_and_tell_places_apart():
    positions = PixelPositions(num_frequencies=3)
    codes = positions(torch.randn(2, 3, 5, 7))["positions"]
    assert codes.shape == (2, 12, 5, 7) == (2, positions.output_shape()["positions"].channels, 5, 7)
    torch.testing.assert_close(codes, positions(torch.randn(2, 3, 5, 7))["positions"])
    assert len(codes[0].flatten(1).T.unique(dim=0)) == 35
    # the first code is sin(pi * y), which rises and falls once from top to bottom
    torch.testing.assert_close(codes[0, 0, :, 3], torch.sin(torch.pi * torch.linspace(0, 1, 5)))


def test_a_pixel_head_classifies_each_pixel_alone():
    head = PerPixelHead(in_feature="pixels", layers=point_layers(channels=[3, 8, 4])).eval()
    images = torch.randn(1, 3, 4, 6)
    logits, losses = head(RawPixels()(images))
    shuffled, _ = head(RawPixels()(images.flip(-1)))
    assert logits.shape == (1, 4, 4, 6) and losses == {}
    torch.testing.assert_close(shuffled.flip(-1), logits)
    assert isinstance(head.layers[-1], torch.nn.Conv2d)


def test_its_loss_skips_ignored_pixels():
    head = PerPixelHead(in_feature="pixels", layers=torch.nn.Identity()).train()
    targets = torch.tensor([[[0, 255], [1, 255]]])
    _, losses = head({"pixels": torch.zeros(1, 3, 2, 2)}, Targets.alone(head, targets))
    torch.testing.assert_close(losses["loss_sem_seg"], torch.tensor(3.0).log())


def test_a_fully_convolutional_head_joins_maps_at_the_size_of_the_first():
    head = FCNHead(in_features=["a", "b"], channels=[4, 6], num_classes=3, width=5, norm="BN").eval()
    features = {"a": torch.randn(2, 4, 7, 9), "b": torch.randn(2, 6, 4, 5), "c": torch.zeros(2, 1, 1, 1)}
    logits, losses = head(features)
    joined = torch.cat([features["a"], torch.nn.functional.interpolate(features["b"], size=(7, 9), mode="bilinear")], 1)
    wanted = head.classify(head.joint(torch.cat([joined, head.convs(joined)], 1)))
    torch.testing.assert_close(logits, wanted)
    assert logits.shape == (2, 3, 7, 9) and losses == {}
    assert [convolution[0].in_channels for convolution in (*head.convs, head.joint)] == [10, 5, 15]


def test_a_fully_convolutional_head_as_an_auxiliary_one():
    head = FCNHead(in_features=["a"], channels=[4], num_classes=3, width=5, num_convs=1, concat_input=False, norm="BN")
    _, losses = head.train()({"a": torch.randn(2, 4, 3, 3)}, Targets.alone(head, torch.randint(0, 3, (2, 12, 12))))
    losses["loss_sem_seg"].backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in head.parameters())


def test_a_fully_convolutional_head_wants_maps_and_convolutions():
    with pytest.raises(ValueError, match="one or more, as many of both"):
        FCNHead(in_features=["a"], channels=[4, 6], num_classes=3)
    with pytest.raises(ValueError, match="num_convs is 0"):
        FCNHead(in_features=["a"], channels=[4], num_classes=3, num_convs=0)


def test_bottleneck_layers():
    layers = bottleneck_layers(channels=6, width=4, num_classes=3, norm="FrozenBN").eval()
    x = torch.randn(2, 6, 5, 7)
    wanted = layers[3](torch.relu(layers[1](layers[0](x))))
    torch.testing.assert_close(layers(x), wanted)
    assert wanted.shape == (2, 3, 5, 7) and not list(layers[1].parameters())


def test_deeplab_v3_sees_as_far_as_its_dilations():
    layers = deeplab_v3_layers(channels=4, num_classes=3, width=6, dilations=(2, 3, 5), norm="BN").eval()
    x = torch.randn(1, 4, 17, 19, requires_grad=True)
    logits = layers(x)
    assert logits.shape == (1, 3, 17, 19)
    layers.pyramid.convs[-1] = torch.nn.Conv2d(4, 6, 1)  # in the place of the mean over the image, which sees it all
    layers(x)[0, 0, 8, 9].backward()
    rows, columns = x.grad[0].abs().sum(0).nonzero(as_tuple=True)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (3, 13, 4, 14)
    with pytest.raises(ValueError, match="wanted three"):
        deeplab_v3_layers(channels=4, num_classes=3, dilations=(2, 3))


def test_an_auxiliary_head_weighs_and_renames():
    head = PerPixelHead(in_feature="pixels", layers=torch.nn.Identity()).train()
    features, targets = {"pixels": torch.zeros(1, 3, 2, 2)}, torch.zeros(1, 2, 2, dtype=torch.long)
    auxiliary = AuxiliaryHead(head=head, weight=0.4)
    losses = auxiliary(features, Targets.alone(auxiliary, targets))
    torch.testing.assert_close(losses, {"loss_aux_sem_seg": 0.4 * torch.tensor(3.0).log()})
