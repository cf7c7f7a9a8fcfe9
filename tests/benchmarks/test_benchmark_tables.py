"""The tables of benchmarks/README.md are made of the result files."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import report

ENVIRONMENT = {
    "cpu": "A Processor",
    "cores": 2,
    "system": "Linux",
    "versions": {"numpy": "9.9"},
    "commit": "abc",
}


def record(ours: float, theirs: float, **more: Any) -> dict[str, Any]:
    return {
        "what": f"work of {ours}",
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
    assert "| a step | 0.500 MB | 1.50 MB | 3.00 (" in report.area_table("memory")


def test_what_was_not_measured_is_said_to_be_so(results: Path) -> None:
    assert report.area_table("vqgan_step") == report.NOT_YET
    (results / "cpu.json").unlink()
    assert report.area_table("nearest_code") == report.machine() == report.NOT_YET


def test_the_readme_shows_what_the_result_files_say() -> None:
    text = report.README.read_text()
    assert report.render(text) == text, "run python -m benchmarks.report"
