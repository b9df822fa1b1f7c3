"""Facts about hierarchical backbones, to which configs refer.

TimmPyramid supports these models and all others of timm with four stages at strides 4, 8, 16 and 32. All weights expect
pixels with ImageNet's mean and standard deviation.

About Swin and the argument `window_padding` of TimmPyramid: no config here sets it, so every Swin pads a map that its
windows do not divide before it shifts the map.
- The authors of UperNet, Mask2Former, ECENet and SegViT trained with code that pads first, and their converted weights
  need it.
- The ImageNet weights below fit both orders, since the windows divide every map at the size of their training. At 512,
  640 or 1024 pixels they do not, and the two orders give different maps.
- Weights that were trained with TokenSeg before it had this argument have timm's order. They need
  `model.backbone.window_padding=after_shift` (with SGR or GloRe `model.backbone.backbone.window_padding=after_shift`).
"""


def _facts(model_name, *, channels):
    """Collect the name of a model in timm and the numbers of channels of res2 to res5."""
    return dict(model_name=model_name, channels=channels)


# Swin-T and Swin-S have windows of 7 and were trained at 224 pixels; the others have windows of 12, and 384 pixels.
swin_t = _facts("swin_tiny_patch4_window7_224.ms_in1k", channels=[96, 192, 384, 768])
swin_s = _facts("swin_small_patch4_window7_224.ms_in1k", channels=[96, 192, 384, 768])
swin_b = _facts("swin_base_patch4_window12_384.ms_in22k", channels=[128, 256, 512, 1024])
swin_l = _facts("swin_large_patch4_window12_384.ms_in22k", channels=[192, 384, 768, 1536])

# resnet101d has a deep stem and average pooling in its strided shortcuts. resnet101c has a deep stem of 64-64-128
# channels; with multi_grid=[1, 2, 4] for the backbone, it is R101c of MaskFormer's tables and R-103 of Detectron2.
resnet50 = _facts("resnet50.tv_in1k", channels=[256, 512, 1024, 2048])
resnet101 = _facts("resnet101.tv_in1k", channels=[256, 512, 1024, 2048])
resnet101c = _facts("resnet101s.gluon_in1k", channels=[256, 512, 1024, 2048])
resnet101d = _facts("resnet101d.gluon_in1k", channels=[256, 512, 1024, 2048])

convnext_t = _facts("convnext_tiny.fb_in22k_ft_in1k_384", channels=[96, 192, 384, 768])
convnext_s = _facts("convnext_small.fb_in22k_ft_in1k_384", channels=[96, 192, 384, 768])
convnext_b = _facts("convnext_base.fb_in22k_ft_in1k_384", channels=[128, 256, 512, 1024])
convnext_l = _facts("convnext_large.fb_in22k_ft_in1k_384", channels=[192, 384, 768, 1536])
