"""Where compiled kernels are kept, and what is said where that cannot be."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

WHERE = (
    "from tinyvq_kernels._jit import CACHE_DIR; print(CACHE_DIR, CACHE_DIR.is_dir())"
)


def child(**variables: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)} | variables
    return subprocess.run(
        [sys.executable, "-c", WHERE],
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )


def test_the_folder_that_is_named_is_used(tmp_path: Path) -> None:
    found = child(TINYVQ_CACHE_DIR=str(tmp_path / "new"))
    assert found.stdout.startswith(f"{tmp_path / 'new'}/kernels-")
    assert not found.stderr


@pytest.mark.parametrize("variable", ["TINYVQ_CACHE_DIR", "XDG_CACHE_HOME"])
def test_another_serves_where_it_cannot_be_written(
    variable: str, tmp_path: Path
) -> None:
    named = tmp_path / "file" / "cache"
    named.parent.write_text("mine")
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    found = child(
        **{"TINYVQ_CACHE_DIR": "", variable: str(named), "TMPDIR": str(temporary)}
    )
    assert found.stdout.startswith(f"{temporary}/tinyvq-kernels-")
    assert found.stdout.endswith(" True\n")
    assert f"{named}" in found.stderr
    assert "cannot be written (Not a directory)" in found.stderr
    assert not list(temporary.iterdir())
