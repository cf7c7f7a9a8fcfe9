"""The helper that plants bugs plants what it was told, and nothing else."""

import inspect

import numpy as np
import pytest
import testing.right_ops
from testing.mutants import mutated, planted
from testing.right_ops import Conv1d, Square, op


def value(square: type, x: float) -> float:
    return float(op(square)(np.array([x])).array[0])


def test_a_mutant_is_the_same_class_with_one_line_changed() -> None:
    cube = mutated(Square, "return x * x", "return x * x * x")
    assert value(cube, 2.0) == 8.0
    assert value(Square, 2.0) == 4.0
    assert cube.__name__ == "Square"
    assert cube is not Square


def test_settings_survive() -> None:
    mutant = mutated(Conv1d, "start = p * self.stride", "start = p")
    assert mutant(stride=2, padding=0) == mutant(2, 0)
    assert inspect.signature(mutant) == inspect.signature(Conv1d)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("ctx", "ctx_", "occurs 4 times"),
        ("no such line", "", "occurs 0 times"),
        ("return x * x", "return x * x", "changes something"),
        ("return x * x\n", "return 0", "one line"),
    ],
)
def test_a_vague_mutation_is_refused(old: str, new: str, says: str) -> None:
    with pytest.raises(AssertionError, match=says):
        mutated(Square, old, new)


def test_a_planted_mutant_stands_in_the_module_and_goes_again() -> None:
    with planted(Square, "return x * x", "return -x"):
        assert value(testing.right_ops.Square, 2.0) == -2.0
    assert testing.right_ops.Square is Square
