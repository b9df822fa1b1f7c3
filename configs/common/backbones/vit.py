"""Facts about plain vision transformers, to which configs refer; PlainViT supports these and all others of timm.

Crops must be multiples of `patch_size`. The pretrained weights expect pixels with mean and standard deviation 127.5
(ViT, BEiT), or with those of ImageNet (DINOv2, DINOv3, BEiT v2) or CLIP (EVA-02).
"""


def _facts(model_name, *, channels, depth, patch_size=16):
    return dict(model_name=model_name, channels=channels, patch_size=patch_size, last_block=depth - 1)


# AugReg weights, trained on ImageNet-21k and fine-tuned on ImageNet-1k at 384 pixels.
vit_t = _facts("vit_tiny_patch16_384.augreg_in21k_ft_in1k", channels=192, depth=12)
vit_s = _facts("vit_small_patch16_384.augreg_in21k_ft_in1k", channels=384, depth=12)
vit_b = _facts("vit_base_patch16_384.augreg_in21k_ft_in1k", channels=768, depth=12)
vit_l = _facts("vit_large_patch16_384.augreg_in21k_ft_in1k", channels=1024, depth=24)

# DINOv2 with four registers. The patch size of 14 needs crops such as 518.
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

# BEiT only accepts squares of the size of the training crop, so use a sliding window of this size in inference.
beit_b = _facts("beit_base_patch16_384.in22k_ft_in22k_in1k", channels=768, depth=12)
beit_l = _facts("beit_large_patch16_512.in22k_ft_in22k_in1k", channels=1024, depth=24)
beitv2_l = _facts("beitv2_large_patch16_224.in1k_ft_in22k", channels=1024, depth=24)
