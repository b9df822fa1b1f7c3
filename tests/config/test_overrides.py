from pathlib import Path

import pytest
import torch
from detectron2.config import LazyConfig, instantiate
from omegaconf import OmegaConf

from tokenseg.config.load import load_config
from tokenseg.config.overrides import _nearest, apply_overrides

ROOT = Path(__file__).resolve().parents[2]
CONFIG = str(ROOT / "configs/quickstart.py")


def test_values_arrive_with_their_types():
    cfg = load_config(
        CONFIG, ["train.max_iter=7", "optimizer.lr=2e-3", "train.amp.enabled=true", "train.output_dir=a/b"]
    )
    assert (cfg.train.max_iter, cfg.optimizer.lr, cfg.train.amp.enabled) == (7, 2e-3, True)
    assert cfg.train.output_dir == "a/b"
    assert cfg.dataloader.evaluator.output_dir == "a/b/inference"


def test_whole_numbers_stay_whole():
    cfg = load_config(CONFIG, ["train.max_iter=1e3", "optimizer.lr=1"])
    assert cfg.train.max_iter == 1000 and isinstance(cfg.train.max_iter, int)
    assert cfg.optimizer.lr == 1


def test_mappings_are_merged():
    cfg = load_config(CONFIG, ["train.amp={enabled: true}", "model.backbone.timm_args={qkv_bias: false}"])
    assert cfg.train.amp == {"enabled": True, "dtype": "bfloat16"}
    assert cfg.model.backbone.timm_args.depth == 6 and not cfg.model.backbone.timm_args.qkv_bias


@pytest.mark.parametrize(
    ("override", "nearest"),
    [
        ("train.max_itr=3", "train.max_iter"),
        ("trian.max_iter=3", "train.max_iter"),
        ("optimizer.lrr=1", "optimizer.lr"),
        ("model.sem_seg_head.num_clases=3", "model.sem_seg_head.num_classes"),
        ("MODEL.WEIGHTS=x.pth", "train.init_checkpoint"),
        ("SOLVER.BASE_LR=0.1", "optimizer.lr"),
    ],
)
def test_mistyped_keys_name_the_nearest(override, nearest):
    with pytest.raises(ValueError, match=f"no key '{override.split('=')[0]}'; nearest: {nearest}"):
        load_config(CONFIG, [override])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.amp={enabld: true}", "no key 'train.amp.enabld'; nearest: train.amp.enabled"),
        ("train={amp: {enabled: true, dtyp: float16}}", "no key 'train.amp.dtyp'; nearest: train.amp.dtype"),
        ("dataset={crops: 64}", "no key 'dataset.crops'; nearest: dataset.crop"),
        ("model.inference={window: 64, strde: 3}", "no key 'model.inference.strde'; nearest: model.inference.stride"),
    ],
)
def test_mistyped_keys_inside_mappings(override, message):
    with pytest.raises(ValueError, match=message):
        load_config(CONFIG, [override])


def test_mappings_that_are_arguments_take_any_key():
    overrides = ["optimizer.params.lr_factors={backbone: 0.1}", "optimizer.params.lr_factors.sem_seg_head=2"]
    config = load_config(CONFIG, [*overrides, "model.inference={window: 64, batch_size: 3}"])
    assert config.optimizer.params.lr_factors == {"backbone": 0.1, "sem_seg_head": 2}
    assert config.model.inference.batch_size == 3


def test_an_empty_mapping_empties():
    config = load_config(CONFIG, ["optimizer.params.lr_factors={backbone: 0.1}", "optimizer.params.lr_factors={ }"])
    assert config.optimizer.params.lr_factors == {}
    with pytest.raises(ValueError, match=r"inference=\{\}' cannot be applied: it would also remove the call itself"):
        load_config(CONFIG, ["model.inference={}"])


def test_yacs_style_is_explained():
    with pytest.raises(ValueError, match=r"'MODEL.WEIGHTS' is not an override; .* is train.init_checkpoint="):
        load_config(CONFIG, ["MODEL.WEIGHTS", "x.pth"])
    with pytest.raises(ValueError, match="wanted key=value, such as"):
        load_config(CONFIG, ["train.max_iter"])


def test_arguments_left_at_their_default_are_keys():
    cfg = load_config(CONFIG, ["optimizer.eps=1e-6", "dataloader.test.batch_size=2"])
    assert cfg.optimizer.eps == 1e-6 and instantiate(cfg.dataloader.test.batch_size) == 2
    with pytest.raises(ValueError, match=r"no key 'train\.eps'"):  # no call, no arguments
        load_config(CONFIG, ["train.eps=1"])


def test_list_places():
    cfg = load_config(CONFIG, ["dataloader.train.mapper.augmentations.0.single_category_max_area=0.5"])
    assert cfg.dataloader.train.mapper.augmentations[0].single_category_max_area == 0.5
    with pytest.raises(ValueError, match=r"no key 'dataloader\.train\.mapper\.augmentations\.9'"):
        load_config(CONFIG, ["dataloader.train.mapper.augmentations.9=1"])
    with pytest.raises(ValueError, match=r"nearest: optimizer\.betas\.0"):
        load_config(CONFIG, ["optimizer.betas[0]=0.8"])


@pytest.mark.parametrize(
    ("override", "wanted"),
    [
        ("train.max_iter=many", "a number"),
        ("train.max_iter=true", "a number"),
        ("optimizer.lr=1e-3x", "a number"),
        ("train.amp.enabled=1", "true or false"),
        ("train.amp.enabled=yes", "true or false"),
        ("train.amp=true", "a mapping"),
        ("optimizer.betas=0.9", "a list"),
        ("dataloader.train.seed=x", "a number"),  # behind an interpolation
    ],
)
def test_wrong_types(override, wanted):
    with pytest.raises(ValueError, match=f"'{override}' gives .* wanted {wanted}"):
        load_config(CONFIG, [override])


def test_broken_grammar_is_told():
    with pytest.raises(ValueError, match="cannot be applied"):
        load_config(CONFIG, ["optimizer.betas=[0.9"])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("dataset.classes=a,b", r"wanted a list, such as '\[a,b\]' or @FILE"),
        ("dataset.classes=a", r"gives 'a' for a list; wanted a list"),
        ("dataset.train=coins", "gives 'coins' for a mapping; wanted a mapping"),
        ("dataset.classes=@{tmp_path}", "cannot be applied: .*Is a directory"),
        ("dataset.classes=@{tmp_path}/latin.txt", r"line 2 of .*latin\.txt is not UTF-8 text; wanted"),
        ("dataset.classes=@{tmp_path}/none.txt", "cannot be applied: .*No such file"),
    ],
)
def test_lists_and_mappings_that_are_none(tmp_path, override, message):
    (tmp_path / "latin.txt").write_bytes("the\ncaf\xe9".encode("latin-1"))
    with pytest.raises(ValueError, match=message) as told:
        load_config(str(ROOT / "configs/own_data.py"), [override.replace("{tmp_path}", str(tmp_path))])
    assert "\n" not in str(told.value)


def test_missing_file():
    with pytest.raises(ValueError, match=r"config file 'nonesuch\.py' does not exist"):
        load_config("nonesuch.py")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.py", "x = 1", "has no model and no dataloader and no train"),
        ("a.py", "train = dict()\nmodel = dict()", "has no dataloader;"),
        ("a.py", "def", r"cannot be loaded: .*syntax in line 1 of .*a\.py"),
        ("a.py", "x = 1\nx = [1", r"cannot be loaded: .* in line 2 of .*a\.py"),
        ("a.py", "x = 1\ny = z", r"cannot be loaded: NameError: name 'z' is not defined in line 2 of .*a\.py"),
        ("a.py", "x = '\xe9'".encode("latin-1"), r"cannot be loaded: .*byte 0xe9"),
        ("a.py", "import nonesuch", "cannot be loaded: .*No module named 'nonesuch'"),
        ("a.py", "from .other import train", "cannot be loaded: .*Cannot import name other"),
        ("a.yaml", "", "contains a NoneType; wanted a mapping"),
        ("a.yaml", "[1, 2]", "contains a list; wanted a mapping"),
        ("a.yaml", "[" * 9000, "cannot be loaded"),
        ("a.yaml", "model: [1", "cannot be loaded"),
        ("a.txt", "", r"an unknown type; wanted a name that ends in \.py or \.yaml"),
    ],
)
def test_files_that_are_no_config(tmp_path, name, text, message):
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=message) as told:
        load_config(str(tmp_path / name))
    assert "\n" not in str(told.value)


def test_a_folder_is_no_config(tmp_path):
    with pytest.raises(ValueError, match="is a folder; wanted a file"):
        load_config(str(tmp_path))


def test_saved_configs_load_again_and_give_the_same_model(tmp_path):
    cfg = load_config(str(ROOT / "configs/shape_scenes/baseline_color.py"), ["dataset.num_classes=4"])
    LazyConfig.save(cfg, str(tmp_path / "config.yaml"))
    again = load_config(str(tmp_path / "config.yaml"), ["train.max_iter=3"])
    assert OmegaConf.to_container(apply_overrides(again, [f"train.max_iter={cfg.train.max_iter}"])) == (
        OmegaConf.to_container(load_config(str(tmp_path / "config.yaml")))
    )
    models = []
    for config in (cfg, again):
        torch.manual_seed(0)
        models.append(instantiate(config.model).state_dict())
    assert models[0].keys() == models[1].keys() and all(torch.equal(v, models[1][k]) for k, v in models[0].items())


def test_keys_of_nearly_the_same_name_come_first():
    known = ["model.head.num_classes", "model.head.classes", "dataset.class_weights", "model.class_weights"]
    assert _nearest("model.head.class_weight", known)[:2] == ["model.class_weights", "dataset.class_weights"]
    assert _nearest("train.nothing_like_it", known) == []
