import errno
import os
import stat
from pathlib import Path

import pytest
from training.faults import Fault, injected, states_after_power_loss

from tinyvq import files
from tinyvq.errors import FileError

OLD, NEW = b"old bytes", b"the new bytes, and more of them"


def calls_of_a_write(folder: Path) -> int:
    with injected() as faulty:
        files.write_atomically(folder / "counted", NEW)
    (folder / "counted").unlink()
    return len(faulty.calls)


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def test_write_atomically_makes_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "file"
    files.write_atomically(path, OLD)
    files.write_atomically(str(path), NEW)
    assert path.read_bytes() == NEW
    assert names(tmp_path) == ["file"]


def test_write_atomically_takes_the_steps_in_their_order(tmp_path: Path) -> None:
    with injected() as faulty:
        files.write_atomically(tmp_path / "file", NEW)
    assert [call.kind for call in faulty.calls] == [
        *["open", "write", "fsync", "close", "replace"],
        *["open folder", "fsync folder", "close"],
    ]
    temporary = Path(faulty.calls[0].path)
    assert temporary.parent == tmp_path
    assert temporary.name.endswith(files.TEMPORARY_SUFFIX)


def test_a_written_file_has_the_usual_permissions(tmp_path: Path) -> None:
    umask = os.umask(0o027)
    try:
        files.write_atomically(tmp_path / "file", NEW)
    finally:
        os.umask(umask)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640


@pytest.mark.parametrize("fault", [f for f in Fault if f is not Fault.KILL])
def test_a_fault_at_any_call_leaves_the_old_file_or_the_new(
    tmp_path: Path, fault: Fault
) -> None:
    path = tmp_path / "file"
    path.write_bytes(OLD)
    for at in range(calls_of_a_write(tmp_path)):
        path.write_bytes(OLD)
        with injected(at, fault) as faulty:
            if fault is Fault.SHORT:
                files.write_atomically(path, NEW)
            else:
                with pytest.raises(FileError, match=f"cannot write {path}: "):
                    files.write_atomically(path, NEW)
        kinds = [call.kind for call in faulty.calls[:at]]
        replaced = "replace" in kinds or (
            fault is Fault.LATE_ERROR and faulty.calls[at].kind == "replace"
        )
        is_new = replaced or fault is Fault.SHORT
        assert path.read_bytes() == (NEW if is_new else OLD), (at, fault)
        # No one can remove what an `open` has made and disowned, or from a dead disk.
        if fault is not Fault.DEAD and (at, fault) != (0, Fault.LATE_ERROR):
            assert names(tmp_path) == ["file"]
        files.remove_leftovers(tmp_path)
        assert names(tmp_path) == ["file"]


def test_power_loss_at_any_call_leaves_the_old_file_or_the_new(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(OLD)
    with injected() as faulty:
        files.write_atomically(tmp_path / "file", NEW)
    seen = set()
    for done, state in states_after_power_loss({"file": OLD}, faulty.calls):
        assert state["file"] in (OLD, NEW)
        assert state["file"] == NEW or done < len(faulty.calls)
        seen.add(state["file"])
    assert seen == {OLD, NEW}


def test_an_interrupt_leaves_no_temporary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(fd: int) -> None:
        raise KeyboardInterrupt

    (tmp_path / "file").write_bytes(OLD)
    monkeypatch.setattr(files.os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        files.write_atomically(tmp_path / "file", NEW)
    assert names(tmp_path) == ["file"]
    assert (tmp_path / "file").read_bytes() == OLD


def test_a_folder_that_cannot_be_synced_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fsync

    def fsync(fd: int) -> None:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        real(fd)

    monkeypatch.setattr(files.os, "fsync", fsync)
    files.write_atomically(tmp_path / "file", NEW)
    assert (tmp_path / "file").read_bytes() == NEW


def test_a_symlink_is_followed(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(OLD)
    (tmp_path / "link").symlink_to("file")
    files.write_atomically(tmp_path / "link", NEW)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_bytes() == NEW


def test_only_a_file_can_be_replaced(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for place in ("folder", "pipe"):
        with pytest.raises(FileError, match="it is there and is not a file"):
            files.write_atomically(tmp_path / place, NEW)
    assert names(tmp_path) == ["folder", "pipe"]


@pytest.mark.parametrize("name", ["/proc/tinyvq", "FILE/below", "MISSING/x", "n" * 300])
def test_an_unwritable_place_is_named_with_the_reason(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / "FILE").write_bytes(OLD)
    path = tmp_path / name
    reason = r"(No such file or directory|Not a directory|File name too long)"
    for write in (files.write_atomically, files.append):
        with pytest.raises(FileError, match=f"cannot write {path}: {reason}$"):
            write(path, NEW)
    assert names(tmp_path) == ["FILE"]


def test_append_adds(tmp_path: Path) -> None:
    files.append(tmp_path / "file", b"one")
    files.append(tmp_path / "file", b"two")
    files.sync(tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"onetwo"


@pytest.mark.parametrize("fault", [Fault.ERROR, Fault.FULL, Fault.SHORT])
def test_a_failed_append_is_taken_back(tmp_path: Path, fault: Fault) -> None:
    path = tmp_path / "file"
    path.write_bytes(OLD)
    with injected(1, fault) as faulty:
        if fault is Fault.SHORT:
            files.append(path, NEW)
        else:
            with pytest.raises(FileError, match=f"cannot write {path}: "):
                files.append(path, NEW)
    assert faulty.calls[1].kind == "write"
    assert path.read_bytes() == (OLD + NEW if fault is Fault.SHORT else OLD)


def test_make_folder_makes_those_above_and_syncs_each(tmp_path: Path) -> None:
    with injected() as faulty:
        files.make_folder(tmp_path / "a" / "b")
        files.make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    synced = [call.path for call in faulty.calls if call.kind == "fsync folder"]
    assert synced == [str(tmp_path), str(tmp_path / "a")]


def test_make_folder_in_an_impossible_place(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(OLD)
    for path in ("file", "file/below", "/proc/tinyvq"):
        with pytest.raises(FileError, match="cannot make the folder "):
            files.make_folder(tmp_path / path)


def test_remove_leftovers_takes_temporaries_alone(tmp_path: Path) -> None:
    with injected(4, Fault.DEAD), pytest.raises(FileError):
        files.write_atomically(tmp_path / "one", NEW)
    with injected(4, Fault.DEAD), pytest.raises(FileError):
        files.write_atomically(tmp_path / "two", NEW)
    (tmp_path / "three").write_bytes(OLD)
    (tmp_path / ".four.tmp").write_bytes(OLD)
    assert len(names(tmp_path)) == 4
    files.remove_leftovers(tmp_path, "one")
    assert len(names(tmp_path)) == 3
    files.remove_leftovers(tmp_path)
    assert names(tmp_path) == [".four.tmp", "three"]


def test_remove_of_what_is_not_there(tmp_path: Path) -> None:
    files.remove(tmp_path / "nothing")
    with pytest.raises(FileError, match=f"cannot remove {tmp_path}: "):
        files.remove(tmp_path)


def test_read_bytes_refuses_what_is_too_large_or_no_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(OLD)
    assert files.read_bytes(path, len(OLD)) == OLD
    with pytest.raises(FileError, match="it holds 9 bytes, expected at most 8"):
        files.read_bytes(path, len(OLD) - 1)
    with open(path, "wb") as file:
        file.truncate(2**40)  # sparse
    with pytest.raises(FileError, match="it holds 1099511627776 bytes"):
        files.read_bytes(path, 1000)
    os.mkfifo(tmp_path / "pipe")
    for name in (".", "pipe"):
        with pytest.raises(FileError, match="it is not a file"):
            files.read_bytes(tmp_path / name, 1000)
    with pytest.raises(FileError, match="No such file or directory"):
        files.read_bytes(tmp_path / "missing", 1000)


def test_too_little_memory_is_a_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(*_: object) -> None:
        raise MemoryError

    (tmp_path / "file").write_bytes(OLD)
    monkeypatch.setattr(files, "open", no_memory, raising=False)
    with pytest.raises(FileError, match=r"cannot read .*file: not enough memory"):
        files.read_bytes(tmp_path / "file", 1000)


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"NaN", b"-Infinity", b"\xff", b"[" * 100_000, b"9" * 5000, b"{} {}"],
    ids=lambda text: repr(text[:9]),
)
def test_parse_json_is_strict(text: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (the reasons are Python's own)
        files.parse_json(text)


def test_parse_json_reads_json() -> None:
    assert files.parse_json(b'{"a": [1, 0.5, null]}') == {"a": [1, 0.5, None]}


def fill(path: Path) -> None:
    with files.new_folder(path) as made:
        files.write_atomically(made / "one", NEW)
        files.make_folder(made / "below")
        files.write_atomically(made / "below" / "two", NEW)


def test_new_folder_stands_there_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "above" / "new"
    with files.new_folder(path) as made:
        assert names(tmp_path / "above") == [made.name]
        (made / "file").write_bytes(NEW)
    assert names(tmp_path / "above") == ["new"]
    assert (path / "file").read_bytes() == NEW


@pytest.mark.parametrize(
    "fault", [Fault.ERROR, Fault.LATE_ERROR, Fault.FULL, Fault.DEAD]
)
def test_a_fault_at_any_call_leaves_no_new_folder_or_the_whole(
    tmp_path: Path, fault: Fault
) -> None:
    with injected() as faulty:
        fill(tmp_path / "counted")
    kinds = [call.kind for call in faulty.calls]
    renamed = len(kinds) - 1 - kinds[::-1].index("replace")
    for at in range(len(kinds)):
        path = tmp_path / f"{at}" / "new"
        path.parent.mkdir()
        with injected(at, fault), pytest.raises(FileError):
            fill(path)
        late = fault is Fault.LATE_ERROR
        whole = at > renamed or (at == renamed and late)
        assert path.exists() == whole, at
        if whole:
            assert names(path) == ["below", "one"]
            assert names(path / "below") == ["two"]
        if (at, late) != (0, True):  # no one knows that this folder was made
            assert names(path.parent) == (["new"] if whole else [])


def test_new_folder_takes_no_place_of_another(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(OLD)
    (tmp_path / "link").symlink_to("nowhere")
    for name in ("folder", "file", "link"):
        with pytest.raises(FileError, match=f"{name}: it is there already"):
            fill(tmp_path / name)

    def fill_too_late() -> None:
        with files.new_folder(tmp_path / "late"):
            (tmp_path / "late").mkdir()
            (tmp_path / "late" / "file").write_bytes(OLD)

    # What somebody made and filled meanwhile stays as it is.
    with pytest.raises(FileError, match=r"cannot make the folder .*late: "):
        fill_too_late()
    assert names(tmp_path) == ["file", "folder", "late", "link"]
    assert names(tmp_path / "late") == ["file"]


def test_an_interrupt_leaves_no_new_folder(tmp_path: Path) -> None:
    def fill_halfway() -> None:
        with files.new_folder(tmp_path / "new") as made:
            (made / "file").write_bytes(NEW)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fill_halfway()
    assert names(tmp_path) == []
