from pathlib import Path

import pytest

import tokenseg
from tokenseg.config.load import load_config
from tokenseg.config.shipped import CONFIGS, config_path, table_file


def test_names_are_listed_by_pattern():
    names = tokenseg.list_models("segvit_shrunk_vit_?_ade20k*")
    assert names == ["segvit_shrunk_vit_b_ade20k_512_160k", "segvit_shrunk_vit_l_ade20k_640_160k"]
    everything = tokenseg.list_models()
    assert {"quickstart", "own_data", "shape_scenes/segvit"} <= set(everything)
    assert not {"model", "hosts", "segvit"} & set(everything)


def test_a_name_stands_for_its_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = CONFIGS / "segvit/segvit_vit_b_ade20k_512_160k.py"
    assert config_path("segvit_vit_b_ade20k_512_160k") == path
    assert load_config("segvit_vit_b_ade20k_512_160k") == load_config(str(path))


def test_an_unknown_name_says_what_is_near_it():
    with pytest.raises(
        ValueError, match=r"'segvit_vit_b_ade20k_512' is neither a file nor .* nearest: segvit_vit_b_ade"
    ):
        load_config("segvit_vit_b_ade20k_512")


def test_tables_have_names_too():
    assert table_file(Path("transfer")) == CONFIGS / "tables/transfer.yaml"
    assert table_file(Path("mine.yaml")) == Path("mine.yaml")
    with pytest.raises(ValueError, match=r"'transfre' is neither a file nor the name of a table .* nearest: transfer"):
        table_file(Path("transfre"))
