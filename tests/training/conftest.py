import signal
from collections.abc import Iterator

import pytest
from training.run_fixtures import images, no_figures, one_thread

__all__ = ["images", "no_figures", "one_thread"]


@pytest.fixture
def ctrl_c_is_heard() -> Iterator[None]:
    """A shell starts what runs in its background with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
