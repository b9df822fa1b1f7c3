import pytest
import torch
from torch.nn import functional as F

from tokenseg.contracts import Targets
from tokenseg.losses.pixel import count_pixels, pixel_cross_entropy


@pytest.mark.parametrize("num_classes", [2, 15, 16, 21])  # with fewer than 16 a CPU reads planes
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_loss_and_gradient_are_those_of_the_mean_over_valid_pixels(num_classes, memory_format):
    torch.manual_seed(0)
    logits = torch.randn(2, num_classes, 3, 4, dtype=torch.double).contiguous(memory_format=memory_format)
    labels, weights = torch.randint(0, num_classes, (2, 6, 9)), torch.rand(num_classes, dtype=torch.double) + 0.5
    labels[0, :4] = 255
    for class_weights in (None, weights):
        mine, wanted = (logits.clone().requires_grad_() for _ in range(2))
        targets = Targets(labels=labels, class_weights=class_weights)
        targets = targets.with_counts(count_pixels(targets, ignore_value=255))
        loss = pixel_cross_entropy(mine, targets, ignore_value=255)
        resized = F.interpolate(wanted, size=(6, 9), mode="bilinear", align_corners=False)
        expected = F.cross_entropy(resized, labels, class_weights, ignore_index=255)
        torch.testing.assert_close(loss, expected)
        loss.backward()
        expected.backward()
        torch.testing.assert_close(mine.grad, wanted.grad)
