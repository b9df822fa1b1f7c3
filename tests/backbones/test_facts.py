"""Comparison of the facts about backbones, to which configs refer, with timm."""

from pathlib import Path

import pytest
import timm
from detectron2.config import LazyConfig

from shapes import shapes_only
from tokenseg.backbones.timm_models import create

FOLDER = Path(__file__).resolve().parents[2] / "configs/common/backbones"
FACTS = {
    f"{file}:{name}": facts
    for file in ("vit", "pyramid")
    for name, facts in LazyConfig.load(str(FOLDER / f"{file}.py")).items()
}


@pytest.mark.parametrize("name", FACTS)
def test_facts(name):
    facts = FACTS[name]
    assert facts.model_name in timm.list_pretrained(f"{facts.model_name.split('.')[0]}.*")
    with shapes_only():
        info = create(facts.model_name).feature_info
    if name.startswith("vit"):
        assert (facts.channels, facts.patch_size) == (info[0]["num_chs"], info[0]["reduction"])
        assert facts.last_block == len(info) - 1
    else:
        assert facts.channels == [level["num_chs"] for level in info[-4:]]
