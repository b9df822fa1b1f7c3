"""Facts of hierarchical backbones for configs to refer to; TimmPyramid takes these and any other of timm with four
stages at strides 4, 8, 16 and 32. All weights expect pixels of ImageNet's mean and standard deviation.

Swin and `window_padding` of TimmPyramid: no config here sets it, so that every Swin pads a map that its windows do not
divide before it shifts it.
- UperNet, Mask2Former, ECENet and SegViT were trained by their authors in code that pads first, and weights that are
  converted need it.
- ImageNet's weights below fit both orders, since at the size of their training the windows divide every map. At 512,
  640 or 1024 pixels they do not, and the orders give different maps.
- Weights that were trained here before there was a choice are in timm's order: they need
  `model.backbone.window_padding=after_shift` (with SGR or GloRe `model.backbone.backbone.window_padding=after_shift`).
"""


def _facts(model_name, *, channels):
    """`channels` of res2 to res5."""
    return dict(model_name=model_name, channels=channels)


# Window 7 at 224; window 12 at 384.
swin_t = _facts("swin_tiny_patch4_window7_224.ms_in1k", channels=[96, 192, 384, 768])
swin_s = _facts("swin_small_patch4_window7_224.ms_in1k", channels=[96, 192, 384, 768])
swin_b = _facts("swin_base_patch4_window12_384.ms_in22k", channels=[128, 256, 512, 1024])
swin_l = _facts("swin_large_patch4_window12_384.ms_in22k", channels=[192, 384, 768, 1536])

# resnet101d has the deep stem and averages before it strides. resnet101c has a deep stem of 64-64-128 channels; it is
# R101c in MaskFormer's tables and R-103 in Detectron2 if a config adds multi_grid=[1, 2, 4] to the backbone.
resnet50 = _facts("resnet50.tv_in1k", channels=[256, 512, 1024, 2048])
resnet101 = _facts("resnet101.tv_in1k", channels=[256, 512, 1024, 2048])
resnet101c = _facts("resnet101s.gluon_in1k", channels=[256, 512, 1024, 2048])
resnet101d = _facts("resnet101d.gluon_in1k", channels=[256, 512, 1024, 2048])

convnext_t = _facts("convnext_tiny.fb_in22k_ft_in1k_384", channels=[96, 192, 384, 768])
convnext_s = _facts("convnext_small.fb_in22k_ft_in1k_384", channels=[96, 192, 384, 768])
convnext_b = _facts("convnext_base.fb_in22k_ft_in1k_384", channels=[128, 256, 512, 1024])
convnext_l = _facts("convnext_large.fb_in22k_ft_in1k_384", channels=[192, 384, 768, 1536])
