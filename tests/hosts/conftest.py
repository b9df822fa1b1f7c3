"""The same heads of `transformers`, and our names for their weights."""

import re

import pytest


@pytest.fixture(scope="module")
def transformers():
    """Imported by the tests alone that compare with it, since that takes many seconds."""
    return pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def load_renamed():
    """Function that loads their weights into a head of ours by rules (pattern, replacement) of names; each is used."""

    def load(head, theirs, rules):
        renamed = {}
        for name, value in theirs.items():
            fitting = [(pattern, ours) for pattern, ours in rules if re.fullmatch(pattern, name)]
            assert fitting, f"no rule for {name}"
            pattern, ours = fitting[0]
            new = re.sub(pattern, ours, name)
            if "{qkv}" in new:
                for part, chunk in zip(("query", "key", "value"), value.chunk(3), strict=True):
                    renamed[new.replace("{qkv}", part)] = chunk
            else:
                renamed[new] = value
        head.load_state_dict(renamed)
        return head

    return load
