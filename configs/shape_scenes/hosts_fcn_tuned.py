"""The per-pixel baseline of the hosts: the FCN of hosts_fcn.py, which starts from its own weights like the hosts."""

from .hosts_fcn import dataloader, dataset, lr_multiplier, model, optimizer, pyramid, train

train.update(max_iter=600, eval_period=200, skip_mismatched=True)
train.update(
    init_checkpoint="./output/shape_scenes_hosts_fcn/model_final.pth",
    output_dir="./output/shape_scenes_hosts_fcn_tuned",
)
# The backbone, which is already trained, has a tenth of the learning rate. These rates were not tuned.
optimizer.lr = 1e-3
optimizer.params.lr_factors = {"backbone.trunk": 0.1}


def begin_wrapped(train, optimizer):
    """Make a model with SGR start from the same weights.

    SGR wraps the backbone, so the names of its weights differ; projects/tokenseg/hosts/MINIATURE.md shows how to write
    the file with these names.
    """
    train.init_checkpoint = "./output/shape_scenes_hosts_fcn/wrapped.pth"
    optimizer.params.lr_factors = {"backbone.backbone.trunk": 0.1}
