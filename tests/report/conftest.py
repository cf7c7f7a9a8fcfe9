import pytest
from training.run_fixtures import images, no_figures, one_thread

__all__ = ["images", "no_figures", "one_thread"]


@pytest.fixture(scope="session", autouse=True)
def libraries(command_line: None) -> None:
    """Need, for every test here, what commands need."""
