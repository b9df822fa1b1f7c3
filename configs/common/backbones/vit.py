"""Facts of plain vision transformers for configs to refer to: patch 16, AugReg weights (ImageNet-21k, fine-tuned on
ImageNet-1k at 384)."""


def _facts(size, *, channels, depth):
    return dict(
        model_name=f"vit_{size}_patch16_384.augreg_in21k_ft_in1k",
        channels=channels,
        patch_size=16,
        last_block=depth - 1,
    )


vit_t = _facts("tiny", channels=192, depth=12)
vit_s = _facts("small", channels=384, depth=12)
vit_b = _facts("base", channels=768, depth=12)
vit_l = _facts("large", channels=1024, depth=24)
