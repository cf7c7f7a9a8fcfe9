from pathlib import Path

import pytest
from cli.command_line import splits, succeeds
from cli.small_runs import folder, labelled
from training.run_examples import train_words
from training.run_fixtures import no_figures, one_thread

__all__ = ["folder", "labelled", "no_figures", "one_thread"]


@pytest.fixture(scope="session", autouse=True)
def libraries(command_line: None) -> None:
    """Need, for every test here, what commands need."""


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write grey images, large enough for SSIM."""
    return splits(tmp_path_factory.mktemp("data") / "images.npz")


@pytest.fixture(scope="session")
def trained(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train a run that no test may change."""
    run = tmp_path_factory.mktemp("runs") / "trained"
    succeeds(*train_words(run, images))
    return run


@pytest.fixture(scope="session")
def dense(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train a run of the dense model that no test may change."""
    run = tmp_path_factory.mktemp("runs") / "dense"
    succeeds(*train_words(run, images, model="dense"))
    return run
