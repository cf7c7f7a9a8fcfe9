"""Captured: what is recorded, when, and what of it is repeated."""

from typing import Any

import numpy as np
import pytest
from strict_device import MixedError
from tinyvq_kernels import Captured
from tinyvq_kernels._graph import keep

from tinyvq.backends import Place


def test_the_third_call_records_and_later_ones_repeat(cupy: Any) -> None:
    x, calls = cupy.asarray(np.arange(3.0)), []

    def run() -> Any:
        calls.append(len(calls))
        return x * 2 + 1

    captured = Captured(run)
    first, second, third = (captured() for _ in range(3))
    assert first is not second is not third
    x[...] = 10.0
    assert captured() is third
    assert third.get().tolist() == [21.0] * 3
    assert first.get().tolist() == [1.0, 3.0, 5.0]
    assert calls == [0, 1, 2]


def test_each_key_has_a_recording_of_its_own(cupy: Any) -> None:
    x = cupy.asarray(np.ones(2))
    factor = 3.0
    captured = Captured(lambda: x * factor, warm=0)
    assert captured("three").get().tolist() == [3.0, 3.0]
    factor = 5.0
    assert captured("five").get().tolist() == [5.0, 5.0]
    assert captured("three").get().tolist() == [3.0, 3.0]


def test_what_changes_in_place_is_changed_by_each_call(cupy: Any) -> None:
    total, place = cupy.asarray(np.zeros(1)), Place("cuda")
    step = place.fill(np.ones(1))

    def run() -> None:
        total[...] += step

    captured = Captured(run)
    for value in range(1, 7):
        place.fill(np.full(1, float(value)))
        captured()
    assert total.get().tolist() == [21.0]


def test_on_a_cpu_every_call_runs() -> None:
    calls: list[int] = []
    captured = Captured(lambda: calls.append(1), "cpu")
    for _ in range(4):
        captured()
    assert len(calls) == 4


def test_reading_a_value_is_refused_and_leaves_no_recording(cupy: Any) -> None:
    x = cupy.asarray(np.ones(1))

    def run() -> Any:
        return x.item()

    captured = Captured(run, warm=0)
    with pytest.raises(MixedError, match="item while a stream records"):
        captured()
    assert Captured(lambda: x + 1, warm=0)().get().tolist() == [2.0]  # nothing hangs


def test_what_is_kept_lives_as_long_as_the_graph(cupy: Any) -> None:
    table = object()
    captured = Captured(lambda: keep(table), warm=0)
    assert keep(table) is table  # outside a recording it is passed on, not held
    captured()
    (recording,) = captured._recordings.values()
    assert recording.kept == [table]


def test_a_place_stays_where_it_is(cupy: Any) -> None:
    place = Place("cuda")
    first = place.fill(np.arange(3, dtype=np.float32))
    assert place.fill(np.ones(3, np.float32)) is first
    assert first.get().tolist() == [1.0, 1.0, 1.0]
    assert place.fill(np.ones(4, np.float32)) is not first  # it does not fit
    values = np.ones(2)
    assert Place("cpu").fill(values) is values
