import contextlib
from pathlib import Path

import detectron2
import pytest
import yaml
from detectron2.config import LazyConfig, instantiate
from omegaconf import OmegaConf

from annotated import without_files
from tokenseg.config.callables import DETECTION, OURS
from tokenseg.config.load import load_config

ROOT = Path(__file__).resolve().parents[2]
ZOO = Path(detectron2.__file__).parent / "model_zoo/configs/common"
DETECTION_CONFIGS = [
    *("coco_schedule", "optim", "data/coco", "data/coco_keypoint"),
    *("models/cascade_rcnn", "models/keypoint_rcnn_fpn", "models/mask_rcnn_c4", "models/mask_rcnn_fpn"),
    "models/retinanet",
]


def targets(node):
    """Collect all values of `_target_` in the plain values of a config."""
    if isinstance(node, dict):
        yield from [node["_target_"]] if "_target_" in node else []
        node = [*node.values()]
    if isinstance(node, list):
        for value in node:
            yield from targets(value)


def as_saved(config, path):
    """Convert a config to the plain values that a run saves, with calls given by name."""
    LazyConfig.save(config, str(path))
    return yaml.unsafe_load(path.read_text())


@pytest.mark.slow("every config, as a run saves it")
def test_a_yaml_may_call_what_the_configs_call(tmp_path):
    """The list has exactly the names that the configs call, and every config survives being saved and loaded."""
    paths = [path for path in (ROOT / "configs").rglob("*.py") if "common" not in path.parts]
    saved = {}
    for path in paths:
        with contextlib.suppress(ValueError):  # the file is only a part of configs
            saved[path] = as_saved(load_config(str(path), without_files(path)), tmp_path / f"{len(saved)}.yaml")
    by_override = {"tokenseg.evaluation.official_cityscapes.OfficialCityscapesEvaluator"}  # its package is optional
    found = {name for plain in saved.values() for name in targets(plain)}
    assert len(saved) > 70 and sorted(found | by_override) == OURS and not found & by_override
    for place, plain in enumerate(saved.values()):
        assert load_config(str(tmp_path / f"{place}.yaml")) == OmegaConf.create(plain, flags={"allow_objects": True})


def test_a_yaml_may_call_what_detectron2s_configs_call(tmp_path):
    found = set()
    for name in DETECTION_CONFIGS:
        plain = as_saved(LazyConfig.load(f"{ZOO / name}.py"), tmp_path / "config.yaml")
        found |= {*targets(plain)}
        whole = OmegaConf.create({"model": {}, "dataloader": {}, "train": {}} | plain, flags={"allow_objects": True})
        LazyConfig.save(whole, str(tmp_path / "config.yaml"))
        assert load_config(str(tmp_path / "config.yaml")) == whole
    # Only newer versions of Detectron2 come with a schedule for AdamW, which our own configs call, too.
    assert sorted(found - {"torch.optim.AdamW"}) == DETECTION and "torch.optim.AdamW" in OURS


@pytest.fixture
def saved(tmp_path):
    """A function that saves the quickstart's config with a change of its text, and returns the path."""

    def save(old="", new="", **changes):
        config = load_config(str(ROOT / "configs/quickstart.py"))
        config.update(changes)
        LazyConfig.save(config, str(tmp_path / "config.yaml"))
        text = (tmp_path / "config.yaml").read_text()
        assert old in text
        (tmp_path / "config.yaml").write_text(text.replace(old, new) if old else text)
        return str(tmp_path / "config.yaml")

    return save


def test_what_a_run_saves_is_read(saved):
    config = load_config(saved("stride: 64", "stride: !!python/tuple [64, 64]", note="${train.max_iter}"))
    assert list(config.model.inference.stride) == [64, 64] and config.note == config.train.max_iter


def test_the_spelling_of_other_versions_is_known(saved):
    path = saved("torch.optim.AdamW", "torch.optim.adamw.AdamW")
    assert load_config(path).optimizer._target_ == "torch.optim.adamw.AdamW"


CALL = "{_target_: os.mkdir, path: PLACE}"


@pytest.mark.parametrize(
    "line",
    [
        "x: !!python/object/apply:os.mkdir [PLACE]",
        "x: !!python/object/new:os.mkdir [PLACE]",
        "x: !!python/name:os.mkdir",
        "x: !!python/module:antigravity",
        f"x: {CALL}",
        f"x: [[{CALL}]]",
        f"x: !!python/tuple [{CALL}]",
        "x: {_target_: {_target_: os.mkdir, path: PLACE}}",
        "x: {_target_: [os.mkdir], path: PLACE}",
        "x: {_target_: torch.hub.load, repo_or_dir: a/b, model: c}",
        "x: {_target_: torch.load, f: PLACE, weights_only: false}",
        "x: {_target_: tokenseg.config.load.LazyConfig.load, filename: PLACE}",
        "x: {_target_: builtins.eval}",
        "x: {_target_: '${train.best_metric}'}",
        "x: {_target_: 'tokenseg.${dataset.train}'}",
        '''x: "${oc.create:'{_target_: os.mkdir, path: PLACE}'}"''',
        '''x: "${oc.decode:'{_target_: os.mkdir, path: PLACE}'}"''',
        '''x: "${${train.best_metric}:a}"''',
        '''x: "${oc.env:HOME}"''',
        '''x: "${train[${oc.env:HOME}]}"''',
        '''x: "${train[${${train.best_metric}:a}]}"''',
        """"${oc.env:HOME}": 3""",
        "other: {allow_pickle: true}\ntrain: ${other}",
    ],
)
def test_a_yaml_runs_no_code(saved, tmp_path, line):
    path = Path(saved())
    path.write_text(f"{path.read_text()}\n{line.replace('PLACE', str(tmp_path / 'made'))}\n")
    with pytest.raises(ValueError, match=r"config\.yaml' cannot be loaded: ") as told:
        load_config(str(path))
    assert "\n" not in str(told.value) and not (tmp_path / "made").exists()


def test_the_key_and_the_way_out_are_named(saved):
    path = saved("tokenseg.inference.policy.SlidingWindow", "my.own.Policy")
    with pytest.raises(ValueError, match=r"model\.inference would call my\.own\.Policy.*use --trust-config"):
        load_config(path)


def test_a_trusted_yaml_may_call_anything(saved, tmp_path):
    path = saved(extra={"_target_": "os.mkdir", "path": str(tmp_path / "made")})
    instantiate(load_config(path, trust_config=True).extra)
    assert (tmp_path / "made").is_dir()


def test_a_yaml_cannot_allow_pickles(saved, caplog):
    path = saved("allow_pickle: false", "allow_pickle: true")
    assert not load_config(path).train.allow_pickle
    assert "train.allow_pickle in" in caplog.text
    assert load_config(path, ["train.allow_pickle=true"]).train.allow_pickle
    assert load_config(path, trust_config=True).train.allow_pickle
