import collections
import operator
from dataclasses import dataclass

import detectron2.config
import pytest
import timm.optim
import torch
from detectron2.config import LazyCall as L
from omegaconf import DictConfig, ListConfig

from tokenseg.config.instantiate import UnfitSetting, instantiate


def positive(*, size):
    if size < 1:
        raise ValueError(f"size is {size};\nwanted 1 or more")
    return size


def gathered(**parts):
    return parts


def config(**keys):
    return DictConfig(keys, flags={"allow_objects": True})


def test_it_builds_what_detectron2_builds():
    node = L(gathered)(
        a=L(positive)(size="${side}"),
        b=[L(collections.Counter)(x=3), 4],
        c={"plain": {"d": 1}},
        e=L(gathered)(f="${side}"),
    )
    root = config(side=5, node=node)
    built, wanted = instantiate(root.node), detectron2.config.instantiate(root.node)
    assert built == wanted and built["a"] == 5 and built["e"] == {"f": 5}
    assert [type(wanted[key]) for key in "abc"] == [int, ListConfig, DictConfig]
    assert [type(built[key]) for key in "abc"] == [int, list, DictConfig]
    assert instantiate("text") == "text" and instantiate([L(positive)(size=2)]) == [2]


@dataclass
class Shape:
    channels: int = 1


def test_objects_come_back_as_they_were_given():
    node = config(shape=Shape(3), shapes=[Shape(4)], part=L(gathered)(shape=Shape(5)))
    assert instantiate(node.shape) == Shape(3) and instantiate(node.shapes) == [Shape(4)]
    assert instantiate(node.part) == detectron2.config.instantiate(node.part) == {"shape": Shape(5)}


def test_the_state_of_an_optimiser_is_plain(tmp_path):
    node = L(timm.optim.Lion)(params=L(torch.nn.Linear(1, 1).parameters)(), lr=1.0, betas=[0.9, 0.99])
    path = tmp_path / "optimizer.pth"
    torch.save(instantiate(node).state_dict(), path)
    assert tuple(torch.load(path, weights_only=True)["param_groups"][0]["betas"]) == (0.9, 0.99)


@pytest.mark.parametrize(
    ("node", "told"),
    [
        (L(gathered)(b=[3, L(positive)(size=0)]), r"^model\.b\.1: size is 0; wanted 1 or more$"),
        (
            L(gathered)(b=L(positive)(size="${side}")),
            r"^model\.b: size is -3; wanted 1 or more \(size comes from side\)$",
        ),
        (L(positive)(size=None), r"^model: TypeError: '<' not supported"),
        (L(positive)(sise=1), r"^model: TypeError: .*unexpected keyword argument 'sise'"),
        (L(operator.truediv)(), r"^model: TypeError: "),
        ({"_target_": "no.such.thing"}, r"^model calls no\.such\.thing, which "),
        ({"_target_": "math.pi"}, r"^model calls .*, which is not callable"),
    ],
)
def test_errors_name_the_key(node, told):
    with pytest.raises(UnfitSetting, match=told) as error:
        instantiate(config(side=-3, model=node).model)
    assert "\n" not in str(error.value)
