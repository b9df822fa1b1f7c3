"""The per-pixel counterpart of the hosts: the FCN of hosts_fcn.py, which goes on from its own weights as they do."""

from .hosts_fcn import dataloader, dataset, lr_multiplier, model, optimizer, pyramid, train

train.update(max_iter=600, eval_period=200, skip_mismatched=True)
train.update(
    init_checkpoint="./output/shape_scenes_hosts_fcn/model_final.pth",
    output_dir="./output/shape_scenes_hosts_fcn_tuned",
)
# untuned: the backbone, which is trained already, learns at a tenth of the rate
optimizer.lr = 1e-3
optimizer.params.lr_factors = {"backbone.trunk": 0.1}


def begin_wrapped(train, optimizer):
    """The same start for a backbone that lies inside another, which adds SGR; hosts/MINIATURE.md makes the file."""
    train.init_checkpoint = "./output/shape_scenes_hosts_fcn/wrapped.pth"
    optimizer.params.lr_factors = {"backbone.backbone.trunk": 0.1}
