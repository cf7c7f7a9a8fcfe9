"""The kernels that measure a machine do what they are counted as doing."""

from collections.abc import Callable

import numpy as np
import pytest
from tinyvq_kernels import _roofs, peak_bandwidth, peak_flops


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_chain_is_multiplied_and_added_to(dtype: str) -> None:
    lanes = _roofs.lanes_of(np.dtype(dtype).itemsize)
    start = np.linspace(0, 1, _roofs.CHAINS * lanes).astype(dtype)
    ends = np.full(3 * lanes, np.nan, dtype)
    _roofs._chains(start, 5, 3, ends)
    values = start.reshape(_roofs.CHAINS, lanes)
    for _ in range(5):
        values = values / 2 + np.asarray(0.25, dtype)
    expected = np.tile(values.sum(axis=0), 3)
    np.testing.assert_allclose(ends, expected, rtol=1e-5)


@pytest.mark.parametrize("blocks", [1, 3])
def test_every_value_is_copied(blocks: int) -> None:
    source = np.arange(blocks * _roofs.BLOCK, dtype=np.float32)
    target = np.zeros_like(source)
    _roofs._copy(source, target)
    np.testing.assert_array_equal(target, source)


def test_a_rate_is_what_was_done_over_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[int] = []

    def best(run: Callable[[], None]) -> float:
        run()
        ran.append(1)
        return 0.5

    threads = 3
    monkeypatch.setattr(_roofs, "_best", best)
    monkeypatch.setattr(_roofs, "get_num_threads", lambda: threads)
    monkeypatch.setattr(_roofs, "ROUNDS", 10)
    monkeypatch.setattr(_roofs, "COPIED", 4 * _roofs.BLOCK)
    lanes = _roofs.lanes_of(8)
    done = 2 * 10 * 12 * lanes * _roofs.TASKS * threads
    assert peak_flops("float64") == done / 0.5
    assert peak_flops("float32") == 2 * done / 0.5
    assert peak_bandwidth() == 2 * 4 * _roofs.BLOCK / 0.5
    assert len(ran) == 3


def test_roofs_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("SECONDS", 0.0), ("COPIED", 1 << 22), ("ROUNDS", 1 << 12)):
        monkeypatch.setattr(_roofs, name, value)
    assert peak_flops() > 1e8  # a processor of this century
    assert peak_bandwidth() > 1e8


def test_other_dtypes_have_no_roof() -> None:
    with pytest.raises(TypeError, match="float32 or float64, got int64"):
        peak_flops("int64")
