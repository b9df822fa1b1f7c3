"""How a training runs; what every key means."""

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
    # with an inference policy.
    tta=dict(enabled=False, scales=[0.5, 0.75, 1.0, 1.25, 1.5, 1.75], flip=True),
    # Whether backbone and head are compiled for training; proposals and regions of detectors are not.
    compile=False,
    # Arguments of DistributedDataParallel.
    ddp=dict(broadcast_buffers=False, find_unused_parameters=False, fp16_compression=False),
    # Iterations between checkpoints, and how many are kept beside the best and the final one.
    checkpointer=dict(period=5000, max_to_keep=3),
    # Iterations between evaluations, each after the checkpoint that is due with it; 0: only at the end. The metric,
    # <task>/<name>, that says which checkpoint is the best.
    eval_period=5000,
    best_metric="sem_seg/mIoU",
    # Iterations between lines of the log.
    log_period=20,
)
