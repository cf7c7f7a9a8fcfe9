"""A stand-in for CuPy that runs on the CPU and is stricter than CuPy itself.

    with strict_cupy() as cupy:
        x = cupy.asarray(np.ones(3))     # a StrictArray
        ...
        assert cupy.synchronisations == []

A `StrictArray` holds a NumPy array and computes by NumPy, so that results can be held
to NumPy's bit for bit; but it takes only what CuPy 14 takes. A NumPy array beside it
raises, and so does all that would copy it to the host unseen: `float(x)`, `if x:`,
`np.asarray(x)`, a loop over it. (CuPy lets the first two pass, and waits.) What copies
on purpose, `x.get()` and `x.item()`, and what makes CuPy wait for the GPU inside, is
listed in `synchronisations` by the function that asked for it.

What a stream records, its graph repeats: each operation is computed again from what its
operands hold now, into the arrays that it made when it was recorded. To wait for the
GPU meanwhile, or to bring it an array, raises.

The reference kernels are definitions, written for both; theirs are allowed to convert.
"""

import sys
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

# What is used of CuPy; `test_strict_device.py` looks whether CuPy has it, where it can.
_UFUNCS = """
    absolute add bitwise_and bitwise_or divide equal exp expm1 greater greater_equal
    invert isfinite isnan less less_equal log log1p log2 logical_and logical_not
    logical_or matmul maximum minimum multiply negative nextafter not_equal power sign
    sqrt square subtract tanh
"""
_FUNCTIONS = """
    argmax argsort bincount broadcast_to clip concatenate copyto count_nonzero
    flatnonzero full_like max mean min ones_like pad put_along_axis repeat reshape split
    stack sum swapaxes take_along_axis transpose triu where zeros_like
"""
UFUNCS, FUNCTIONS = frozenset(_UFUNCS.split()), frozenset(_FUNCTIONS.split())
JOINS = frozenset({"concatenate", "stack"})
WAITS = frozenset({"bincount", "flatnonzero"})  # for a size that the GPU must tell
MAKERS = ("arange", "empty", "full", "ones", "zeros")
NOT_IN_CUPY = frozenset({"where", "initial", "subok", "order"})  # keyword arguments
OWN = frozenset({"tinyvq_kernels"})  # may convert, see above

synchronisations: list[str] = []
_recording: list[list[Callable[[], None]]] = []  # of the stream that records
_owners: "weakref.WeakValueDictionary[int, StrictArray]" = weakref.WeakValueDictionary()


class MixedError(TypeError):
    """Host and device met, or an array would have gone to the host unseen."""


class StrictArray(NDArrayOperatorsMixin):
    """An array that behaves as if it lived on a GPU."""

    __module__ = "cupy"  # by which tinyvq knows CuPy's arrays
    __slots__ = ("__weakref__", "_inner", "base")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, inner: np.ndarray[Any, Any]) -> None:
        self._inner = inner
        self.base: StrictArray | None = None
        owner: Any = inner
        while isinstance(owner.base, np.ndarray):
            owner = owner.base
        if owner is not inner:
            known = _owners.get(id(owner))
            self.base = StrictArray(owner) if known is None else known
        else:
            _owners[id(inner)] = self

    shape = property(lambda self: self._inner.shape)
    dtype = property(lambda self: self._inner.dtype)
    ndim = property(lambda self: self._inner.ndim)
    size = property(lambda self: self._inner.size)
    strides = property(lambda self: self._inner.strides)
    itemsize = property(lambda self: self._inner.itemsize)
    nbytes = property(lambda self: self._inner.nbytes)
    T = property(lambda self: self.transpose())
    data = property(lambda self: SimpleNamespace(ptr=self._inner.ctypes.data))

    # By which libraries know arrays that live on a GPU; nobody reads it here.
    __cuda_array_interface__ = property(lambda self: {"version": 3})

    @property
    def flags(self) -> SimpleNamespace:
        flags = self._inner.flags  # CuPy knows no `writeable`
        return SimpleNamespace(
            c_contiguous=flags.c_contiguous, f_contiguous=flags.f_contiguous
        )

    def __array_ufunc__(
        self, ufunc: Any, method: str, *inputs: Any, **options: Any
    ) -> Any:
        if ufunc.__name__ not in UFUNCS or method not in ("__call__", "at"):
            raise MixedError(f"not known to be in CuPy: {ufunc.__name__}.{method}")
        _refuse_options(ufunc.__name__, options)
        run = partial(getattr(ufunc, method), *map(_to_inner, inputs))
        out = options.get("out")
        made = _do(partial(run, **_to_inner(options)))
        return out[0] if out else made

    def __array_function__(
        self, function: Any, types: Any, args: Any, options: Any
    ) -> Any:
        name = function.__name__
        if name not in FUNCTIONS:
            raise MixedError(f"not known to be in CuPy: {name}")
        _refuse_options(name, options, but=("where",) if name == "copyto" else ())
        if name in JOINS and not all(isinstance(a, StrictArray) for a in args[0]):
            raise MixedError(f"{name}: CuPy joins arrays of its own alone")
        if name in WAITS:
            _note(name)
        return _do(partial(function, *_to_inner(args), **_to_inner(options)))

    def __getitem__(self, key: Any) -> Any:
        if any(_is_mask(part) for part in (key if isinstance(key, tuple) else (key,))):
            _note("x[mask]")
        return _do(partial(self._inner.__getitem__, _to_inner(key)))

    def __setitem__(self, key: Any, value: Any) -> None:
        _do(partial(self._inner.__setitem__, _to_inner(key), _to_inner(value)))

    def __len__(self) -> int:
        return len(self._inner)

    def __iter__(self) -> Iterator[Any]:
        if not _is_own(sys._getframe(1)):
            raise MixedError("a loop over the values of a GPU's array")
        return (self[i] for i in range(len(self)))

    def __array__(self, *args: Any, **options: Any) -> Any:
        raise MixedError("a GPU's array became a NumPy array unseen; .get() copies it")

    def __bool__(self) -> bool:
        return bool(self._converted("bool"))

    def __int__(self) -> int:
        return int(self._converted("int"))

    def __float__(self) -> float:
        return float(self._converted("float"))

    def __index__(self) -> int:
        raise MixedError("a GPU's array as an index; .item() reads its value")

    def __repr__(self) -> str:
        return f"StrictArray({self._inner!r})"

    def _converted(self, to: str) -> Any:
        if not _is_own(sys._getframe(2)):
            raise MixedError(f"{to}() of a GPU's array; .item() reads its value")
        _note(to)
        return self._inner

    def get(self) -> np.ndarray[Any, Any]:
        """Copy to the host."""
        _note("get")
        return self._inner.copy(order="C")

    def item(self) -> Any:
        """Read the only value."""
        _note("item")
        return self._inner.item()

    def fill(self, value: Any) -> None:
        _do(partial(self._inner.fill, _to_inner(value)))

    def set(self, values: np.ndarray[Any, Any], stream: Any = None) -> None:
        """Copy from the host; without a stream CuPy would wait for it."""
        _refuse_in_recording("set")
        assert stream is not None
        assert values.dtype == self.dtype
        self._inner[...] = values

    def argmax(self, axis: Any = None, keepdims: bool = False) -> Any:
        return _do(partial(self._inner.argmax, axis=axis, keepdims=keepdims))


def _method(name: str) -> Any:
    def method(self: StrictArray, *args: Any, **options: Any) -> Any:
        _refuse_options(name, options, but=("order",) if name == "copy" else ())
        run = getattr(self._inner, name)
        made = _do(partial(run, *_to_inner(args), **_to_inner(options)))
        mine = isinstance(made, StrictArray) and made._inner is self._inner
        return self if mine else made

    return method


METHODS = (
    *("all", "any", "astype", "copy", "max", "mean", "min", "ravel", "repeat"),
    *("reshape", "sum", "swapaxes", "transpose", "view"),
)
for _name in METHODS:
    setattr(StrictArray, _name, _method(_name))


def _do(run: Callable[[], Any]) -> Any:
    """Compute, on device arrays' insides; remember how, while a stream records."""
    made = _from_inner(run())
    if _recording:
        _recording[0].append(lambda: _refill(made, run()))
    return made


def _refill(made: Any, anew: Any) -> None:
    """Put what was computed anew into the arrays that were made before."""
    if isinstance(made, tuple | list):
        for one, other in zip(made, anew, strict=True):
            _refill(one, other)
    elif isinstance(made, StrictArray) and not np.may_share_memory(made._inner, anew):
        made._inner[...] = anew


def _refuse_in_recording(what: str) -> None:
    if _recording:
        raise MixedError(f"{what} while a stream records: a graph would not repeat it")


def _refuse_options(name: str, options: Any, but: tuple[str, ...] = ()) -> None:
    unknown = NOT_IN_CUPY & options.keys() - {*but}
    if unknown:
        raise MixedError(f"{name}: CuPy does not take {', '.join(sorted(unknown))}=")


def _to_inner(value: Any) -> Any:
    """Take device arrays out, wherever they stand; raise where a NumPy array does."""
    if isinstance(value, StrictArray):
        return value._inner
    if isinstance(value, np.ndarray):
        raise MixedError(f"a NumPy array {value.dtype} {value.shape} met a GPU's array")
    if isinstance(value, tuple | list):
        return type(value)(_to_inner(item) for item in value)
    if isinstance(value, dict):
        return {name: _to_inner(item) for name, item in value.items()}
    return value


def _from_inner(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return type(value)(_from_inner(item) for item in value)
    if isinstance(value, np.generic):  # CuPy has no scalars of its own
        return StrictArray(np.asarray(value))
    return StrictArray(value) if isinstance(value, np.ndarray) else value


def _is_own(frame: Any) -> bool:
    return frame.f_globals["__name__"].partition(".")[0] in OWN


def _is_mask(part: Any) -> bool:
    return isinstance(part, StrictArray) and part.dtype == np.bool_ and part.ndim > 0


def _note(what: str) -> None:
    """List a synchronisation by the function that asked for it."""
    frame: Any = sys._getframe(1)
    while _passes_on(frame.f_globals["__name__"]):
        frame = frame.f_back
    if not _is_own(frame):  # a reference kernel looks, and decides, as it would always
        _refuse_in_recording(what)
    where = frame.f_globals["__name__"]
    synchronisations.append(f"{where}.{frame.f_code.co_qualname}: {what}")


def _passes_on(module: str) -> bool:
    return module in (__name__, "tinyvq.backends") or module.startswith("numpy")


def _asarray(value: Any, dtype: Any = None) -> StrictArray:
    if isinstance(value, StrictArray):
        same = dtype is None or value.dtype == dtype
        return value if same else value.astype(dtype)
    _refuse_in_recording("asarray")
    return StrictArray(np.array(value, dtype=dtype, order="C"))


def _array(value: Any, dtype: Any = None, order: str = "K") -> StrictArray:
    made = _asarray(value, dtype)
    return made.copy(order=order) if made is value else made


def _asnumpy(value: Any) -> Any:
    return value.get() if isinstance(value, StrictArray) else np.asarray(value)


def _maker(name: str) -> Any:
    def make(*args: Any, **options: Any) -> StrictArray:
        run = getattr(np, name)
        made = _do(partial(run, *_to_inner(args), **_to_inner(options)))
        assert isinstance(made, StrictArray)
        return made

    return make


class Stream:
    """A stream that can record; what is done runs at once, whatever the stream."""

    def __init__(self, non_blocking: bool = False) -> None:
        self.non_blocking = non_blocking

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *problem: object) -> None: ...

    def begin_capture(self) -> None:
        assert not _recording
        _recording.append([])

    def end_capture(self) -> "Graph":
        return Graph(_recording.pop())


class Graph:
    """What was recorded. It has run once, here; so the first launch does nothing."""

    def __init__(self, tape: list[Callable[[], None]]) -> None:
        self._tape = tape
        self.launches = 0

    def launch(self, stream: Any = None) -> None:
        self.launches += 1
        if self.launches > 1:
            for again in self._tape:
                again()


class Event:
    """A point of a stream."""

    def __init__(self, disable_timing: bool = False) -> None: ...

    def record(self, stream: Any = None) -> None: ...

    def synchronize(self) -> None: ...


def _cuda() -> SimpleNamespace:
    """Make `cupy.cuda`, as far as it is used."""
    return SimpleNamespace(
        Event=Event,
        MemoryPool=lambda: SimpleNamespace(malloc=None),
        Stream=Stream,
        alloc_pinned_memory=bytearray,
        get_current_stream=Stream,
        is_available=lambda: True,
        runtime=SimpleNamespace(getDeviceCount=lambda: 1),
        using_allocator=lambda allocator: nullcontext(),
    )


def strict_module() -> ModuleType:
    """Make a module `cupy` of what is in this file."""
    module = ModuleType("cupy", __doc__)
    made = {name: _maker(name) for name in MAKERS}
    passed_on = {name: getattr(np, name) for name in UFUNCS | FUNCTIONS}
    vars(module).update(
        made | passed_on,
        __version__="0 (a stand-in)",
        ndarray=StrictArray,
        array=_array,
        asarray=_asarray,
        asnumpy=_asnumpy,
        cuda=_cuda(),
        synchronisations=synchronisations,
    )
    return module


@contextmanager
def strict_cupy() -> Iterator[Any]:
    """Put the stand-in in CuPy's place; it begins with no synchronisations."""
    before = sys.modules.get("cupy")
    module = sys.modules["cupy"] = strict_module()
    synchronisations.clear()
    try:
        yield module
    finally:
        if before is None:
            del sys.modules["cupy"]
        else:
            sys.modules["cupy"] = before
