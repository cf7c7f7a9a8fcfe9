"""Faults at every single file-system call: errors, a full disk, kills, power loss.

`FaultyOs` takes the place of `os` in `tinyvq.files`, through which every change to the
disk goes. It counts the calls, and at one of them lets happen what disks and people do.
"""

import contextlib
import dataclasses
import enum
import errno
import itertools
import json
import os
import resource
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from training.checkpoint_examples import save_example

from tinyvq import files
from tinyvq.errors import TinyvqError


class Fault(enum.Enum):
    """What happens at the chosen call. A write gets half of its bytes written first."""

    ERROR = enum.auto()  # EIO, once; the call has had no effect
    LATE_ERROR = enum.auto()  # EIO, once; the call has had its effect (network disks)
    FULL = enum.auto()  # ENOSPC, here and at every later call that needs space
    DEAD = enum.auto()  # EIO, here and at every later call
    SHORT = enum.auto()  # a write takes half and says so; nothing else happens
    KILL = enum.auto()  # kill -9


@dataclasses.dataclass(frozen=True)
class Call:
    kind: str  # the function's name; "fsync folder" and "open folder" set apart
    path: str
    data: bytes = b""  # of a write
    target: str = ""  # of a replace


At = int | str | None  # which call: its number from 0, or words that it must show


class FaultyOs:
    """The module `os`, but one of the calls that change files fails.

    at   its number, from 0; or words such as "write .config.json": the first call with
         all of them in its kind and its path
    """

    def __init__(self, at: At = None, fault: Fault | None = None) -> None:
        self.at = at
        self.fault = fault
        self.struck = False
        self.calls: list[Call] = []
        self._paths: dict[int, str] = {}  # of open descriptors

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)  # what only reads, and constants

    def open(self, path: Any, flags: int, mode: int = 0o777) -> int:
        kind = "open" if flags & (os.O_WRONLY | os.O_RDWR) else "open folder"
        if kind == "open folder":
            assert flags & os.O_DIRECTORY
        call = Call(kind, os.fspath(path))
        fd: int = self._do(call, lambda: os.open(path, flags, mode))
        self._paths[fd] = call.path
        return fd

    def write(self, fd: int, data: Any) -> int:
        half = data[: len(data) // 2]
        call = Call("write", self._paths[fd], bytes(data))
        return self._do(call, lambda: os.write(fd, data), lambda: os.write(fd, half))

    def fsync(self, fd: int) -> None:
        # Not done: kills do not need it, and it would be most of the tests' time.
        is_folder = stat.S_ISDIR(os.fstat(fd).st_mode)
        kind = "fsync folder" if is_folder else "fsync"
        self._do(Call(kind, self._paths[fd]), lambda: None)

    def close(self, fd: int) -> None:
        # A close that fails has closed nevertheless.
        call = Call("close", self._paths.pop(fd))
        self._do(call, lambda: os.close(fd), lambda: os.close(fd))

    def replace(self, source: Any, target: Any) -> None:
        call = Call("replace", os.fspath(source), target=os.fspath(target))
        self._do(call, lambda: os.replace(source, target))

    def unlink(self, path: Any) -> None:
        self._do(Call("unlink", os.fspath(path)), lambda: os.unlink(path))

    def mkdir(self, path: Any) -> None:
        self._do(Call("mkdir", os.fspath(path)), lambda: os.mkdir(path))

    def ftruncate(self, fd: int, length: int) -> None:
        call = Call("ftruncate", self._paths[fd])
        self._do(call, lambda: os.ftruncate(fd, length))

    def _is_it(self, call: Call) -> bool:
        if isinstance(self.at, str):
            shown = f"{call.kind} {call.path}"
            return all(word in shown for word in self.at.split(" "))
        return len(self.calls) == self.at

    def _do(
        self,
        call: Call,
        whole: Callable[[], Any],
        half: Callable[[], Any] = lambda: None,
    ) -> Any:
        later = self.struck
        here = not later and self._is_it(call)
        self.struck = here or later
        self.calls.append(call)
        fault = self.fault
        if here and fault is Fault.SHORT and call.kind == "write":
            return half()
        if here and fault is Fault.KILL:
            half()
            os.kill(os.getpid(), signal.SIGKILL)
        if here and fault is Fault.LATE_ERROR:
            with contextlib.suppress(OSError):
                result = whole()
                if call.kind.startswith("open"):
                    os.close(result)
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        if (here and fault is Fault.ERROR) or ((here or later) and fault is Fault.DEAD):
            half()
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        needs_space = call.kind in {"open", "write", "fsync", "replace", "mkdir"}
        if (here or (later and needs_space)) and fault is Fault.FULL:
            half()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return whole()


@contextlib.contextmanager
def injected(at: At = None, fault: Fault | None = None) -> Iterator[FaultyOs]:
    """Put a FaultyOs in the place of `os`; without arguments it only counts."""
    faulty = FaultyOs(at, fault)
    real = files.os
    files.os = faulty  # type: ignore[assignment]
    try:
        yield faulty
    finally:
        files.os = real


def states_after_power_loss(
    before: dict[str, bytes], calls: Sequence[Call]
) -> Iterator[tuple[int, dict[str, bytes]]]:
    """What one folder may hold if the power fails after some of the calls.

    before  the folder's files, all on the disk
    ->      (number of calls done, the folder's files), all possibilities

    The disk is as unkind as POSIX allows: of what was written and not fsynced, nothing,
    half or all is there; of the names made, moved and removed since the folder's last
    fsync, any subset is.
    """
    written = dict(enumerate(before.values()))  # file number -> bytes
    synced = dict(written)
    names = {name: number for number, name in enumerate(before)}
    durable = dict(names)
    pending: list[dict[str, int | None]] = []  # changes of names since the last fsync

    def possibilities() -> Iterator[dict[str, bytes]]:
        torn = [number for number in written if written[number] != synced[number]]
        fates = [
            [synced[number], written[number][: len(written[number]) // 2],
             written[number]]
            for number in torn
        ]  # fmt: skip
        for chosen in itertools.product([False, True], repeat=len(pending)):
            entries: dict[str, int | None] = dict(durable)
            for change in itertools.compress(pending, chosen):
                entries |= change
            for fate in itertools.product(*fates):
                content = synced | dict(zip(torn, fate, strict=True))
                yield {
                    name: content[number]
                    for name, number in entries.items()
                    if number is not None
                }

    yield from ((0, state) for state in possibilities())
    for done, call in enumerate(calls, start=1):
        name = os.path.basename(call.path)
        change: dict[str, int | None] = {}
        match call.kind:
            case "open":
                assert name not in names, "a file that exists was opened for writing"
                number = len(written)
                written[number] = synced[number] = b""
                change = {name: number}
            case "write":
                written[names[name]] += call.data
            case "fsync":
                synced[names[name]] = written[names[name]]
            case "replace":
                change = {name: None, os.path.basename(call.target): names[name]}
            case "unlink":
                change = {name: None}
            case "fsync folder":
                durable, pending = dict(names), []
        if change:
            pending.append(change)
            merged = {**names, **change}
            names = {key: value for key, value in merged.items() if value is not None}
        yield from ((done, state) for state in possibilities())


@dataclasses.dataclass(frozen=True)
class Job:
    """A save in a process of its own, which may not survive it."""

    folder: str
    step: int
    seed: int
    kill_at: int | None = None  # call number
    file_size_limit: int | None = None  # bytes: what makes a disk full, even for root
    audit: bool = False


@dataclasses.dataclass(frozen=True)
class Outcome:
    signal: int  # 0: not killed
    error: str  # of a TinyvqError
    audited: list[str]  # changes of files that Python itself saw
    counted: list[str]  # changes of files that FaultyOs saw


def run_jobs(jobs: Sequence[Job]) -> list[Outcome]:
    """Run each job in a fork of one fresh process, which has a single thread."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "OPENBLAS_NUM_THREADS": "1",
    }
    finished = subprocess.run(
        [sys.executable, "-m", "training.faults"],
        input=json.dumps([dataclasses.asdict(job) for job in jobs]),
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return [Outcome(**outcome) for outcome in json.loads(finished.stdout)]


def _fork(job: Job) -> Outcome:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        answer = _run(job)
        os.write(writer, json.dumps(answer).encode())
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as pipe:
        answer = json.loads(pipe.read() or b'["", [], []]')
    _, status = os.waitpid(child, 0)
    return Outcome(os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0, *answer)


def _run(job: Job) -> tuple[str, list[str], list[str]]:
    audited: list[str] = []
    if job.file_size_limit is not None:
        sys.dont_write_bytecode = True  # or compiled modules would be cut short, too
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (job.file_size_limit, hard))
    if job.audit:
        sys.addaudithook(lambda event, args: _note(audited, job.folder, event, args))
    error = ""
    with injected(job.kill_at, Fault.KILL) as faulty:
        try:
            save_example(Path(job.folder), job.step, job.seed)
        except TinyvqError as caught:
            error = str(caught)
    changes = {"open", "replace", "unlink", "mkdir", "ftruncate"}
    counted = [call.kind for call in faulty.calls if call.kind in changes]
    return error, audited, counted


def _note(audited: list[str], folder: str, event: str, args: Any) -> None:
    """Keep the events that change files under `folder`."""
    kinds = {
        "os.rename": "replace",
        "os.remove": "unlink",
        "os.mkdir": "mkdir",
        "os.truncate": "ftruncate",
        "os.link": "link",
        "os.symlink": "symlink",
        "os.rmdir": "rmdir",
        "open": "open",
    }
    if event not in kinds or not str(args[0]).startswith(folder):
        return
    if event == "open" and not args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        return
    audited.append(kinds[event])


if __name__ == "__main__":
    outcomes = [_fork(Job(**job)) for job in json.load(sys.stdin)]
    json.dump([dataclasses.asdict(outcome) for outcome in outcomes], sys.stdout)
