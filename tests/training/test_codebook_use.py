"""When the user is told that a codebook collapses."""

import pytest

from tinyvq.training.codebook_use import CollapseWatch


def test_a_collapse_is_told_once_until_it_has_recovered(
    capsys: pytest.CaptureFixture[str],
) -> None:
    watch = CollapseWatch()
    for used in (1, 1, 15, 1):
        watch.look(used, 20, "Do this", positions=1000)
    line = "only 1 of 20 codes are in use: the codebook collapses. Do this\n"
    assert capsys.readouterr().err == 2 * line


def test_few_positions_are_no_collapse(capsys: pytest.CaptureFixture[str]) -> None:
    watch = CollapseWatch()
    watch.look(40, 512, "", positions=40)  # each chose another: all that there can be
    watch.look(4, 512, "", positions=40)
    assert capsys.readouterr().err == ""
    watch.look(3, 512, "", positions=40)
    assert capsys.readouterr().err.startswith("only 3 of 512 codes are in use")
