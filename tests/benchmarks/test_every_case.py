"""Every benchmark, at a toy size: it is built, checked, measured and summarised."""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
from cli.command_line import succeeds
from peers import require
from tinyvq_kernels import _roofs
from training.run_fixtures import one_thread

torch = require("torch")
for peer in ("faiss", "sklearn", "vector_quantize_pytorch"):
    require(peer)

from benchmarks import __main__ as command  # noqa: E402
from benchmarks import (  # noqa: E402
    bench_ladders,
    bench_sampling,
    bench_vqgan_step,
    bench_vqvae_step,
    harness,
    roofs,
)
from benchmarks.bench_scaling import at_threads  # noqa: E402
from benchmarks.children import Found, found_by_child, run_child  # noqa: E402
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
    if isinstance(result, Found):
        return replace(result, result=spoilt(result.result))
    if isinstance(result, str):
        return f"{result}.bak"
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
    work = case.build(True)
    if work.unit == "mb" and not Path("/proc/self/clear_refs").exists():
        pytest.skip("this system does not tell the peak of memory")
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
        assert entry[f"median_{work.unit}"] > 0 or work.unit == "faults"
    if len(found) > 1 and work.unit != "faults":
        assert record["ratio"] > 0
    else:
        assert case.promise is not None, "neither a peer nor a promise"
    assert record["rounds"] == 1
    json.dumps(record)
    for name in found:
        with pytest.raises(AssertionError):
            work.check({**found, name: spoilt(found[name])})


def test_names_are_distinct_and_begin_with_their_area() -> None:
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names)
    assert {name.split("/")[0] for name in names} == set(command.AREAS)


def test_every_ladder_of_the_table_is_timed() -> None:
    """Whatever has more than one rung on CPUs, that is: enter what is timed in JOBS."""
    assert set(bench_ladders.JOBS) == set(bench_ladders.ladders())
    for case in CASES:
        if case.name.startswith("ladders/"):
            rungs = bench_ladders.rungs(case.name.removeprefix("ladders/"))
            assert list(case.build(True).contenders) == ["tinyvq", *rungs[1:]]


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
    measured = harness.measure(work, 8)
    assert order[:5] == ["tinyvq", "peer", "check", "tinyvq", "peer"]
    many = 1 + harness.MOST_CALLS  # of what takes next to no time; one does not count
    turns = [tuple(order[i : i + many]) for i in range(5, len(order), many)]
    rounds = [turns[i : i + 2] for i in range(0, len(turns), 2)]
    assert len(rounds) == 8
    for pair in rounds:
        assert sorted(pair) == [("peer",) * many, ("tinyvq",) * many]
    assert len({pair[0][0] for pair in rounds}) == 2  # now one is first, now the other
    assert measured.left_out == {"absent": "OSError: no compiler"}
    assert [len(r.values) for r in measured.readings.values()] == [8, 8]


def test_nothing_is_saved_where_a_library_is_held_back(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    with pytest.raises(SystemExit):
        command.main(["nearest_code", "--save", str(tmp_path / "cpu.json")])
    assert "OPENBLAS_CORETYPE=Haswell holds a library back" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_what_takes_long_is_read_a_few_times() -> None:
    """And in a fresh process the first reading counts."""
    asked: list[str] = []

    def read() -> Found:
        asked.append("tinyvq")
        return Found(float(len(asked)), 1)

    work = Work({"tinyvq": read}, lambda results: None, unit="s", most_rounds=3)
    record = harness.summarise(work, harness.measure(work, 9))
    assert record["rounds"] == len(asked) == 3
    assert record["contenders"]["tinyvq"]["median_s"] == 2.0
    assert "ratio" not in record


def test_a_child_that_fails_says_why() -> None:
    assert run_child("-c", "import os; print(os.environ['A'])", A="b") == "b\n"
    with pytest.raises(RuntimeError, match="invalid choice: 'nothing'"):
        found_by_child("benchmarks.bench_memory", "nothing", "tinyvq")


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
    assert record["rounds"] == 3
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

    prior = bench_sampling.prior_of_size(toy=True)
    labels = np.arange(3)
    draw = bench_sampling.compiled_sampling(prior, labels, backend="eager")
    ours = sample_codes(prior, 3, labels, seed=bench_sampling.SEED)
    np.testing.assert_array_equal(draw(), ours.reshape(3, 6))


# The discriminator is given what is no leaf, and PyTorch's tracer looks at its .grad.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
def test_the_vqgan_to_be_compiled_does_the_same() -> None:
    """Traced, its backward too, for two gradients are taken of what is compiled."""
    x = bench_vqvae_step.images(16, 3, 2)
    task = bench_vqgan_step.task_of(x, **bench_vqgan_step.TOY)
    step = bench_vqgan_step.compiled_step(task, x, backend="aot_eager")
    ours = bench_vqgan_step.ours(task)
    for _ in range(2):
        bench_vqgan_step.check({"tinyvq": ours(), "traced": step()})


@pytest.fixture
def small_roofs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure roofs on little, once."""
    for name, value in (("SECONDS", 0.0), ("COPIED", 1 << 22), ("ROUNDS", 1 << 12)):
        monkeypatch.setattr(_roofs, name, value)
    monkeypatch.setattr(roofs, "SIZE", 64)
    monkeypatch.setattr(roofs, "CALLS", 1)


@pytest.mark.usefixtures("small_roofs")
def test_the_command_prints_one_json_object() -> None:
    words = ["bench", "nearest_code", "--toy", "--rounds", "1", "--json"]
    result = json.loads(succeeds(*words).out)
    assert result["environment"]["versions"]["torch"]
    assert result["roofs"].keys() == {
        "peak_gflops_a_second",
        "sgemm_gflops_a_second",
        "copy_gb_a_second",
    }
    assert min(result["roofs"].values()) > 0
    names = [case.name for case in CASES if case.name.startswith("nearest_code/")]
    assert list(result["cases"]) == names
    for record in result["cases"].values():
        assert record["contenders"]["tinyvq"]["median_ms"] > 0


def test_a_promise_is_recorded_with_its_case(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def build(toy: bool) -> Work:
        return Work({"tinyvq": lambda: Found(2.5, toy)}, lambda r: None, unit="s")

    record = command.run(Case("startup/a", "work", build, 3.0), rounds=2, toy=True)
    assert record["promised"] == 3.0
    assert "2.50 s" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nearest_codes"], "nearest_codes; do you mean nearest_code?"),
        (["memory", "sampl"], "sampl; do you mean sampling?"),
        (["nothing"], f"nothing; the areas are {', '.join(command.AREAS)}"),
    ],
)
def test_a_case_that_is_not_known_is_told(words: list[str], said: str) -> None:
    with pytest.raises(SystemExit, match=f"^error: there is no case {re.escape(said)}"):
        command.cases(words)


def test_results_of_one_place_are_put_together(tmp_path: Path) -> None:
    path = tmp_path / "new" / "cpu.json"

    def save(place: str, roof: float, cases: dict[str, int]) -> Any:
        result = {"environment": place, "roofs": {"peak": roof}, "cases": cases}
        command.save(path, result)
        return json.loads(path.read_text())

    save("here", 3.0, {"a": 1})
    save("here", 4.0, {"a": 2, "b": 3})
    found = save("here", 2.0, {"c": 4})
    assert found["cases"] == {"a": 2, "b": 3, "c": 4}
    assert found["roofs"] == {"peak": 4.0}  # the most that was ever reached
    found = save("there", 1.0, {"b": 5})
    assert found == {"environment": "there", "roofs": {"peak": 1.0}, "cases": {"b": 5}}


def test_flops_are_those_of_products_and_of_the_search() -> None:
    """Forward, and both gradients but that of the images; then values one by one."""
    model = VQVAE.preset("conv", channels=3, **bench_vqvae_step.PLAIN)
    x = bench_vqvae_step.images(32, 3, 1)
    layers = (  # pixels, taps, inputs, outputs
        *((256, 16, 3, 64), (64, 16, 64, 128), (64, 9, 128, 128)),
        *2 * ((64, 9, 128, 32), (64, 1, 32, 128)),
        *((64, 1, 128, 64), (64, 9, 64, 128)),
        *2 * ((64, 9, 128, 32), (64, 1, 32, 128)),
        *((64, 16, 128, 64), (256, 16, 64, 3)),
    )
    products = sum(pixels * taps * c * k for pixels, taps, c, k in layers)
    first = 256 * 16 * 3 * 64
    least = 2 * (3 * products - first) + 2 * 64 * 64 * 512
    assert least < roofs.flops_of(bench_vqvae_step.ours(model, x)) < 1.02 * least


def test_toy_figures_are_not_saved(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["nearest_code", "--toy", "--save"])
    assert "worth saving" in capsys.readouterr().err
