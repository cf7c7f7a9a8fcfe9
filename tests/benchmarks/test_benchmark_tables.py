"""The tables of benchmarks/README.md are made of the result files."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import plots, report

ENVIRONMENT = {
    "cpu": "A Processor",
    "cores": 2,
    "system": "Linux",
    "versions": {"numpy": "9.9"},
    "commit": "abc",
}


ROOFS = {
    "peak_gflops_a_second": 1000.0,
    "sgemm_gflops_a_second": 800.4,
    "copy_gb_a_second": 74.44,
}


def record(ours: float, theirs: float, **more: Any) -> dict[str, Any]:
    return {
        "what": f"work of {ours}",
        "rounds": 9,
        "contenders": {
            "peer": {"median_ms": theirs},
            "tinyvq": {"median_ms": ours, **more},
        },
        "fastest_peer": "peer",
        "ratio": theirs / ours,
        "ratio_quartiles": [0.5, 9.0],
    }


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put made-up results where the report looks for them."""
    cases = {
        "nearest_code/a": record(1.0, 2.0),
        "nearest_code/b": {
            **record(123.4, 8 * 123.4),
            "left_out": {"third": "no compiler"},
        },
        "sampling/a": record(20.0, 10.0, tokens_a_second=2450.4),
        "memory/a": {
            "what": "a step",
            "contenders": {"tinyvq": {"median_mb": 0.5}, "peer": {"median_mb": 1.5}},
            "leanest_peer": "peer",
            "ratio": 3.0,
            "ratio_quartiles": [3.0, 3.0],
        },
        "memory/b": {
            "what": "faults",
            "contenders": {
                "tinyvq": {"median_faults": 0.05},
                "peer": {"median_faults": 1640.4},
            },
            "promised": 0.0,
        },
        "startup/a": {
            "what": "the first step",
            "rounds": 3,
            "contenders": {"tinyvq": {"median_s": 2.5}},
            "promised": 3.0,
        },
    }
    result = {"environment": ENVIRONMENT, "cases": cases}
    (tmp_path / "cpu.json").write_text(json.dumps(result))
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    return tmp_path


@pytest.mark.usefixtures("results")
def test_an_area_is_a_table_with_ratios_and_their_mean() -> None:
    assert report.area_table("nearest_code").splitlines() == [
        "| median of | tinyvq | peer | best peer / tinyvq |",
        "| --- | --- | --- | --- |",
        "| work of 1.0 | 1.00 ms | 2.00 ms | 2.00 (0.50-9.00), peer |",
        "| work of 123.4 | 123 ms | 987 ms | 8.00 (0.50-9.00), peer |",
        "",
        "Geometric mean of the ratios: 4.00 (2 cases).",
        "",
        "third is left out: no compiler.",
    ]
    assert "A Processor, 2 cores, Linux; numpy 9.9; commit abc." in report.machine()


@pytest.mark.usefixtures("results")
def test_rates_and_megabytes_are_shown() -> None:
    assert "| 20.0 ms, 2,450 codes/s | 10.0 ms |" in report.area_table("sampling")
    memory = report.area_table("memory")
    assert "| a step | 0.500 MB | 1.50 MB | 3.00 (" in memory
    told = "promised: at most 0 faults, which is not kept"
    assert f"| faults | 0.05 faults | 1,640 faults | {told} |" in memory


@pytest.mark.usefixtures("results")
def test_what_has_no_peer_is_held_against_its_promise() -> None:
    assert report.area_table("startup").splitlines() == [
        "| median of | tinyvq | promised |",
        "| --- | --- | --- |",
        "| the first step | 2.50 s | at most 3 s |",
    ]


def test_roofs_and_shares_of_them_are_told_where_they_were_measured(
    results: Path,
) -> None:
    assert "The roofs: not measured yet." in report.machine()
    cases = {"convolutions/a": record(1.0, 2.0, gflops_a_second=781.0)}
    result = {"environment": ENVIRONMENT, "cases": cases}
    (results / "cpu.json").write_text(json.dumps(result))
    assert "| 1.00 ms | 2.00 ms |" in report.area_table("convolutions")
    (results / "cpu.json").write_text(json.dumps({**result, "roofs": ROOFS}))
    assert "| 1.00 ms, 78% | 2.00 ms |" in report.area_table("convolutions")
    assert report.machine().endswith(
        "The roofs: 1,000 GFLOP/s in registers, 800 GFLOP/s in NumPy's product of "
        "matrices (2048³, float32), 74.4 GB/s copied.\n"
    )


def test_the_number_of_readings_is_that_of_the_run(results: Path) -> None:
    assert report.rounds() == "Each figure is the median of 3 to 9 readings.\n"
    result = json.loads((results / "cpu.json").read_text())
    del result["cases"]["startup/a"]
    (results / "cpu.json").write_text(json.dumps(result))
    assert report.rounds() == "Each figure is the median of 9 readings.\n"


def test_what_was_not_measured_is_said_to_be_so(results: Path) -> None:
    assert report.area_table("vqgan_step") == report.NOT_YET
    (results / "cpu.json").unlink()
    assert report.area_table("nearest_code") == report.machine() == report.NOT_YET
    assert report.rounds() == report.NOT_YET


def test_the_readme_shows_what_the_result_files_say() -> None:
    text = report.README.read_text()
    assert report.render(text) == text, "run python -m benchmarks.report"


def test_the_plots_show_what_the_result_files_say() -> None:
    assert report.plots_are_current(), "run python -m benchmarks.report"


def test_a_plot_of_other_results_is_told_apart(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [{"contender": "a", "marks": [{"step": 500, "test_nmse": 0.1}]}]
    (results / "curves.json").write_text(json.dumps({"runs": runs}))
    report.draw_plots()
    assert report.plots_are_current()
    result = json.loads((results / "cpu.json").read_text())
    result["cases"]["nearest_code/a"]["ratio"] += 0.5
    (results / "cpu.json").write_text(json.dumps(result))
    assert not report.plots_are_current()
    readme = results / "README.md"
    readme.write_text("Nothing to render.\n")
    monkeypatch.setattr(report, "README", readme)
    monkeypatch.setattr(report, "SECTIONS", {})
    monkeypatch.setattr("sys.argv", ["report", "--check"])
    assert report.main() == 1
    report.draw_plots()
    assert report.main() == 0


def test_a_row_of_the_speedups_has_all_cases_of_its_kind() -> None:
    ratios = {
        **{"convolutions/a/forward": 2.0, "convolutions/b/forward": 0.5},
        **{"convolutions/a/weight-gradient": 3.0, "scaling/vqvae_step-a": 1.5},
    }
    cases: dict[str, Any] = {name: {"ratio": ratio} for name, ratio in ratios.items()}
    cases["memory/page-faults"] = {"promised": 0.0}
    assert plots.speedups({"cases": cases}) == {
        "convolution, forward": [2.0, 0.5],
        "convolution, weight gradient": [3.0],
        "VQ-VAE step, more sizes": [1.5],
    }
