"""The stand-in for CuPy is as strict as it says, and knows no more than CuPy does."""

import importlib.util
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import strict_device
from required import absent
from strict_device import MixedError, StrictArray, strict_cupy
from tinyvq_kernels import backend_of, module_of

Do = Callable[[Any, Any], Any]


@pytest.mark.parametrize(
    "do",
    [
        lambda x, n: x + n,
        lambda x, n: n + x,
        lambda x, n: x + np.asarray(1.0),  # CuPy takes no 0-d arrays of NumPy's
        lambda x, n: np.where(x > 0, x, n),
        lambda x, n: np.concatenate([x, n]),
        lambda x, n: x.__iadd__(n),
        lambda x, n: n.__iadd__(x),
        lambda x, n: x.__setitem__(..., n),
        lambda x, n: n.__setitem__(..., x),
        lambda x, n: x[np.arange(2)],
        lambda x, n: np.asarray(x),
        lambda x, n: np.stack([x[0], 1.0]),
        lambda x, n: float(x[0]),
        lambda x, n: int(x[0]),
        lambda x, n: bool(x[0]),
        lambda x, n: [1, 2, 3][x.astype(np.int64)[0]],
        lambda x, n: list(x),
        lambda x, n: x.flags.writeable,
        lambda x, n: x.tolist(),
        lambda x, n: np.add.reduce(x),
        lambda x, n: np.add(x, x, where=x > 0),
        lambda x, n: x.sum(where=x > 0),
        lambda x, n: np.linalg.norm(x),
        lambda x, n: np.sinh(x),
    ],
)
def test_what_cupy_refuses_or_hides_raises(do: Do) -> None:
    with strict_cupy() as cupy:
        values = np.arange(3.0)
        with pytest.raises((MixedError, AttributeError, TypeError)):
            do(cupy.asarray(values), values.copy())


def test_it_computes_as_numpy_does() -> None:
    with strict_cupy() as cupy:
        values = np.arange(6, dtype=np.float32).reshape(2, 3)
        x = cupy.asarray(values)
        y = np.exp(x)[:, 1:].T @ (2 * x).sum(axis=1) - np.float32(1)
        wanted = np.exp(values)[:, 1:].T @ (2 * values).sum(axis=1) - np.float32(1)
        assert isinstance(y, StrictArray)
        assert y.get().tobytes() == wanted.tobytes()
        assert x.sum().shape == ()
        assert isinstance(x.sum(), StrictArray)
        assert len(x) == 2


def test_views_know_their_owner_and_a_copy_is_its_own() -> None:
    with strict_cupy() as cupy:
        x = cupy.zeros(4)
        assert x.base is None
        assert x[1:].base is x
        assert x[1:][1:].base is x
        assert x.reshape(2, 2).T.base is x
        assert x.copy().base is None
        x[1:].fill(2)
        assert x.get().tolist() == [0, 2, 2, 2]


def test_it_lists_what_waits_by_the_function_that_asked() -> None:
    with strict_cupy() as cupy:
        x = cupy.arange(3)
        x.item if x.size == 1 else x.get()
        x.sum().item()
        np.bincount(x)
        x[x > 1]
        here = f"{__name__}.test_it_lists_what_waits_by_the_function_that_asked"
        waits = ("get", "item", "bincount", "x[mask]")
        assert cupy.synchronisations == [f"{here}: {what}" for what in waits]


def test_tinyvq_takes_it_for_cupy() -> None:
    before = sys.modules.get("cupy")
    with strict_cupy() as cupy:
        x = cupy.zeros(2)
        assert backend_of(x) == "cuda"
        assert module_of(x) is cupy is sys.modules["cupy"]
        assert module_of(np.zeros(2)) is module_of(np.float32(1)) is np
    assert sys.modules.get("cupy") is before


def test_cupy_has_what_it_has() -> None:
    if importlib.util.find_spec("cupy") is None:
        absent("GPU", "needs CuPy, though no GPU")
    import cupy

    names = {*strict_device.UFUNCS, *strict_device.FUNCTIONS, *strict_device.MAKERS}
    assert {name for name in names if not hasattr(cupy, name)} == set()
    methods = {*strict_device.METHODS, "argmax", "fill", "get", "item", "base", "flags"}
    assert {name for name in methods if not hasattr(cupy.ndarray, name)} == set()
    assert cupy.ndarray.__module__.partition(".")[0] == StrictArray.__module__
