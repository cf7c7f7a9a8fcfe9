"""Fixtures of small runs."""

from collections.abc import Iterator
from pathlib import Path

import numba
import pytest
from training.run_examples import write_images


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the images of the example run."""
    return write_images(tmp_path_factory.mktemp("data") / "images.npz")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Compute by one thread: for arrays this small, others only get in the way."""
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    yield
    numba.set_num_threads(before)


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a few bytes for each figure: drawing them is most of a small run's time."""
    from tinyvq.report import _runs

    monkeypatch.setattr(_runs, "curve_picture", lambda records, panels: b"a curve")
    monkeypatch.setattr(
        _runs, "codebook_picture", lambda counts, images, caption: images.tobytes()
    )
