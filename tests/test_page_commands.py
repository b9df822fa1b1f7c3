"""The commands on the pages name what is there: scripts, flags, configs, settings, rows, targets. None of them runs."""

import re
import shlex
import textwrap

import pytest

from page_commands import PAGES, ROOT, check, check_overrides, commands, inline

# Scripts that a page gives, with their name in the first line.
WRITTEN = {name for page in PAGES for name in re.findall(r"^# (\w+\.py)$", page.read_text(), re.MULTILINE)}
SETTING = re.compile(r"(data|train|model|dataset|dataloader|optimizer|lr_multiplier|sgr)(\.\w+)*=.")
# Each kind of model: an override without a command is for one of them at least.
KINDS = ["quickstart", "shape_scenes/sgr_sgr", "shape_scenes/hosts_mask2former", "shape_scenes/segvit"]
KINDS += ["shape_scenes/structtoken_cse", "shape_scenes/ecenet", "shape_scenes/segvit_shrunk", "own_data"]
KINDS += ["shape_scenes/transfer_mask_rcnn_sgr", "mask_rcnn_sfp_vit_b_coco_800_270k"]


def wrong(found):
    """What is wrong with commands, a line each."""
    told = []
    for words in found:
        try:
            check(words, WRITTEN)
        except ValueError as error:
            told.append(f"{shlex.join(words)}: {error}")
    return told


def why_not(config, code):
    """Why overrides do not apply to a config; None if they do."""
    try:
        return check_overrides(config, shlex.split(code))
    except ValueError as error:
        return str(error)


@pytest.fixture(autouse=True)
def _in_the_checkout(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_can_begin(page):
    assert wrong(commands(page.read_text())) == []


@pytest.mark.slow("that overrides which stand alone on a page apply to a model of some kind")
def test_overrides_are_for_some_model():
    found = {code for page in PAGES for code in inline(page.read_text()) if SETTING.match(code.strip("'"))}
    assert len(found) > 50
    assert [code for code in sorted(found) if all(why_not(kind, code) for kind in KINDS)] == []


PAGE = """
    S=configs/shape_scenes
    python tools/compare.py --output out --config-file $S/sgr_{sgr,glore}.py --seeds 0 \\
        --vary optimizer.lr 1e-3 2e-3    # a remark
    for c in a b; do
        python train_net.py --config-file $S/hosts_$c.py
    done
"""


def test_a_shell_reads_the_commands():
    fenced = f"Text, and `make lint`.\n\n```\n{textwrap.dedent(PAGE)}```\n"
    both, first, second, inline_one = map(shlex.join, commands(fenced))
    names = "configs/shape_scenes/sgr_sgr.py configs/shape_scenes/sgr_glore.py"
    wanted = f"python tools/compare.py --output out --config-file {names} --seeds 0 --vary optimizer.lr 1e-3 2e-3"
    assert (both, inline_one) == (wanted, "make lint")
    assert [one.split("_")[-1] for one in (first, second)] == ["a.py", "b.py"]
    with pytest.raises(ValueError, match="unexpected EOF"):
        commands("`python tools/demo.py 'photo.jpg`")


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("python tools/demos.py --help", "there is no tools/demos.py"),
        ("python tools/report.py RUN --colour", "unrecognized arguments: --colour"),
        ("python train_net.py --config-file shape_scenes/sgr", "nor the name of a config of TokenSeg; nearest"),
        ("python train_net.py --config-file configs/quick.py", "there is no configs/quick.py"),
        ("torchrun --nproc-per-node 2 train_net.py --config-file C train.iterations=1", "no key 'train.iterations'"),
        ("tokenseg compare --config-file segvit_vit_b_ade20k_512_160k --output out --vary sgr.beta 1", "'sgr.beta'"),
        ("tokenseg show RUN", "no command show"),
        ("python tools/make_table.py configs/tables/evidence.yaml --rows nobody", "names a row 'nobody'"),
        ("python tools/analyze_model.py --paper segformer", "segformer"),
        ("make tests", "the Makefile has no tests"),
        ("make test PYTHONS=python", "the Makefile has no PYTHONS"),
        ("pip install -e '.[browser]'", "no extra browser"),
        ("python -m pytest tests/nowhere", "there is no tests/nowhere"),
    ],
)
def test_wrong_commands_are_found(command, told):
    with pytest.raises(ValueError, match=told):
        check(shlex.split(command), WRITTEN)
