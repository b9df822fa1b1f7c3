"""Facts of plain vision transformers for configs to refer to; PlainViT takes these and any other that timm has.

Crops are multiples of `patch_size`, token grids crop / patch. The pretrained weights expect pixels of mean and standard
deviation 127.5 (ViT, BEiT), ImageNet's (DINOv2, DINOv3, BEiT v2) or CLIP's (EVA-02).
"""


def _facts(model_name, *, channels, depth, patch_size=16):
    return dict(model_name=model_name, channels=channels, patch_size=patch_size, last_block=depth - 1)


# AugReg: ImageNet-21k, fine-tuned on ImageNet-1k at 384.
vit_t = _facts("vit_tiny_patch16_384.augreg_in21k_ft_in1k", channels=192, depth=12)
vit_s = _facts("vit_small_patch16_384.augreg_in21k_ft_in1k", channels=384, depth=12)
vit_b = _facts("vit_base_patch16_384.augreg_in21k_ft_in1k", channels=768, depth=12)
vit_l = _facts("vit_large_patch16_384.augreg_in21k_ft_in1k", channels=1024, depth=24)

# DINOv2 with four registers; crops such as 518.
dinov2_s = _facts("vit_small_patch14_reg4_dinov2.lvd142m", channels=384, depth=12, patch_size=14)
dinov2_b = _facts("vit_base_patch14_reg4_dinov2.lvd142m", channels=768, depth=12, patch_size=14)
dinov2_l = _facts("vit_large_patch14_reg4_dinov2.lvd142m", channels=1024, depth=24, patch_size=14)

dinov3_s = _facts("vit_small_patch16_dinov3.lvd1689m", channels=384, depth=12)
dinov3_b = _facts("vit_base_patch16_dinov3.lvd1689m", channels=768, depth=12)
dinov3_l = _facts("vit_large_patch16_dinov3.lvd1689m", channels=1024, depth=24)

eva02_t = _facts("eva02_tiny_patch14_336.mim_in22k_ft_in1k", channels=192, depth=12, patch_size=14)
eva02_s = _facts("eva02_small_patch14_336.mim_in22k_ft_in1k", channels=384, depth=12, patch_size=14)
eva02_b = _facts("eva02_base_patch14_448.mim_in22k_ft_in22k_in1k", channels=768, depth=12, patch_size=14)
eva02_l = _facts("eva02_large_patch14_448.mim_m38m_ft_in22k_in1k", channels=1024, depth=24, patch_size=14)

# BEiT takes squares of the training crop alone: infer in windows of that size.
beit_b = _facts("beit_base_patch16_384.in22k_ft_in22k_in1k", channels=768, depth=12)
beit_l = _facts("beit_large_patch16_512.in22k_ft_in22k_in1k", channels=1024, depth=24)
beitv2_l = _facts("beitv2_large_patch16_224.in1k_ft_in22k", channels=1024, depth=24)
