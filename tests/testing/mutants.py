"""Planted bugs: copies of a Function class with one line changed."""

import inspect
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager

from tinyvq.function import Function


def mutated(function_class: type[Function], old: str, new: str) -> type[Function]:
    """Copy a Function class from its source text, with `new` where `old` stands.

    `old` must occur exactly once, within a line.
    """
    source = textwrap.dedent(inspect.getsource(function_class))
    name = function_class.__name__
    assert "\n" not in old + new, "a planted bug changes one line"
    assert source.count(old) == 1, f"{old!r} occurs {source.count(old)} times in {name}"
    assert old != new, "a planted bug changes something"
    namespace = dict(vars(sys.modules[function_class.__module__]))
    changed = source.replace(old, new)
    exec(compile(changed, f"<{name}: {old!r} -> {new!r}>", "exec"), namespace)
    mutant: type[Function] = namespace[name]
    return mutant


@contextmanager
def planted(function_class: type[Function], old: str, new: str) -> Iterator[None]:
    """Let the op that uses a Function class run a mutant of it instead."""
    module = sys.modules[function_class.__module__]
    name = function_class.__name__
    setattr(module, name, mutated(function_class, old, new))
    try:
        yield
    finally:
        setattr(module, name, function_class)
