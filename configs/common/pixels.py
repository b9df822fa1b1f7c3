"""Mean and standard deviation of the pixels that a model's pretrained weights expect, per channel, in grey levels."""

IMAGENET = dict(pixel_mean=[123.675, 116.28, 103.53], pixel_std=[58.395, 57.12, 57.375])
HALF = dict(pixel_mean=[127.5, 127.5, 127.5], pixel_std=[127.5, 127.5, 127.5])
# MSRA's ResNets in BGR order, as Detectron2's own model zoo begins from them.
MSRA = dict(pixel_mean=IMAGENET["pixel_mean"][::-1], pixel_std=[1.0, 1.0, 1.0])
