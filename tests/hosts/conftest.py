import pytest


@pytest.fixture(scope="module")
def transformers():
    """Imported by the tests alone that compare with it, since that takes many seconds."""
    return pytest.importorskip("transformers")
