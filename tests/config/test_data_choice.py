import pytest
from detectron2.config import LazyConfig
from omegaconf import OmegaConf

from tokenseg.config.load import load_config

OWN = ["data=own", "dataset.classes=[a,b,c]", "dataset.images=photos"]


def test_own_data_under_sgr():
    before, cfg = (
        load_config("fcn_sgr_resnet_101_ade20k_512_160k"),
        load_config("fcn_sgr_resnet_101_ade20k_512_160k", OWN),
    )
    assert cfg.dataset.num_classes == cfg.model.sem_seg_head.num_classes == cfg.dataloader.train.mapper.num_classes == 3
    assert cfg.dataset.train.images == "photos" and cfg.dataloader.evaluator.sem_seg.dataset_name.split == "test"
    sizes = ("crop", "short_side", "long_side")
    assert [cfg.dataset[key] for key in sizes] == [before.dataset[key] for key in sizes]
    for part in ("model", "optimizer", "lr_multiplier", "train"):
        assert OmegaConf.to_container(cfg[part]) == OmegaConf.to_container(before[part])
    assert "components" in cfg.dataloader.train.mapper.label_targets


def test_own_data_stays_when_it_is_saved(tmp_path):
    LazyConfig.save(load_config("segvit_vit_b_ade20k_512_160k", OWN), str(tmp_path / "config.yaml"))
    cfg = load_config(str(tmp_path / "config.yaml"), ["dataset.classes=[a,b]"])
    assert cfg.model.sem_seg_head.num_classes == 2
    assert load_config(str(tmp_path / "config.yaml"), ["data=ade20k"]).dataset.num_classes == 150


def test_sizes_that_hang_on_the_replaced_data_are_kept():
    cfg = load_config("quickstart", ["data=own", "dataset.classes=[a,b]", "dataset.short_side=200"])
    assert cfg.dataset.crop == 96 and cfg.dataset.test_short_side == 200


def test_the_choice_comes_first_wherever_it_stands():
    cfg = load_config("segvit_vit_b_ade20k_512_160k", OWN[::-1])
    assert cfg.dataset.num_classes == 3


@pytest.mark.parametrize(
    ("config", "word", "told"),
    [
        ("segvit_vit_b_ade20k_512_160k", "data=owm", "did you mean own"),
        ("segvit_vit_b_ade20k_512_160k", "data=own_coco", "wanted data with label maps"),
        ("mask_rcnn_fpn_swin_t_coco_800_270k", "data=own", "wanted data with boxes"),
    ],
)
def test_wrong_choices_are_told(config, word, told):
    with pytest.raises(ValueError, match=told):
        load_config(config, [word])


def test_own_boxes_under_a_detector():
    cfg = load_config("mask_rcnn_fpn_swin_t_coco_800_270k", ["data=own_coco", "dataset.classes=[a,b]"])
    assert cfg.model.roi_heads.num_classes == 2 and "PartialCOCOEvaluator" in str(cfg.dataloader.evaluator._target_)
