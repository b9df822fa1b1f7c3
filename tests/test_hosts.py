import torch

from tokenseg.hosts.per_pixel import PerPixelHead, PixelPositions, RawPixels, point_layers


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
    _, losses = head({"pixels": torch.zeros(1, 3, 2, 2)}, targets)
    torch.testing.assert_close(losses["loss_sem_seg"], torch.tensor(3.0).log())
