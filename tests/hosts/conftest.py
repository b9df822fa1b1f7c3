import pytest


@pytest.fixture(scope="module")
def transformers():
    """The package transformers, which takes many seconds to import, and is only imported for tests that need it."""
    return pytest.importorskip("transformers")
