"""`tinyvq profile`: its table, its object, its picture, and what it refuses."""

import json
from pathlib import Path
from typing import Any

import pytest
from cli.command_line import fails, figures, succeeds, tinyvq
from required import library

from tinyvq.profiling import Machine

library("tyro")
Image = library("PIL.Image")

from tinyvq.cli import _profile  # noqa: E402

SMALL: tuple[object, ...] = (
    *("--hidden", 4, "--code-dim", 2, "--num-codes", 6),
    *("--batch-size", 2, "--image-size", 8, "--channels", 1, "--steps", 2),
)
# conv: three convolutions down and one to codes, one up and two transposed; two
# residual blocks each way, of 3×3 and 1×1, with a ReLU before both and one behind the
# stack.
CALLS = {
    "Conv2d 3×3": (6, 6),
    "Conv2d 1×1": (5, 5),
    "Conv2d 4×4 stride 2": (2, 2),
    "ConvTranspose2d 4×4 stride 2": (2, 2),
    "ReLU": (13, 13),
    "Add": (5, 5),
    "Div": (1, 1),
    "Embedding": (1, 0),  # codes are running means: no gradient goes there
    "MSELoss": (1, 1),
    "StraightThrough": (1, 1),
    "VQLoss": (1, 1),
}
# Of 2 images 8×8×1: to 4×4×2, then to 2×2×4. The images themselves need no gradient.
FIRST, SECOND = 2 * (2 * 4 * 4) * 16 * 1 * 2, 2 * (2 * 2 * 2) * 16 * 2 * 4
DOWN = (FIRST + SECOND, FIRST + 2 * SECOND)
UP = (FIRST + SECOND, 2 * (FIRST + SECOND))


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Stand in for measuring, which takes seconds."""
    found = Machine("Some Processor", 1, flops=1e11, bandwidth=1e10)
    monkeypatch.setattr(_profile, "measure_machine", lambda: found)
    return found


@pytest.fixture(autouse=True)
def brief_warmup(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_profile, "WARMUP", 1)


def test_the_object_has_every_op(machine: Machine) -> None:
    result = succeeds("profile", "vqvae", *SMALL, "--json")
    found: dict[str, Any] = figures(result)
    ops = found["ops"]
    assert {
        name: (op["forward"]["calls"], op["backward"]["calls"])
        for name, op in ops.items()
    } == CALLS
    down, up = ops["Conv2d 4×4 stride 2"], ops["ConvTranspose2d 4×4 stride 2"]
    assert (down["forward"]["flops"], down["backward"]["flops"]) == DOWN
    assert (up["forward"]["flops"], up["backward"]["flops"]) == UP
    seconds = {
        name: op["forward"]["seconds"] + op["backward"]["seconds"]
        for name, op in ops.items()
    }
    assert sum(seconds.values()) == pytest.approx(found["seconds_in_ops"])
    assert found["seconds_in_ops"] < found["seconds"]
    assert list(seconds.values()) == sorted(seconds.values(), reverse=True)
    moved = sum(down[way][what] for way in ("forward", "backward") for what in MOVED)
    least = max(sum(DOWN) / 1e11, moved / 1e10)
    name = "Conv2d 4×4 stride 2"
    assert down["share_of_roof"] == pytest.approx(least / seconds[name])
    assert down["flops_per_second"] == pytest.approx(sum(DOWN) / seconds[name])
    assert down["share_of_step"] == pytest.approx(seconds[name] / found["seconds"])
    assert found["machine"]["name"] == machine.name
    assert found["ran"] == {
        **{"kind": "vqvae", "model": "conv", "quantizer": "ema", "batch_size": 2},
        **{"image_shape": [8, 8, 1], "steps": 2},
    }
    assert found["peak_memory"] > 0
    assert found["kernels_outside_ops"].keys() == OUTSIDE


OUTSIDE = {"adam", "nearest_code", "code_sums", "running_means", "square_sum"}
MOVED = ("read", "written")


def test_the_table_has_a_line_an_op_and_what_is_outside() -> None:
    out = succeeds("profile", "vqvae", *SMALL).out
    head, _, rest = out.partition("\n\n")
    assert head.splitlines() == [
        "vqvae conv, one step on 2 images 8×8×1: the mean of 2",
        "Some Processor, 1 thread: at most 100 GFLOP/s, 10.0 GB/s",
    ]
    table, _, below = rest.partition("\n\n")
    title, *lines = table.splitlines()
    assert title.split()[:4] == ["op", "calls", "forward", "backward"]
    assert len(lines) == len(CALLS)
    for line in lines:
        assert len(line) == len(title)
        name = next(name for name in CALLS if line.startswith(f"{name} "))
        calls, *numbers = line.removeprefix(name).split()
        assert calls == "{}/{}".format(*CALLS[name])
        assert len(numbers) == 8
        if name == "Conv2d 4×4 stride 2":
            assert float(numbers[3]) == round(sum(DOWN) / 1e6, 2)
    firsts = [line.strip().partition("  ")[0] for line in below.splitlines()]
    assert firsts[:3] == ["the step, ms", "in ops", "outside ops"]
    assert set(firsts[3:-2]) == OUTSIDE
    assert firsts[-2:] == ["the rest", "peak memory, MB"]
    times = [float(line[20:].split()[-2]) for line in below.splitlines()[:3]]
    assert times[0] == pytest.approx(times[1] + times[2], abs=0.011)


def test_both_sides_of_a_vqgan_are_profiled() -> None:
    words = ("profile", "vqgan", "--model", "conv", *SMALL)
    words = (*words, "--image-size", 16, "--json")
    found: dict[str, Any] = figures(succeeds(*words))
    assert found["ran"]["kind"] == "vqgan"
    ops = found["ops"]
    # Real and made images go by the discriminator in its own step, made ones also in
    # the generator's.
    assert ops["LeakyReLU"]["forward"]["calls"] > 3
    assert ops["LeakyReLU"]["backward"]["calls"] > 3
    assert ops["Conv2d 4×4 stride 2"]["forward"]["calls"] > 2


def test_a_picture_is_drawn(tmp_path: Path) -> None:
    path = tmp_path / "profile.png"
    result = succeeds("profile", "vqvae", *SMALL, "--json", "--out", path)
    assert result.err.endswith(f"wrote {path}\n")
    json.loads(result.out)
    with Image.open(path) as picture:
        assert (picture.format, picture.width) == ("PNG", 1200)


def test_images_of_ones_own(images: Path) -> None:
    words = ("--batch-size", 2, "--steps", 1, "--hidden", 4, "--json")
    found: dict[str, Any] = figures(
        succeeds("profile", "vqvae", "--data", images, *words)
    )
    assert found["ran"]["image_shape"] == [16, 16, 1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--steps", 0), "--steps must be at least 1, got 0"),
        (("--batch-size", 0), "--batch-size must be at least 1, got 0"),
        (("--image-size", -4), "--image-size must be at least 1, got -4"),
        (("--channels", 2), "--channels"),
        (("--model", "big"), "--model"),
        (("--nothing",), "--nothing"),
    ],
)
def test_wrong_options_are_wrong_usage(words: tuple[object, ...], message: str) -> None:
    result = tinyvq("profile", "vqvae", *words)
    assert (result.status, result.out) == (2, "")
    assert "Traceback" not in result.err
    assert sum(message in line for line in result.err.splitlines()) == 1


def test_what_cannot_be_done_is_said_before_any_step(tmp_path: Path) -> None:
    missing = tmp_path / "missing" / "profile.png"
    said = fails("profile", "vqvae", *SMALL, "--out", missing)
    assert said == f"error: cannot write {missing}: there is no such folder"
    assert "30" in fails("profile", "vqvae", "--image-size", 30)
    missing = tmp_path / "nothing"
    assert "neither a file or folder" in fails("profile", "vqvae", "--data", missing)
