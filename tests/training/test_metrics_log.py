import json
from pathlib import Path

import numpy as np
import pytest
from training.faults import Fault, injected

from tinyvq.errors import FileError, RunError
from tinyvq.training import metrics_log
from tinyvq.training.metrics_log import MetricsLog


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "metrics.jsonl"


def write(path: Path, *steps: int) -> MetricsLog:
    log = MetricsLog(path)
    for step in steps:
        log.append({"step": step, "loss": 1 / (step + 1)})
    return log


def steps(path: Path) -> list[int]:
    return [record["step"] for record in metrics_log.read(path)]


def test_a_record_comes_back_as_it_was(path: Path) -> None:
    record = {"step": 0, "loss": 0.1, "images": 7, "phase": "warm-up\n", "nmse": 1e-300}
    MetricsLog(path).append(record)
    assert metrics_log.read(path) == [record]
    assert path.read_bytes().count(b"\n") == 1


def test_numpy_scalars_are_numbers(path: Path) -> None:
    record = {"step": 1, "loss": np.float32(0.1), "codes": np.int64(5)}
    MetricsLog(path).append(record)
    (back,) = metrics_log.read(path)
    assert back == {"step": 1, "loss": float(np.float32(0.1)), "codes": 5}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), np.float32("-inf")])
def test_what_is_not_finite_becomes_null(path: Path, value: float) -> None:
    MetricsLog(path).append({"step": 1, "psnr_db": value})
    assert metrics_log.read(path) == [{"step": 1, "psnr_db": None}]


@pytest.mark.parametrize("step", [-1, 5, 3, True, 6.0, "7", None])
def test_steps_increase(path: Path, step: object) -> None:
    log = write(path, 5)
    with pytest.raises(RunError, match=r"expected a step greater than 5 .*, got"):
        log.append({"step": step})  # type: ignore[dict-item]
    with pytest.raises(RunError, match="got None"):
        log.append({"loss": 0.5})
    assert steps(path) == [5]


@pytest.mark.parametrize("step", [-1, True, 6.0])
def test_the_first_step_is_a_whole_number(path: Path, step: object) -> None:
    with pytest.raises(RunError, match=f"expected a step greater than -1 .*got {step}"):
        MetricsLog(path).append({"step": step})  # type: ignore[dict-item]


def test_steps_increase_over_a_resume(path: Path) -> None:
    write(path, 5)
    with pytest.raises(RunError, match="expected a step greater than 5"):
        write(path, 5)
    write(path, 6)
    assert steps(path) == [5, 6]


def test_a_value_that_is_no_metric_is_refused(path: Path) -> None:
    with pytest.raises(RunError, match="metric 'loss': expected a number or a string"):
        MetricsLog(path).append({"step": 1, "loss": [1]})  # type: ignore[dict-item]
    assert not path.exists()


def test_a_torn_last_line_is_dropped_and_cut_off(path: Path) -> None:
    write(path, 1, 2, 3)
    whole = path.read_bytes()
    third = whole.rindex(b"\n", 0, -1) + 1
    for length in range(third, len(whole)):
        path.write_bytes(whole[:length])
        assert steps(path) == [1, 2]
        write(path, 4)
        assert steps(path) == [1, 2, 4]
    assert json.loads(path.read_bytes().splitlines()[-1])["step"] == 4


@pytest.mark.parametrize(
    "line", ["", "{", "[2]", "null", '{"loss": 1}', '{"step": NaN}', '{"step": 1}']
)
def test_a_damaged_line_is_reported_by_its_number(path: Path, line: str) -> None:
    path.write_text('{"step": 1}\n' + line + '\n{"step": 3}\n')
    for read in (metrics_log.read, MetricsLog):
        with pytest.raises(RunError, match=r"metrics\.jsonl, line 2( is damaged)?: "):
            read(path)


@pytest.mark.parametrize("damage", ["garbage", '{"step": 2}', "\0\0\0"])
def test_damage_behind_a_checkpoint_is_cut_off(path: Path, damage: str) -> None:
    write(path, 1, 3, 4)
    with path.open("a") as file:
        file.write(f'{damage}\n{{"step": 7}}\n')
    with pytest.raises(RunError, match="line 4 is damaged"):
        MetricsLog(path, enough=5)
    assert MetricsLog(path, enough=4).last_step == 4
    assert steps(path) == [1, 3, 4]


def test_damaged_bytes_are_reported(path: Path) -> None:
    path.write_bytes(b'{"step": 1}\n\xff\xfe\n')
    with pytest.raises(RunError, match="line 2 is damaged"):
        metrics_log.read(path)


def test_truncate_after_leaves_no_line_twice(path: Path) -> None:
    reference = write(path, 10, 20, 30, 40, 50).path.read_bytes()
    log = MetricsLog(path)
    log.truncate_after(30)
    assert steps(path) == [10, 20, 30]
    for step in (40, 50):
        log.append({"step": step, "loss": 1 / (step + 1)})
    assert path.read_bytes() == reference


@pytest.mark.parametrize(("step", "kept"), [(0, 0), (9, 0), (10, 1), (25, 2), (99, 3)])
def test_truncate_after_keeps_up_to_the_step(path: Path, step: int, kept: int) -> None:
    log = write(path, 10, 20, 30)
    log.truncate_after(step)
    assert steps(path) == [10, 20, 30][:kept]
    log.append({"step": max(step + 1, 31)})


def test_truncate_after_of_nothing(path: Path) -> None:
    MetricsLog(path).truncate_after(10)
    MetricsLog(path).sync()
    assert not path.exists()


@pytest.mark.parametrize("fault", [Fault.ERROR, Fault.FULL, Fault.DEAD])
def test_a_fault_while_truncating_loses_nothing(path: Path, fault: Fault) -> None:
    with injected() as faulty:
        write(path, 10, 20).truncate_after(10)
        truncating = faulty.calls[6:]  # after two appends of three calls each
    assert truncating[0].kind == "open"
    for at in range(len(truncating)):
        path.unlink()
        log = write(path, 10, 20)
        with injected(at, fault), pytest.raises(FileError):
            log.truncate_after(10)
        assert steps(path) in ([10], [10, 20])
        MetricsLog(path).truncate_after(10)
        assert steps(path) == [10]
        assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_full_disk_takes_back_the_line(path: Path) -> None:
    log = write(path, 1)
    with (
        injected(1, Fault.FULL),
        pytest.raises(FileError, match=r"cannot write .*metrics\.jsonl: No space left"),
    ):
        log.append({"step": 2})
    log.append({"step": 2})
    assert steps(path) == [1, 2]


def test_sync_reaches_the_disk(path: Path) -> None:
    log = write(path, 1)
    with injected() as faulty:
        log.sync()
    kinds = [call.kind for call in faulty.calls]
    assert "fsync" in kinds
    assert "fsync folder" in kinds


def test_a_missing_file_or_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"cannot read .*: No such file or directory"):
        metrics_log.read(tmp_path / "metrics.jsonl")
    with pytest.raises(FileError, match="No such file or directory"):
        MetricsLog(tmp_path / "no-run" / "metrics.jsonl")
