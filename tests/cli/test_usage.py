"""Help, wrong usage, and the exit status of each."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
from cli.command_line import succeeds, tinyvq
from training.run_examples import environment

from tinyvq import cli as package
from tinyvq.cli import COMMANDS
from tinyvq.training.options import option
from tinyvq.training.vqvae import VQVAEOptions

WORDS = [
    word if isinstance(found, tuple) else f"{word} {inner}"
    for word, found in COMMANDS.items()
    for inner in ([""] if isinstance(found, tuple) else found)
]


@pytest.mark.parametrize("words", [word for word in WORDS if word != "bench"])
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_every_command_has_help(words: str, flag: str) -> None:
    result = succeeds(*words.split(), flag)
    assert f"usage: tinyvq {words}" in result.out
    assert result.err == ""


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"], ["train"], ["data", "-h"]])
def test_help_lists_the_commands(words: list[str]) -> None:
    out = succeeds(*words).out
    group = [word for word in words if not word.startswith("-")]
    listed = COMMANDS[group[0]] if group else COMMANDS
    for name in listed:
        assert f"\n  {name}" in out


def test_the_help_of_train_shows_every_option() -> None:
    out = succeeds("train", "vqvae", "--help").out
    for field in dataclasses.fields(VQVAEOptions):
        assert f"{option(field.name)} " in out
    assert "--resume" in out
    assert "--no-" not in out


@pytest.mark.parametrize(
    "words", [["nothing"], ["train", "nothing"], ["--version", ""]]
)
def test_an_unknown_command_is_wrong_usage(words: list[str]) -> None:
    result = tinyvq(*words)
    assert (result.status, result.out) == (2, "")
    unknown = words[0] if words[0].startswith("-") else words[-1]
    assert result.err.startswith(f"error: there is no command '{unknown}'\n\nusage: ")


@pytest.mark.parametrize(
    "words",
    [
        "train vqvae",
        "train vqvae --out",
        "train vqvae --out x --nothing 3",
        "train vqvae --out x --lr fast",
        "train vqvae --out x --steps 1.5",
        "train vqvae --out x --steps 0",
        "train vqvae --out x --model big",
        "train vqvae --out x --channels 2",
        "train vqvae --out x --quantizer best",
        "train vqvae x",
        "evaluate",
        "evaluate x y",
        "evaluate x --split all",
        "reconstruct x",
        "reconstruct x --out y --count many",
        "encode x",
        "encode x y",
        "decode x y",
        "export x",
        "export --out y",
        "data list now",
        "data fetch",
        "gradcheck --cases many",
        "compile now",
        "demo now",
    ],
)
def test_wrong_usage(
    words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = tinyvq(*words.split())
    assert (result.status, result.out) == (2, "")
    assert "Traceback" not in result.err
    assert result.err.strip()
    assert list(tmp_path.iterdir()) == []


def test_wrong_usage_of_a_resume(trained: Path) -> None:
    words = ("train", "vqvae", "--out", trained, "--resume")
    assert tinyvq(*words, "--nothing", 3).status == 2
    assert tinyvq(*words, "--steps", 0).status == 2


def run(*words: object, module: str = "tinyvq") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module, *[str(word) for word in words]],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_status_is_that_of_the_process(tmp_path: Path) -> None:
    assert run("--help").returncode == 0
    assert run("nothing").returncode == 2
    missing = run("evaluate", tmp_path / "missing")
    assert missing.returncode == 1
    assert missing.stdout == ""
    assert missing.stderr.count("\n") == 1


def test_a_reader_that_goes_away_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object) -> int:
        raise BrokenPipeError

    monkeypatch.setattr(package, "_dispatch", broken)
    result = tinyvq("data", "list")
    assert (result.status, result.out, result.err) == (141, "", "")


def test_help_needs_no_compiled_kernels_nor_figures() -> None:
    """Nor does it wait for them: only what a command uses is loaded."""
    program = (
        "import sys; from tinyvq.cli import main\n"
        "assert main(['--help']) == 0\n"
        "print(sorted({'matplotlib', 'PIL', 'tyro', 'torch'} & sys.modules.keys()))"
    )
    finished = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert finished.stdout.splitlines()[-1] == "[]"
