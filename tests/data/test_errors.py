import pytest
from torch.utils.data import DataLoader

from tokenseg.data import errors


class Failing:
    def __len__(self):
        return 1

    def __getitem__(self, index):
        raise errors.SizesDiffer("wanted equal sizes", label_size=(1, 2))


def test_kinds_survive_the_worker_processes():
    with pytest.raises(errors.SizesDiffer, match="wanted equal sizes"):
        next(iter(DataLoader(Failing(), num_workers=1)))
