import logging

from tokenseg.engine.logs import OneLine


def test_a_stop_is_told_without_its_traceback(caplog):
    stops = logging.getLogger("test of stops")
    stops.addFilter(OneLine())
    try:
        raise ValueError("Caught in a worker.\nTraceback (most recent call last):\nValueError: the file is damaged\n")
    except ValueError:
        stops.exception("Exception during training:")
    assert "The training stopped: ValueError: ValueError: the file is damaged" in caplog.text
    assert "Traceback" not in caplog.text
