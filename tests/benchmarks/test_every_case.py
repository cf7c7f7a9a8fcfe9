"""Every benchmark, at a toy size: it is built, checked, measured and summarised."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
from cli.command_line import succeeds
from peers import require
from training.run_fixtures import one_thread

torch = require("torch")
for peer in ("faiss", "sklearn", "vector_quantize_pytorch"):
    require(peer)

from benchmarks import __main__ as command  # noqa: E402
from benchmarks import bench_sampling, bench_vqvae_step, harness  # noqa: E402
from benchmarks.bench_memory import Peak  # noqa: E402
from benchmarks.bench_scaling import at_threads  # noqa: E402
from benchmarks.harness import Case, Measured, Readings, Work  # noqa: E402
from benchmarks.peers.torch_vqvae import twin  # noqa: E402
from tinyvq.models import VQVAE, sample_codes  # noqa: E402

__all__ = ["one_thread"]

pytestmark = pytest.mark.torch

CASES = command.cases([])


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Take no pauses, and let PyTorch compute by one thread."""
    monkeypatch.setattr(harness, "IDLE", 0.0)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def spoilt(result: Any) -> Any:
    """Change a result as a mistake would: a number by a tenth, codes to others."""
    if isinstance(result, Peak):
        return replace(result, loss=1.1 * result.loss)
    if isinstance(result, tuple):
        return (*result[:-1], spoilt(result[-1]))
    array = np.asarray(result).copy()
    if array.dtype.kind in "iu":
        array = (array + 1) % (array.max() + 1)
    else:
        array.flat[-1] += 0.1 * np.abs(array).max()
    return torch.from_numpy(array) if isinstance(result, torch.Tensor) else array


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_case_is_checked_and_measured(case: Case) -> None:
    if case.name.startswith("memory/") and not Path("/proc/self/clear_refs").exists():
        pytest.skip("this system does not tell the peak of memory")
    work = case.build(True)
    found: dict[str, Any] = {}

    def check(results: Mapping[str, Any]) -> None:
        found.update(results)
        work.check(results)

    measured = harness.measure(replace(work, check=check), rounds=1)
    record = harness.summarise(work, measured)
    assert set(record["contenders"]) == set(found)
    assert {"tinyvq", *record.get("left_out", {}), *found} == set(work.contenders)
    assert set(record.get("left_out", {})) <= {"PyTorch compiled"}
    for entry in record["contenders"].values():
        assert entry[f"median_{work.unit}"] > 0
    assert record["ratio"] > 0
    json.dumps(record)
    for name in found:
        with pytest.raises(AssertionError):
            work.check({**found, name: spoilt(found[name])})


def test_names_are_distinct_and_begin_with_their_area() -> None:
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names)
    assert {name.split("/")[0] for name in names} == set(command.AREAS)


def test_a_wrong_contender_is_never_timed() -> None:
    case = CASES[0]
    work = case.build(True)
    calls = []

    def wrong() -> Any:
        calls.append(1)
        return np.zeros_like(work.contenders["tinyvq"]())

    with pytest.raises(AssertionError, match="planted finds farther codes"):
        harness.measure(
            replace(work, contenders={**work.contenders, "planted": wrong}), 3
        )
    assert len(calls) == 1


@pytest.mark.parametrize("value", [1.1, float("nan"), (1.0, 2.0)])
def test_numbers_that_differ_are_not_close(value: Any) -> None:
    harness.assert_close({"tinyvq": 1.0, "peer": 1.0 + 1e-7}, 1e-6)
    with pytest.raises(AssertionError, match="peer"):
        harness.assert_close({"tinyvq": 1.0, "peer": value}, 1e-6)
    with pytest.raises(AssertionError):
        harness.assert_close({"tinyvq": value, "peer": 1.0}, 1e-6)


def test_contenders_take_turns_and_who_fails_is_left_out() -> None:
    order: list[str] = []

    def absent() -> None:
        raise OSError("no compiler\nand more")

    work = Work(
        {
            "tinyvq": lambda: order.append("tinyvq"),
            "peer": lambda: order.append("peer"),
            "absent": harness.or_left_out(absent),
        },
        check=lambda results: order.append("check"),
    )
    measured = harness.measure(work, 2)
    first, warm = ["tinyvq", "peer"], ["tinyvq", "peer"]
    many = harness.MOST_CALLS  # of what takes next to no time
    turns = [*["tinyvq"] * many, *["peer"] * many, *["peer"] * many]
    assert order == [*first, "check", *warm, *turns, *["tinyvq"] * many]
    assert measured.left_out == {"absent": "OSError: no compiler"}
    assert [len(r.values) for r in measured.readings.values()] == [2, 2]


@pytest.mark.parametrize("unit", ["ms", "mb"])
def test_a_record_has_medians_and_the_ratio_to_the_best_peer(unit: Any) -> None:
    readings = {
        "tinyvq": Readings(9.0, [2.0, 1.0, 3.0]),
        "slow": Readings(9.0, [8.0, 9.0, 7.0]),
        "quick": Readings(9.0, [4.0, 5.0, 3.0]),
    }
    work = Work({}, print, unit=unit, flops=4e9, tokens=10)
    record = harness.summarise(work, Measured(readings, {"absent": "why"}))
    assert record["ratio"] == 2.0
    assert record["ratio_quartiles"] == [1.5, 3.5]
    assert record["fastest_peer" if unit == "ms" else "leanest_peer"] == "quick"
    assert record["left_out"] == {"absent": "why"}
    ours = record["contenders"]["tinyvq"]
    assert ours[f"median_{unit}"] == 2.0
    assert ours.get("first_ms") == (9.0 if unit == "ms" else None)
    assert ours["gflops_a_second"] == 2000.0  # 4 Gflop in 2 ms
    assert ours["tokens_a_second"] == 5000.0


def test_threads_are_as_before_even_after_an_error() -> None:
    def fail() -> None:
        raise ZeroDivisionError(f"{numba.get_num_threads()}, {torch.get_num_threads()}")

    torch.set_num_threads(3)  # numba has 1, by a fixture
    with pytest.raises(ZeroDivisionError, match="1, 1"):
        at_threads(1, fail)()
    assert (numba.get_num_threads(), torch.get_num_threads()) == (1, 3)


def test_what_is_to_be_compiled_is_one_graph_that_does_the_same() -> None:
    """Traced alone: a compiler would take longer than all other tests here."""
    small = bench_vqvae_step.TOY
    model = VQVAE.preset("conv", channels=1, **small, **bench_vqvae_step.PLAIN)
    x = bench_vqvae_step.images(8, 1, 2)
    peer = twin(model, channels=1, **small)
    step = bench_vqvae_step.compiled_step(peer, x, backend="eager")
    losses = {"tinyvq": bench_vqvae_step.ours(model, x)(), "traced": step()}
    bench_vqvae_step.check(losses)

    prior = bench_sampling.prior_of((2, 3), width=16, layers=2, heads=2)
    labels = np.arange(3)
    unit = bench_sampling.uniform(3, 6)
    tensors = torch.from_numpy(labels), torch.from_numpy(unit).float()
    draw = bench_sampling.compiled_sampling(prior, *tensors, backend="eager")
    ours = sample_codes(prior, 3, labels, seed=bench_sampling.SEED)
    np.testing.assert_array_equal(draw(), ours.reshape(3, 6))


def test_the_command_prints_one_json_object() -> None:
    words = ["bench", "nearest_code", "--toy", "--rounds", "1", "--json"]
    result = json.loads(succeeds(*words).out)
    assert result["environment"]["versions"]["torch"]
    names = [case.name for case in CASES if case.name.startswith("nearest_code/")]
    assert list(result["cases"]) == names
    for record in result["cases"].values():
        assert record["contenders"]["tinyvq"]["median_ms"] > 0


def test_results_of_one_place_are_put_together(tmp_path: Path) -> None:
    path = tmp_path / "new" / "cpu.json"
    for place, cases in (("here", {"a": 1}), ("here", {"a": 2, "b": 3})):
        command.save(path, {"environment": place, "cases": cases})
    command.save(path, {"environment": "here", "cases": {"c": 4}})
    assert json.loads(path.read_text())["cases"] == {"a": 2, "b": 3, "c": 4}
    command.save(path, {"environment": "there", "cases": {"b": 5}})
    assert json.loads(path.read_text()) == {"environment": "there", "cases": {"b": 5}}


def test_toy_figures_are_not_saved(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["nearest_code", "--toy", "--save"])
    assert "worth saving" in capsys.readouterr().err
