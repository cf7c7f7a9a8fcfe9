"""Hypothesis profiles, and a watch over global state."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings
from leaks import no_leaks
from required import command_line as needs_command_line

# No deadlines: the first call of a kernel may compile it.
settings.register_profile("dev", max_examples=50, deadline=None)
settings.register_profile(
    "ci", max_examples=50, deadline=None, derandomize=True, database=None
)
settings.register_profile(
    "deep",
    max_examples=500,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))


@pytest.fixture(autouse=True)
def leaves_no_global_state() -> Iterator[None]:
    """Fail a test that leaks an override, a mode, or a number of threads."""
    with no_leaks():
        yield


@pytest.fixture(scope="session")
def command_line() -> None:
    """Skip what runs commands where their libraries are missing; see `required`."""
    needs_command_line()
