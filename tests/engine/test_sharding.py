"""A sharded training in two processes equals one without sharding up to rounding, and resumes bit for bit.

Each kind of training can continue from a checkpoint of the other kind.
"""

import functools
import shutil
from pathlib import Path

import pytest
import torch
from detectron2.utils import comm
from omegaconf import OmegaConf
from torch import nn
from torch.distributed.tensor import DTensor

from runs import at_call, in_two, left_behind
from test_processes import differences, gradients, samples, still
from tokenseg.backbones.plain_vit import PlainViT
from tokenseg.backbones.pyramid import TimmPyramid
from tokenseg.config.load import load_config
from tokenseg.contracts import ShardsInBlocks
from tokenseg.d2_compat import distribute, undistributed
from tokenseg.engine import loop
from tokenseg.engine.build import compile_parts
from tokenseg.engine.metrics_file import read_metrics
from tokenseg.engine.sharding import Replica, check_sharding, gathered, is_sharded, shard, spread_like
from tokenseg.engine.trainer import Trainer
from tokenseg.segvit.shrunk import NearestSampling, QueryDownsample
from toy_trainer import Toy, data

ROOT = Path(__file__).resolve().parents[2]
# All features of a training beside the plain step. A large eps keeps Adam from amplifying rounding errors.
RECIPE = [
    "dataset.crop=32",
    "model.inference={window: 32, stride: 32}",
    "vit={channels: 48, last_block: 3}",
    "model.backbone.timm_args={depth: 4, num_heads: 3}",
    "model.backbone.out_blocks=[1,3]",
    "decoder={width: 32, num_heads: 2}",
    "train={device: cpu, max_iter: 3, eval_period: 0, log_period: 1, accumulate: 2, clip_grad_norm: 0.01, pictures: 1}",
    "train={amp: {enabled: false}, ema: {decay: 0.75}, freeze: [backbone.vit.patch_embed], validation_images: 4}",
    "train={checkpointer: {period: 2}, alarms: {period: 3}}",
    "dataloader.train={total_batch_size: 4, num_workers: 0}",
    "dataloader.test.num_workers=0",
    "lr_multiplier.warmup_iter=0",
    "optimizer={eps: 0.01, params: {layer_decay: 0.8}}",
]
SHARD = "train.shard=true"
METHODS = ("structtoken_pwe", "segvit_shrunk", "segvit_swin", "ecenet_resnet", "mask2former", "mask_former_sgr")


@pytest.fixture
def config(toy_dataset, tmp_path):
    """A function from the name of a folder and overrides to a config of three iterations of a small SegViT."""

    def build(folder, *overrides):
        data = f"dataset={{train: {toy_dataset}, test: {toy_dataset}, num_classes: 3}}"
        (tmp_path / folder).mkdir(exist_ok=True)
        where = f"train.output_dir={tmp_path / folder}"
        return load_config(str(ROOT / "configs/shape_scenes/segvit.py"), [data, *RECIPE, where, *overrides])

    return build


def flat(node, name=""):
    """The tensors in a checkpoint, by their names joined with the names of the dicts that contain them."""
    if isinstance(node, torch.Tensor):
        return {name: node}
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return {key: value for part, inner in items for key, value in flat(inner, f"{name}/{part}").items()}


def assert_close(folder, other):
    """Compare weights, averages and optimiser states in the last checkpoints of two runs."""
    found, wanted = (flat(torch.load(each / "model_final.pth")) for each in (folder, other))
    assert found.keys() == wanted.keys() and all(type(value) is torch.Tensor for value in found.values())
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-6, msg=name)


def train_in_two(config):
    assert in_two(lambda: loop.train(config, resume=True)) == [0, 0]


@pytest.mark.slow("sharded training in two processes")
def test_a_sharded_run_equals_a_whole_one(config, tmp_path):
    train_in_two(config("whole"))
    train_in_two(config("sharded", SHARD))
    assert_close(tmp_path / "sharded", tmp_path / "whole")
    found, wanted = (read_metrics(tmp_path / name / "metrics.json")[-1] for name in ("sharded", "whole"))
    for name in ("sem_seg/mIoU", "validation/total_loss", "total_loss", "alarms/sem_seg_head/image_x_token"):
        assert found[name] == pytest.approx(wanted[name], rel=1e-3), name

    (tmp_path / "whole/last_checkpoint").write_text("model_0000001.pth")
    (tmp_path / "whole/model_final.pth").unlink()
    train_in_two(config("whole", SHARD))
    assert_close(tmp_path / "whole", tmp_path / "sharded")


@pytest.mark.slow("sharded training that is cut")
def test_a_sharded_run_that_is_resumed_equals_the_unbroken(config, tmp_path):
    def cut():
        at_call(Trainer, "run_step", 3)()
        loop.train(config("cut", SHARD), resume=False)

    train_in_two(config("unbroken", SHARD))
    assert 9 in in_two(cut)
    shutil.copytree(tmp_path / "cut", tmp_path / "whole")
    train_in_two(config("cut", SHARD))
    assert left_behind(tmp_path / "cut") == left_behind(tmp_path / "unbroken")
    loop.train(config("whole"), resume=True)  # in one process
    assert_close(tmp_path / "whole", tmp_path / "unbroken")
    results = loop.evaluate(config("cut", SHARD), resume=True)
    assert results["sem_seg"]["mIoU"] == read_metrics(tmp_path / "cut/metrics.json")[-1]["sem_seg/mIoU"]


def in_shards(names, prepare=lambda model: None):
    """Compute gradients of the small models in two processes, each of which runs half of the images in two parts."""
    rank, found = comm.get_rank(), {}
    for name in names:
        model = still(name)
        prepare(model)
        for parameter in model.parameters():
            parameter.data += rank
        shard(model, "cpu")
        images = samples()[2 * rank : 2 * rank + 2]
        counts = model.count(images)
        for image in images:
            sum(model([image], counts).values()).backward()
        found[name] = gathered({name: value.grad for name, value in model.named_parameters()}, keep=True)
    return found


@pytest.mark.slow("gradients of sharded models of every kind")
def test_gradients_of_shards_are_those_of_one_process(tmp_path):
    """All processes start from the first one's weights. A block whose layers another part calls is not a shard."""
    assert in_two(lambda: torch.save(in_shards(METHODS), tmp_path / f"{comm.get_rank()}")) == [0, 0]
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}")
        apart = {name: differences(found[name], gradients(still(name), samples(), 1)) for name in METHODS}
        assert {name: values for name, values in apart.items() if values} == {}


@pytest.mark.slow("gradients of sharded models that are compiled")
def test_compiled_shards_have_the_same_gradients(tmp_path):
    """The blocks are gathered and freed between graphs."""
    name, compiled = "segvit_shrunk", functools.partial(compile_parts, backend="eager")
    assert in_two(lambda: torch.save(in_shards([name], compiled), tmp_path / f"{comm.get_rank()}")) == [0, 0]
    assert differences(torch.load(tmp_path / "0")[name], gradients(still(name), samples(), 1)) == {}


def scaled(model, folder, scale):
    """Train in float16 from a given loss scale, and return the results of the main process."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.5)
    batches = data()[:3] if comm.is_main_process() else data()[3:]
    trainer = Trainer(
        model=model, data_loader=batches, optimizer=optimizer, amp_dtype=torch.float16, accumulate=2, clip_grad_norm=0.5
    )
    trainer.grad_scaler.load_state_dict(trainer.grad_scaler.state_dict() | {"scale": scale})
    trainer.train(0, 3)
    state = {"trainer": trainer.state_dict(), "model": undistributed(model).state_dict(), "skipped": trainer.skipped}
    if (whole := gathered(state, keep=comm.is_main_process())) and comm.is_main_process():
        torch.save(whole, folder)


@pytest.mark.slow("sharded training in float16")
def test_float16_scales_and_skips_in_all_shards(tmp_path):
    def work():
        for scale in (64.0, 2.0**127):
            for name, spread in (("whole", distribute), ("spread", lambda model: shard(model, "cpu") or model)):
                torch.manual_seed(0)
                scaled(spread(Toy()), tmp_path / f"{name}_{scale:.0f}", scale)

    assert in_two(work) == [0, 0]
    for scale, skipped in ((64.0, 0), (2.0**127, 3)):
        found, wanted = (torch.load(tmp_path / f"{name}_{scale:.0f}") for name in ("spread", "whole"))
        assert found["skipped"] == wanted["skipped"] == skipped
        assert found["trainer"]["grad_scaler"] == wanted["trainer"]["grad_scaler"]
        for name, value in flat(wanted).items():
            torch.testing.assert_close(flat(found)[name], value, rtol=1e-5, atol=1e-6, msg=name)


@pytest.mark.parametrize(
    ("processes", "ddp", "message"),
    [
        (1, {}, r"train\.shard is true for a single process; wanted several \(--num-gpus\)"),
        (
            2,
            {"fp16_compression": True, "broadcast_buffers": False},
            r"together with train\.ddp\.fp16_compression, which",
        ),
    ],
)
def test_what_cannot_be_sharded_is_refused(processes, ddp, message):
    settings = OmegaConf.create({"shard": True, "ddp": ddp})
    with pytest.raises(ValueError, match=message):
        check_sharding(settings, processes)
    settings.shard = False
    check_sharding(settings, processes)


def test_parameters_without_a_dimension_are_refused():
    model = nn.Linear(2, 2)
    model.scale = nn.Parameter(torch.tensor(1.0))
    with pytest.raises(ValueError, match="parameters without a dimension, such as scale; wanted"):
        shard(model, "cpu")


def test_a_replica_holds_weights_for_a_time():
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    replica, images = Replica(model), torch.randn(4, 2)
    other = {name: torch.randn_like(value) for name, value in model.named_parameters()}
    with replica.holding(model) as copied:
        torch.testing.assert_close(copied.eval()(images), model.eval()(images))
        assert copied[1].running_mean is model[1].running_mean
    with replica.holding(model, other) as changed:
        assert all(torch.equal(value, other[name]) for name, value in changed.named_parameters())
    assert {value.device.type for value in changed.parameters()} == {"meta"}


def test_blocks_are_all_but_one_that_is_called_by_its_layers():
    args = dict(model_name="vit_tiny_patch16_224", img_size=32, out_blocks=[2], pretrained=False)
    args["timm_args"] = {"embed_dim": 12, "depth": 3, "num_heads": 2}
    shrunk = PlainViT(**args, downsample=QueryDownsample(block=1, sample=NearestSampling()))
    assert shrunk.shardable_blocks() == [shrunk.vit.blocks[0], shrunk.vit.blocks[2]]
    assert PlainViT(**args).shardable_blocks() and isinstance(shrunk, ShardsInBlocks)
    resnet = TimmPyramid(model_name="resnet10t", pretrained=False, timm_args={"channels": (8, 8, 8, 8)})
    assert [type(block).__name__ for block in resnet.shardable_blocks()] == ["BasicBlock"] * 4


def test_states_without_shards_stay_as_they_are(one_process):
    state = nn.BatchNorm1d(2).state_dict()
    assert all(gathered(state, keep=False)[name] is value for name, value in state.items())
    assert gathered(state, keep=True)._metadata == state._metadata


def test_states_go_round(one_process):
    """With a single process, whose shards are whole tensors."""
    model, state = nn.Linear(3, 2), {"weight": torch.randn(2, 3), "bias": torch.randn(2), "step": torch.tensor(3.0)}
    shard(model, "cpu")
    assert is_sharded(model)
    spread = {name: spread_like(value, model.get_parameter("weight")) for name, value in state.items()}
    assert [name for name, value in spread.items() if isinstance(value, DTensor)] == ["weight"]
    back = gathered(spread, keep=True)
    assert all(torch.equal(back[name], value) for name, value in state.items())
