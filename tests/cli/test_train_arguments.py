import argparse

import pytest
from detectron2.engine import default_argument_parser

from tokenseg_cli.arguments.train import add_flags
from tokenseg_cli.run import parse


def train(*words):
    return parse("tokenseg_cli.arguments.train", ["train_net.py", *words])


def facts(parser):
    """Return the facts about a parser's arguments that matter to a caller, that is, without help texts and metavars."""
    parts = ("option_strings", "nargs", "const", "default", "type", "choices", "required")
    return {action.dest: [type(action), *(getattr(action, part) for part in parts)] for action in parser._actions}


def test_flags_are_those_of_detectron2():
    ours, theirs = argparse.ArgumentParser(), default_argument_parser()
    add_flags(ours)
    theirs.set_defaults(dist_url="auto")
    assert facts(ours) == facts(theirs)
    words = ["--config-file", "c", "--num-gpus", "2", "--resume", "a=1", "--b"]
    assert vars(ours.parse_args(words)) == vars(theirs.parse_args(words))


def test_flags_after_overrides_count(capsys):
    args = train("--config-file", "c.py", "a=1", "--eval-only", "b=2", "--num-gpus", "3", "d=4")
    assert (args.opts, args.eval_only, args.num_gpus) == (["a=1", "b=2", "d=4"], True, 3)
    for words, message in (
        (["--config-file", "c.py", "a=1", "--evalonly"], "unrecognized arguments: --evalonly"),
        (["a=1"], "--config-file is missing"),
    ):
        with pytest.raises(SystemExit) as stop:
            train(*words)
        assert stop.value.code == 2 and message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--num-gpus", "0"], "--num-gpus is 0; wanted 1 or more processes"),
        (["--num-machines", "2"], "wanted --dist-url tcp://HOST:PORT"),
        (["--machine-rank", "1"], "--machine-rank is 1; wanted 0 to 0"),
    ],
)
def test_processes_that_cannot_be(words, message):
    with pytest.raises(ValueError, match=message):
        train("--config-file", "c.py", "a=1", *words)
