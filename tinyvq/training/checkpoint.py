"""Checkpoints that survive errors, kills and power loss at any moment.

A checkpoint is two files. `step-00001000.safetensors` holds all state;
`step-00001000.json` holds its length, its sha256, the step, the caller's `info` and a
seal, the sha256 of these fields. It is written last: where it is missing or does not
match, there is no checkpoint. Each file is written whole or not at all, and older
checkpoints go only after both are on the disk, so at every moment the folder holds the
old state or the new one.

Saving a step that exists already needs one thing more, for two files cannot be renamed
in one stroke: a first .json that accepts the old data as well as the new.
"""

import dataclasses
import hashlib
import json
import operator
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tinyvq import files
from tinyvq.errors import CheckpointError, FileError
from tinyvq.files import JSON, FilePath

SCHEMA = 1  # of the .json; a reader refuses what is newer than itself
_JSON_LIMIT = 16 * 2**20  # bytes; a .json in use holds some hundreds
_DTYPES = frozenset(
    ["bool", "float16", "float32", "float64"]
    + [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
)
_NAME = re.compile(r"step-([0-9]{8,})\.(?:safetensors|json)")


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """State as it was saved, and which newer checkpoints could not be used."""

    step: int
    arrays: dict[str, npt.NDArray[Any]]
    info: dict[str, Any]
    path: Path
    rejected: list[tuple[str, str]]  # (name, reason), newest first


@dataclasses.dataclass(frozen=True)
class _Content:
    """One state of the data file that a .json accepts."""

    length: int
    sha256: str
    info: dict[str, Any]


class _NewerSchemaError(CheckpointError):
    """A sound checkpoint of a later tinyvq, not to be passed over in silence."""


def save(
    folder: FilePath,
    step: int,
    arrays: Mapping[str, npt.NDArray[Any]],
    info: Mapping[str, JSON],
    *,
    keep: int = 2,
) -> Path:
    """Save the whole state of a run, then remove all but the `keep` newest checkpoints.

    arrays  bool, integers, float16 to float64; any shape and strides
    info    what json can hold; tuples come back as lists
    ->      the path of the data; equal states give equal bytes

    Checkpoints of later steps are left alone. Raises FileError if the disk refuses,
    CheckpointError if the state cannot be saved.
    """
    if step < 0 or keep < 2:
        raise CheckpointError(
            f"expected step >= 0 and keep >= 2, got step {step} and keep {keep}"
        )
    folder, step = Path(folder), operator.index(step)
    data = _serialise(arrays)
    digest = hashlib.sha256(data).hexdigest()
    content = _Content(len(data), digest, _as_json(info))
    record = _render(step, content)
    path, record_path = _paths(folder, step)

    files.make_folder(folder)
    files.remove_leftovers(folder)
    replaced = _content_on_disk(folder, step)
    if replaced is not None and replaced.sha256 != content.sha256:
        files.write_atomically(record_path, _render(step, content, replaced))
    files.write_atomically(path, data)
    files.write_atomically(record_path, record)
    _remove_older(folder, step, keep)
    return path


def load(path: FilePath) -> Checkpoint:
    """Load one checkpoint by the path of its data, as `save` returned it."""
    path = Path(path)
    step = _step_of(path.name)
    if step is None or path.suffix != ".safetensors":
        raise CheckpointError(
            f"expected a checkpoint such as step-00001000.safetensors, got {path}"
        )
    try:
        return _read(path.parent, step)
    except (CheckpointError, FileError) as error:
        raise CheckpointError(f"{path} cannot be used: {error}") from error


def load_latest(folder: FilePath) -> Checkpoint:
    """Load the newest checkpoint that verifies; `rejected` names newer ones.

    Raises CheckpointError where none can be used, and where the newest was saved by a
    later tinyvq: going back behind that one would throw away good work.
    """
    folder = Path(folder)
    try:
        steps = _steps_in(folder)
    except FileError as error:
        raise CheckpointError(f"no checkpoint in {folder}: {error}") from error
    rejected: list[tuple[str, str]] = []
    for step in reversed(steps):
        try:
            checkpoint = _read(folder, step)
        except _NewerSchemaError as error:
            path, _ = _paths(folder, step)
            raise CheckpointError(f"{path} cannot be used: {error}") from error
        except (CheckpointError, FileError) as error:
            rejected.append((_name(step), str(error)))
        else:
            return dataclasses.replace(checkpoint, rejected=rejected)
    if not rejected:
        raise CheckpointError(f"no checkpoint in {folder}: no step-*.json is there")
    reasons = "; ".join(f"{name}: {reason}" for name, reason in rejected)
    raise CheckpointError(f"no checkpoint in {folder} can be used. {reasons}")


def _name(step: int) -> str:
    return f"step-{step:08d}"


def _paths(folder: Path, step: int) -> tuple[Path, Path]:
    """Name the data file and the .json of a step."""
    return folder / f"{_name(step)}.safetensors", folder / f"{_name(step)}.json"


def _step_of(file_name: str) -> int | None:
    match = _NAME.fullmatch(file_name)
    if match is None:
        return None
    step = int(match[1])
    # Another spelling of the same number (more zeros) is not a name of ours.
    return step if file_name.startswith(_name(step) + ".") else None


def _steps_in(folder: Path) -> list[int]:
    """List the steps of which a folder holds at least one file, in order."""
    steps = {_step_of(name) for name in files.names_in(folder)}
    return sorted(step for step in steps if step is not None)


def _serialise(arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
    from safetensors import SafetensorError
    from safetensors.numpy import save as to_bytes

    tensors = {}
    for name, array in sorted(arrays.items()):
        if array.dtype.name not in _DTYPES or not array.dtype.isnative:
            raise CheckpointError(
                f"cannot save {name!r} of dtype {array.dtype}: expected one of "
                f"{', '.join(sorted(_DTYPES))}, in native byte order"
            )
        if name == "__metadata__":  # the format keeps it for itself
            raise CheckpointError(f"cannot save an array under the name {name!r}")
        # safetensors copies memory and ignores strides. (Not ascontiguousarray: it
        # makes one dimension out of none.)
        tensors[name] = np.asarray(array, order="C")
    try:
        return to_bytes(tensors)
    except (SafetensorError, UnicodeError) as error:
        raise CheckpointError(f"cannot save the arrays: {error}") from error


def _parse_arrays(data: bytes) -> dict[str, npt.NDArray[Any]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load as from_bytes

    try:
        tensors = from_bytes(data)
    except KeyError as error:  # a dtype that NumPy has not
        raise CheckpointError(f"it holds an array of dtype {error}") from error
    except (SafetensorError, ValueError) as error:
        raise CheckpointError(f"it is not a safetensors file: {error}") from error
    # Older releases of safetensors give arrays that cannot be written to.
    return {name: np.require(tensors[name], None, "W") for name in sorted(tensors)}


def _as_json(info: Mapping[str, JSON]) -> dict[str, Any]:
    """Give `info` as a reader of the .json will see it."""
    try:
        text = json.dumps(dict(info), allow_nan=False)
        return dict(files.parse_json(text.encode()))
    except (TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"info cannot be saved as JSON: {error}") from error


def _seal(fields: Mapping[str, Any]) -> str:
    """Hash the fields of a .json, so that a damaged one is known for what it is."""
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def _unsealed(text: bytes) -> dict[str, Any]:
    fields = files.parse_json(text)
    if not isinstance(fields, dict):
        raise ValueError("it is not an object")
    if fields.pop("seal", None) != _seal(fields):
        raise ValueError("its seal is broken")
    return fields


def _render(step: int, content: _Content, replaced: _Content | None = None) -> bytes:
    fields = {"schema": SCHEMA, "step": step, **dataclasses.asdict(content)}
    if replaced is not None:
        fields["replaces"] = dataclasses.asdict(replaced)
    fields["seal"] = _seal(fields)
    text = json.dumps(fields, sort_keys=True, indent=2).encode() + b"\n"
    if len(text) > _JSON_LIMIT:
        raise CheckpointError(
            f"info makes {len(text)} bytes of JSON, expected at most {_JSON_LIMIT}"
        )
    return text


def _accepted(folder: Path, step: int) -> list[_Content]:
    """Read which contents of its data file the .json of a step accepts."""
    _, record_path = _paths(folder, step)
    if record_path.name not in files.names_in(folder):
        raise CheckpointError(f"unfinished: there is no {record_path.name}")
    text = files.read_bytes(record_path, _JSON_LIMIT)
    try:
        fields = _unsealed(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{record_path.name} is damaged: {error}") from error
    schema = fields.get("schema")
    if isinstance(schema, int) and schema > SCHEMA:
        raise _NewerSchemaError(
            f"it has schema {schema}, this tinyvq reads up to {SCHEMA}; "
            "use the tinyvq that saved it, or a newer one"
        )
    if (schema, fields.get("step")) != (SCHEMA, step):
        raise CheckpointError(
            f"{record_path.name} has schema {schema} and is of step "
            f"{fields.get('step')}, expected schema {SCHEMA} and step {step}"
        )
    contents = [fields, fields["replaces"]] if "replaces" in fields else [fields]
    return [_parse_content(item, record_path.name) for item in contents]


def _parse_content(fields: Any, name: str) -> _Content:
    match fields:
        case {"length": int(length), "sha256": str(sha256), "info": dict(info)}:
            return _Content(length, sha256, info)
    raise CheckpointError(f"{name} must give a length, a sha256 and an info")


def _verified(folder: Path, step: int) -> tuple[_Content, bytes]:
    """Read the data of a step, and which of the accepted contents it is."""
    accepted = _accepted(folder, step)
    path, _ = _paths(folder, step)
    data = files.read_bytes(path, max(content.length for content in accepted))
    digest = hashlib.sha256(data).hexdigest()
    for content in accepted:
        if (content.length, content.sha256) == (len(data), digest):
            return content, data
    expected = accepted[0]
    if len(data) != expected.length:
        raise CheckpointError(
            f"{path.name} holds {len(data)} bytes, expected {expected.length}"
        )
    raise CheckpointError(
        f"{path.name} has sha256 {digest[:12]}..., expected {expected.sha256[:12]}..."
    )


def _read(folder: Path, step: int) -> Checkpoint:
    content, data = _verified(folder, step)
    path, _ = _paths(folder, step)
    return Checkpoint(step, _parse_arrays(data), content.info, path, [])


def _content_on_disk(folder: Path, step: int) -> _Content | None:
    try:
        return _verified(folder, step)[0]
    except (CheckpointError, FileError):
        return None  # nothing that could be loaded, so nothing that could be lost


def _is_whole(folder: Path, step: int) -> bool:
    """Say whether a checkpoint has both its files, at the length it should have."""
    path, _ = _paths(folder, step)
    try:
        lengths = {content.length for content in _accepted(folder, step)}
        return path.stat().st_size in lengths
    except (CheckpointError, OSError):
        return False


def _remove_older(folder: Path, step: int, keep: int) -> None:
    """Remove what is older than the `keep` newest whole checkpoints up to `step`.

    Of those, data without a .json goes too: a save or a removal was killed there.
    """
    whole = 0
    names = files.names_in(folder)
    for older in reversed(_steps_in(folder)):
        if older > step:
            continue
        path, record_path = _paths(folder, older)
        if whole >= keep or record_path.name not in names:
            files.remove(record_path)
            files.remove(path)
        # What is damaged does not count, or it could push out the last sound one.
        elif _is_whole(folder, older):
            whole += 1
