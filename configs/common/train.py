"""How a training runs; what every key means."""

from detectron2.config import LazyCall as L

from tokenseg.alarms.hook import TokenAlarms

train = dict(
    # Folder of checkpoints, logs, config.yaml and environment.txt; relative to where the command runs.
    output_dir="./output",
    # Whether a fresh training may overwrite the checkpoints of an earlier one in output_dir; it does so after its first
    # step, if nothing has gone wrong.
    overwrite=False,
    # Weights to start from or, with --eval-only, to evaluate; empty: the backbone's pretrained ones, if it has any.
    init_checkpoint="",
    # A backbone that tools/export_backbone.py has written, with its component, to start from instead of pretrained
    # weights; empty: none. accept_stride: the output stride of the file, if the model may have another one.
    # drop_component: whether the file's component, such as SGR, is left out.
    init_backbone=dict(file="", accept_stride=None, drop_component=False),
    # Whether weights of another shape in init_checkpoint, such as those of another class count, are left out.
    skip_mismatched=False,
    # Whether weights may be read from a pickle, which can run any code.
    allow_pickle=False,
    max_iter=160_000,
    # Of weights, dropout and the stream of training samples; 0 or more.
    seed=0,
    # auto takes a GPU where torch finds one.
    device="auto",
    # Mixed precision: bfloat16 on CPU and GPU, float16 on GPU. Evaluation runs in it too.
    amp=dict(enabled=False, dtype="bfloat16"),
    # Parts in which each process runs its share of a batch: less memory, the same batch size.
    accumulate=1,
    # Bound on the norm of all gradients together; None is off.
    clip_grad_norm=None,
    # Evaluation over several scales, relative to the test images' size, with their mirror images if `flip`; for models
    # with an inference policy. Every view is resized from the original image.
    tta=dict(enabled=False, scales=[0.5, 0.75, 1.0, 1.25, 1.5, 1.75], flip=True),
    # Whether backbone and head are compiled for training; proposals and regions of detectors are not.
    compile=False,
    # Parts of the model that are left as they are, with the statistics of their batch norms: names of modules or
    # parameters, with the wildcards * and ?, such as [backbone] or ['backbone.vit.blocks.[0-5]*'].
    freeze=[],
    # Share that a moving average of the weights keeps at a step, such as 0.9998; it is evaluated, saved beside the
    # weights, and used by whatever reads a checkpoint afterwards. 0: no average.
    ema=dict(decay=0.0),
    # Whether weights, gradients and states of the optimiser are spread over all processes, for a backbone that is too
    # large to be trained on one card (projects/LAUNCH.md). Checkpoints are the same files.
    shard=False,
    # Arguments of DistributedDataParallel; of no use to a run that is sharded.
    ddp=dict(broadcast_buffers=False, find_unused_parameters=False, fp16_compression=False),
    # Iterations between checkpoints, and how many are kept beside the best and the final one.
    checkpointer=dict(period=5000, max_to_keep=3),
    # Iterations between evaluations, each after the checkpoint that is due with it; 0: only at the end. The metric,
    # <task>/<name>, that says which checkpoint is the best.
    eval_period=5000,
    best_metric="sem_seg/mIoU",
    # Evaluations in a row without a better one after which the training ends; 0: it goes on to max_iter.
    patience=0,
    # Images of the test set whose loss is measured at every evaluation, as validation/total_loss: always the same ones,
    # cropped and changed as training images are. A multiple of the batch size; 0: none.
    validation_images=0,
    # Images of the test set, and worst classes, that are drawn for TensorBoard at every evaluation, with label,
    # prediction and errors; 0: none.
    pictures=4,
    # Project in Weights & Biases that gets scalars, pictures, config and a table of the classes; empty: none. The
    # package wandb is an extra: pip install 'tokenseg[wandb]'. The name of the run is by default that of output_dir.
    wandb=dict(project="", name=""),
    # Iterations between lines of the log.
    log_period=20,
    # Alarms for tokens that collapse, which looks like slow learning: every `period` iterations (0: never; a multiple
    # of log_period) the model runs in eval mode on the first `images` of its training stream, and what it measures goes
    # to metrics.json as alarms/<part>/<measure>. What lies beyond its limits in `patience` measurements in a row is
    # warned about, once. Of tokens: the shares of their variance that are image, token (or position) and image_x_token;
    # the mean cosine between those of an image; the share of dead_tokens, alike in all images. Of regions: their mass,
    # and the share of dead_regions, which hold less than one cell in all the images. Of attention: its entropy, 0 for
    # one position and 1 for all alike. The measures stand in projects/tokenseg/alarms/measures.py.
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
