"""Help, wrong usage, and the exit status of each."""

import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import pytest
from cli.command_line import fails, misused, succeeds, tinyvq
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
    group = " ".join(["tinyvq", *words[: words.index(unknown)]])
    listed = f"`{group} --help` lists them"
    assert result.err == f"error: there is no command {unknown}; {listed}\n"


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        *[("smaple", "sample"), ("train vqgna", "vqgan"), ("prof", "profile")],
        *[("data fech", "fetch"), ("comp", "complete or compile")],
    ],
)
def test_a_command_that_is_nearly_right_is_told(words: str, meant: str) -> None:
    result = tinyvq(*words.split())
    assert (result.status, result.out) == (2, "")
    typed = words.split()[-1]
    assert result.err == (f"error: there is no command {typed}; do you mean {meant}?\n")


@pytest.mark.parametrize(
    ("words", "usage"),
    [
        *[("sample", "[OPTIONS] RUN"), ("augment", "[OPTIONS] RUN")],
        *[("complete", "[OPTIONS] RUN"), ("interpolate", "[OPTIONS] RUN")],
        *[("evaluate", "[OPTIONS] RUN"), ("reconstruct", "[OPTIONS] RUN")],
        ("report", "RUN [--out PATH]"),
        (
            "encode",
            "RUN IMAGES --out PATH [--overwrite] [--fit] [--backend {cpu,cuda}]",
        ),
        ("decode", "RUN CODES --out PATH [--overwrite] [--backend {cpu,cuda}]"),
        *[("export", "RUN --out PATH [--half]"), ("data fetch", "NAME")],
        *[("emulate", "[OPTIONS] OP"), ("train prior", "[OPTIONS]")],
        ("gradcheck", "[NAME ...] [--cases INT] [--seed INT] [--json]"),
    ],
)
def test_usage_names_what_is_given(words: str, usage: str) -> None:
    first = succeeds(*words.split(), "--help").out.splitlines()[0]
    assert first == f"usage: tinyvq {words} [-h] {usage}"


@pytest.mark.parametrize("words", [word for word in WORDS if word != "bench"])
def test_no_help_shows_the_names_of_fields(words: str) -> None:
    out = succeeds(*words.split(), "--help").out
    groups = re.findall(r"╭─ (.*?) ─", out)
    told = {"positional arguments", "options"}
    assert set(groups) <= told | {
        f"{n} options" for n in ("image", "sampling", "training")
    }
    assert "{None" not in out


def test_the_help_of_a_prior_is_right_for_each_flag() -> None:
    out = " ".join(
        re.sub("[│─]", " ", succeeds("train", "prior", "--help").out).split()
    )
    assert (
        "--no-cosine Keep the learning rate from falling to 0 along half a cosine. "
        "(by default it falls)"
    ) in out
    assert re.search(r"--tokenizer RUN [^(]* \(required without --resume\)", out)
    assert "(default: '')" not in out


PICTURES = {
    "sample": "sample RUN",
    "complete": "complete RUN",
    "interpolate": "interpolate RUN",
    "reconstruct": "reconstruct RUN",
    "profile": "profile vqvae",
}


@pytest.mark.parametrize("command", PICTURES)
@pytest.mark.parametrize("name", ["b.jpg", "b.xyz", "b.png.npz"])
def test_a_picture_bears_the_name_of_a_png(command: str, name: str) -> None:
    """What is said comes before all work: there is no such run."""
    said = misused(*PICTURES[command].split(), "--out", name)
    assert f"--out must end in .png, got {name}" in said


def test_other_files_bear_the_name_of_their_kind() -> None:
    said = misused("encode", "RUN", "IMAGES", "--out", "b.png")
    assert "--out must end in .npz, got b.png" in said
    said = misused("report", "RUN", "--out", "b.png")
    assert "--out must end in .html or .htm, got b.png" in said


@pytest.mark.parametrize("name", ["b.png", "b.PNG", "b"])
def test_other_names_of_a_picture(name: str) -> None:
    assert fails("sample", "RUN", "--out", name).startswith("error: there is no RUN; ")


WRONG_VALUES = {
    "sample RUN --temperature -1": "--temperature must be at least 0 and finite",
    "sample RUN --temperature nan": "--temperature must be at least 0 and finite",
    "augment RUN --out x --temperature inf": "--temperature must be at least 0 and",
    "sample RUN --top-k 0": "--top-k must be at least 1, got 0",
    "complete RUN --top-p 0": "--top-p must be above 0 and at most 1, got 0.0",
    "sample RUN --top-p 1.5": "--top-p must be above 0 and at most 1, got 1.5",
    "sample RUN --grid 10": "--grid must be rows x columns, as 10x10, got '10'",
    "sample RUN --grid 0x5": "--grid must be rows x columns",
    "sample RUN --grid 101x100": "asks for 10,100 images in one picture, at most",
    "sample RUN --grid 999999999x999999999": "images in one picture, at most 10,000",
    "complete RUN --keep 1.5": "--keep must be in 0 .. 1, got 1.5",
    "complete RUN --count 0": "--count must be at least 1, got 0",
    "complete RUN --images 0": "--images must be at least 1, got 0",
    "complete RUN --count 9999": "one picture holds at most 10,000 images",
    "interpolate RUN --pairs 0": "--pairs must be at least 1, got 0",
    "interpolate RUN --steps 1": "--steps must be at least 2, got 1",
    "interpolate RUN --steps 9999": "one picture holds at most 10,000 images",
    "augment RUN --out x --per-class 0": "--per-class must be at least 1, got 0",
    "reconstruct RUN --out x --count 0": "--count must be at least 1, got 0",
    "evaluate RUN --judge inception": "no judge inception; there is: squeezenet1.1, ",
    "gradcheck add --cases 0": "--cases must be at least 1, got 0",
    "train vqvae --out x --steps 0": "--steps must be at least 1, got 0",
    "train prior --out x --width 0": "--width must be at least 1, got 0",
    "train prior --out x --clip nan": "--clip must be finite, got nan",
}


@pytest.mark.parametrize("words", WRONG_VALUES)
def test_a_wrong_value_is_wrong_usage_and_the_option_is_named(
    words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before all work: there is no such run."""
    monkeypatch.chdir(tmp_path)
    assert WRONG_VALUES[words] in misused(*words.split())
    assert list(tmp_path.iterdir()) == []


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
