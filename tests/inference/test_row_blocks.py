import pytest
import torch
from torch.nn import functional as F

from tokenseg.inference.policy import SlidingWindow
from tokenseg.inference.row_blocks import scores_by_blocks


class Edges:
    """A model whose scores depend on the position in the window, so that they differ where windows overlap."""

    def segment(self, images):
        kernel = torch.arange(54.0).view(2, 3, 3, 3).sin()
        return list(F.conv2d(torch.stack(images), kernel, padding=1))


@pytest.mark.parametrize("size", [(40, 57), (16, 16), (9, 50), (33, 11), (5, 6)])
@pytest.mark.parametrize("columns", [16, 23, 999])
def test_blocks_are_the_sliding_window(size, columns):
    image, policy = torch.randn(3, *size), SlidingWindow(window=(16, 12), stride=(11, 5), batch_size=3)
    (wanted,) = policy(Edges(), [image], [size])
    found, seen = torch.full_like(wanted, torch.nan), torch.zeros(size)
    largest = 0
    read = lambda rows, places: image[:, rows, places]  # noqa: E731
    for rows, places, scores in scores_by_blocks(Edges(), read, size, policy=policy, columns=columns):
        found[:, rows, places], largest = scores, max(largest, scores[0].numel())
        seen[rows, places] += 1
    assert seen.eq(1).all() and largest <= 16 * columns
    torch.testing.assert_close(found, wanted)


def test_no_more_is_read_than_a_row_of_windows():
    read = []

    def note(rows, places):
        read.append((rows.stop - rows.start) * (places.stop - places.start))
        return torch.zeros(3, rows.stop - rows.start, places.stop - places.start)

    policy = SlidingWindow(window=16, stride=16)
    assert sum(s[0].numel() for *_, s in scores_by_blocks(Edges(), note, (64, 64), policy=policy, columns=32)) == 64**2
    assert max(read) == 16 * 32 and sum(read) == 64**2
