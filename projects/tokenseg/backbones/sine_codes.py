"""Fixed two-dimensional sine and cosine position codes for timm's plain vision transformers."""

import torch

from ..layers.patch_codes import sine_codes
from .timm_models import TimmModel

_KINDS = ("learnt", "sine")


def set_position_codes(vit: TimmModel, kind: str) -> None:
    """Keep the learnt position codes of a vision transformer, or replace them by fixed sines and cosines.

    Args:
        vit: The timm model. Fixed codes need a model with a position code for every patch and none for other tokens.
        kind: `learnt` or `sine`.

    Raises:
        ValueError: The kind is unknown, or the model does not have such codes.
    """
    if kind not in _KINDS:
        raise ValueError(f"position_codes is '{kind}'; wanted one of {', '.join(_KINDS)}")
    if kind == "learnt":
        return
    codes = getattr(vit, "pos_embed", None)
    grid = vit.patch_embed.grid_size
    if codes is None or codes.shape[1] != grid[0] * grid[1]:
        raise ValueError(
            f"position_codes is 'sine', but {type(vit).__name__} does not have one position code for each of its "
            f"{grid[0]}x{grid[1]} patches and no further ones; wanted a model with learnt codes, and "
            "timm_args.class_token=false"
        )
    with torch.no_grad():
        codes.copy_(sine_codes(grid, codes.shape[2])[None])
    codes.requires_grad_(False)
