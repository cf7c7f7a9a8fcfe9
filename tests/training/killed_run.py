"""tinyvq commands in processes that are killed at a chosen file-system call.

    with CommandServer() as server:
        ended = server.run(words, kill_at="write .config.json")

The server imports everything once and forks for each command, before any thread is
started; so a hundred kills take two minutes.
"""

import json
import os
import signal
import subprocess
import sys
import traceback
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import Any, BinaryIO

from training.faults import At, Call, Fault, injected
from training.run_examples import environment


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    status: int  # minus the signal that killed it
    err: str
    calls: list[str]  # the changes of files, "kind path", up to where it was killed
    audited: list[str]  # those that Python itself saw, "event path"; none if killed


class CommandServer:
    """Runs commands one after the other, each in a fork."""

    def __enter__(self) -> "CommandServer":
        self._process = subprocess.Popen(
            [sys.executable, "-m", "training.killed_run"],
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.communicate()
        assert self._process.returncode == 0

    def run(self, words: list[str], *, kill_at: At = None) -> Ended:
        """Run a command; kill -9 it at a call, named as in `FaultyOs`."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([words, kill_at]) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return Ended(**answer)


class _Told(list[Call]):
    """A list of calls that also tells each to a file, before it is done."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file = file

    def append(self, call: Call) -> None:
        super().append(call)
        self._file.write(f"{call.kind} {call.path}\n".encode())
        self._file.flush()


def _fork(words: list[str], kill_at: At) -> dict[str, Any]:
    with TemporaryFile() as err, TemporaryFile() as calls, TemporaryFile() as audited:
        child = os.fork()
        if child == 0:
            os.dup2(err.fileno(), 2)
            status = 70  # unless the command comes to its end
            try:
                status = _command(words, kill_at, calls, audited)
            finally:
                sys.stderr.flush()
                os._exit(status)
        _, status = os.waitpid(child, 0)
        return {
            "status": os.waitstatus_to_exitcode(status),
            "err": _read(err),
            "calls": _read(calls).splitlines(),
            "audited": _read(audited).splitlines(),
        }


def _read(file: BinaryIO) -> str:
    file.seek(0)
    return file.read().decode()


def _command(words: list[str], kill_at: At, calls: BinaryIO, audited: BinaryIO) -> int:
    from tinyvq.cli import main

    noted: list[str] = []
    sys.addaudithook(lambda event, args: _note(noted, event, args))
    with injected(kill_at, None if kill_at is None else Fault.KILL) as faulty:
        faulty.calls = _Told(calls)
        try:
            status = main(words)
        except SystemExit as stop:
            status = int(str(stop.code))
        except BaseException:
            traceback.print_exc()
            status = 70
    audited.write("\n".join(noted).encode())
    audited.flush()
    return status


def _note(audited: list[str], event: str, args: Any) -> None:
    writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT
    changing = event in ("os.rename", "os.remove", "os.mkdir", "os.truncate")
    if changing or (event == "open" and args[2] & writing):
        audited.append(f"{event} {args[0]}")


def _serve() -> None:
    import matplotlib.backends.backend_agg
    import matplotlib.figure
    import PIL.PngImagePlugin
    import safetensors.numpy

    from tinyvq.cli import _codes, _train

    assert [matplotlib, PIL, safetensors, _codes, _train]  # loaded, for the forks
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    for line in sys.stdin:
        print(json.dumps(_fork(*json.loads(line))), flush=True)


if __name__ == "__main__":
    _serve()
