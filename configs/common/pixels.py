"""The pixel mean and standard deviation that pretrained weights expect, per channel, in grey levels."""

IMAGENET = dict(pixel_mean=[123.675, 116.28, 103.53], pixel_std=[58.395, 57.12, 57.375])
HALF = dict(pixel_mean=[127.5, 127.5, 127.5], pixel_std=[127.5, 127.5, 127.5])
# For MSRA's ResNets in BGR order, from which the models of Detectron2's zoo start.
MSRA = dict(pixel_mean=IMAGENET["pixel_mean"][::-1], pixel_std=[1.0, 1.0, 1.0])
