"""The settings of a training, with an explanation of every key."""

from detectron2.config import LazyCall as L

from tokenseg.alarms.hook import TokenAlarms

train = dict(
    # The folder of checkpoints, logs, config.yaml and environment.txt, relative to the current folder.
    output_dir="./output",
    # Whether a new training may overwrite the checkpoints of an earlier one in output_dir. It does so after its first
    # step, so that a training that fails immediately destroys nothing.
    overwrite=False,
    # The weights to start from or, with --eval-only, to evaluate. If empty, a training starts from the backbone's
    # pretrained weights, if it has any.
    init_checkpoint="",
    # The file of a backbone and its component, written by tools/export_backbone.py, to start from instead of pretrained
    # weights; empty for none. `accept_stride` is the output stride of the file if it may differ from the model's.
    # `drop_component` says whether to leave out the file's component, such as SGR.
    init_backbone=dict(file="", accept_stride=None, drop_component=False),
    # Whether to skip weights in init_checkpoint that have another shape, for instance because of another number of
    # classes.
    skip_mismatched=False,
    # Whether weights may be read from a pickle, which can run any code.
    allow_pickle=False,
    # The number of iterations, that is, of optimiser steps.
    max_iter=160_000,
    # The seed, 0 or more, of initial weights, dropout and the stream of training samples.
    seed=0,
    # The device: cpu, cuda, or auto for a GPU if torch finds one.
    device="auto",
    # Mixed precision, in training and evaluation: bfloat16 on CPU and GPU, or float16 on GPU.
    amp=dict(enabled=False, dtype="bfloat16"),
    # The number of parts into which each process divides its share of a batch, to save memory at the same batch size.
    accumulate=1,
    # The upper bound on the norm of all gradients together; None for no clipping.
    clip_grad_norm=None,
    # Evaluation at several scales, relative to the size of the test images, and with mirrored images if `flip`. The
    # model needs an inference policy. Every view is resized from the original image.
    tta=dict(enabled=False, scales=[0.5, 0.75, 1.0, 1.25, 1.5, 1.75], flip=True),
    # Whether to compile backbone and head for training. The proposals and regions of detectors are not compiled.
    compile=False,
    # The parts of the model to freeze, including the statistics of their batch norms: names of modules or parameters,
    # which may contain the wildcards * and ?, such as [backbone] or ['backbone.vit.blocks.[0-5]*'].
    freeze=[],
    # The decay of an exponential moving average of the weights, such as 0.9998; 0 for no average. The average is
    # evaluated, saved in addition to the weights, and used by everything that reads a checkpoint later.
    ema=dict(decay=0.0),
    # Whether to distribute weights, gradients and optimiser state over all processes, for a backbone that is too large
    # for one GPU (projects/LAUNCH.md). The format of checkpoints does not change.
    shard=False,
    # The arguments of DistributedDataParallel; not used if `shard` is set.
    ddp=dict(broadcast_buffers=False, find_unused_parameters=False, fp16_compression=False),
    # The iterations between checkpoints, and the number of checkpoints to keep in addition to the best and final ones.
    checkpointer=dict(period=5000, max_to_keep=3),
    # The iterations between evaluations, 0 for one evaluation at the end. A checkpoint that is due at the same
    # iteration is written first. `best_metric`, <task>/<name>, determines the best checkpoint.
    eval_period=5000,
    best_metric="sem_seg/mIoU",
    # The number of consecutive evaluations without improvement after which the training ends; 0 to never end early.
    patience=0,
    # The number of test images on which the loss is measured at every evaluation, as validation/total_loss; a multiple
    # of the batch size, or 0 for none. The images are always the same, and augmented like training images.
    validation_images=0,
    # The number of test images, and of worst classes, that are drawn for TensorBoard at every evaluation, with label,
    # prediction and errors; 0 for none.
    pictures=4,
    # The project in Weights & Biases that gets scalars, pictures, config and a table of classes; empty for none. It
    # needs an extra package: pip install 'tokenseg[wandb]'. By default the run is named after output_dir.
    wandb=dict(project="", name=""),
    # The iterations between lines of the log.
    log_period=20,
    # Alarms for collapsed tokens, which otherwise look like slow learning. Every `period` iterations (a multiple of
    # log_period, or 0 for never), the model runs in evaluation mode on the first `images` of its training stream. The
    # results are written to metrics.json as alarms/<part>/<measure>. If a measure is outside its limits in `patience`
    # consecutive measurements, there is one warning. The measures, which projects/tokenseg/alarms/measures.py defines,
    # are:
    # - of tokens: the shares of their variance that depend on the image (image), on the token or position (token), and
    #   on both (image_x_token); the mean cosine similarity within an image; and the share of tokens that are the same
    #   in all images (dead_tokens);
    # - of regions: their mass, and the share of regions with less than one cell in all images (dead_regions);
    # - of attention: its entropy, from 0 for a single position to 1 for uniform attention.
    alarms=L(TokenAlarms)(
        period=0,
        images=4,
        patience=3,
        log_period="${train.log_period}",
        limits=dict(
            image_x_token=[3e-5, None],
            cosine=[None, 0.9999],
            dead_tokens=[None, 0.5],
            dead_regions=[None, 0.5],
            entropy=[0.01, 0.99999],
        ),
    ),
)
