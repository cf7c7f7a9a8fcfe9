"""The metrics of a run: one JSON object per line, a line per logged step."""

import io
import json
import math
import numbers
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeGuard

from tinyvq import files
from tinyvq.errors import RunError
from tinyvq.files import FilePath

_LIMIT = 2**30  # bytes; a million logged steps take about a fifth of it


class MetricsLog:
    """The metrics file of a run, open for more lines.

    What a kill left of a torn last line is cut off. Raises RunError if another line is
    damaged, FileError if the file cannot be read or written.

    enough  a step that has a checkpoint: once the lines up to it are read, the first
            damaged one, and all behind it, are cut off, too
    """

    def __init__(self, path: FilePath, enough: int | None = None) -> None:
        self.path = Path(path)
        self.last_step = -1
        if self._exists():
            data = files.read_bytes(self.path, _LIMIT)
            lines = _parse(_whole_lines(data), self.path, enough)
            whole = b"".join(line for _, line in lines)
            if len(whole) < len(data):
                files.write_atomically(self.path, whole)
            if lines:
                self.last_step = lines[-1][0]["step"]

    def append(self, record: Mapping[str, float | int | str]) -> None:
        """Add one line, with a `step` greater than the last one's.

        A value that is not finite is written as null: JSON has no NaN, and a log must
        not be what stops a run. Safe from kill -9 on return; from power loss by `sync`.
        """
        step = record.get("step")
        if not _is_step(step) or step <= self.last_step:
            raise RunError(
                f"expected a step greater than {self.last_step} for the next line "
                f"of {self.path}, got {step!r}"
            )
        line = {name: _json_value(name, value) for name, value in record.items()}
        text = json.dumps(line, allow_nan=False) + "\n"
        files.append(self.path, text.encode())
        self.last_step = step

    def sync(self) -> None:
        """Force all lines onto the disk; to be called before a checkpoint is saved."""
        if self._exists():
            files.sync(self.path)

    def truncate_after(self, step: int) -> None:
        """Drop all lines of later steps, to go on from the checkpoint of `step`."""
        files.remove_leftovers(self.path.parent, self.path.name)
        if self.last_step <= step:
            return
        lines = _parse(files.read_bytes(self.path, _LIMIT), self.path)
        kept = [(record, line) for record, line in lines if record["step"] <= step]
        files.write_atomically(self.path, b"".join(line for _, line in kept))
        self.last_step = kept[-1][0]["step"] if kept else -1

    def _exists(self) -> bool:
        return self.path.name in files.names_in(self.path.parent)


def read(path: FilePath) -> list[dict[str, Any]]:
    """Read the records of a metrics file, without a torn last line.

    Values are int, float, str, or None for what was not finite. Raises RunError with
    the number of a damaged line, FileError if the file cannot be read.
    """
    whole = _whole_lines(files.read_bytes(path, _LIMIT))
    return [record for record, _ in _parse(whole, path)]


def _whole_lines(data: bytes) -> bytes:
    """Cut what stands behind the last newline: a line that was never finished."""
    return data[: data.rfind(b"\n") + 1]


def _parse(
    data: bytes, path: FilePath, enough: int | None = None
) -> list[tuple[dict[str, Any], bytes]]:
    """Give each line as a record and as it stands in the file."""
    last_step = -1
    lines: list[tuple[dict[str, Any], bytes]] = []
    for number, line in enumerate(io.BytesIO(data), start=1):
        try:
            record = _record(line, last_step)
        except ValueError as error:
            if enough is not None and last_step >= enough:
                break
            raise RunError(f"{path}, line {number} is damaged: {error}") from error
        last_step = record["step"]
        lines.append((record, line))
    return lines


def _record(line: bytes, last_step: int) -> dict[str, Any]:
    """Read one line; ValueError where it is no record of a later step."""
    record = files.parse_json(line)
    step = record.get("step") if isinstance(record, dict) else None
    if not _is_step(step) or step <= last_step:
        raise ValueError(
            f"expected an object with a step greater than {last_step}, got {step!r}"
        )
    return dict(record)


def _is_step(step: object) -> TypeGuard[int]:
    return isinstance(step, int) and not isinstance(step, bool) and step >= 0


def _json_value(name: str, value: object) -> float | int | str | None:
    if isinstance(value, str | int):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        number = float(value)
        return number if math.isfinite(number) else None
    raise RunError(f"metric {name!r}: expected a number or a string, got {value!r}")
