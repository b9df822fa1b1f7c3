"""A model and batches of a few numbers, with which the steps of a trainer can be computed by hand."""

import torch
from torch import nn


class Toy(nn.Module):
    """A linear layer with two mean losses; `seen` records its outputs."""

    def __init__(self, dropout=0.0):
        super().__init__()
        self.layer, self.dropout, self.seen = nn.Linear(3, 1), nn.Dropout(dropout), []

    def forward(self, batch):
        """Return losses that are averaged over the images of the call, like those of Detectron2's models."""
        outputs = self.dropout(self.layer(torch.stack([record["x"] for record in batch])))[:, 0]
        self.seen.append(outputs.detach())
        targets = torch.tensor([record["y"] for record in batch])
        return {"loss_square": (outputs - targets).square().mean(), "loss_size": outputs.abs().mean()}


def data(batches=6, size=4):
    generator = torch.Generator().manual_seed(1)
    return [
        [
            {"x": torch.randn(3, generator=generator), "y": float(k), "file_name": f"{place}_{k}.png"}
            for k in range(size)
        ]
        for place in range(batches)
    ]
