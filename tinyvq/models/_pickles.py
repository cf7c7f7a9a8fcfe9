"""Arrays out of other people's pickles, without running what these ask for.

A pickle is a program whose instructions may call anything that can be imported. Here
only the few names that arrays need can be called, and none of them is the real one:
each stands for a small class of this file that keeps what it is given.
"""

import io
import math
import pickle
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tinyvq.errors import DataError

Array = npt.NDArray[Any]

TORCH_MAGIC, TORCH_PROTOCOL = 0x1950A86A20F9469CFC6C, 1001


class _Reader(pickle.Unpickler):
    """An unpickler that knows the names it is given, and no others."""

    def __init__(self, file: io.BytesIO, source: str, names: Mapping[str, Any]) -> None:
        super().__init__(file)
        self._source = source
        self._names = names

    def find_class(self, module: str, name: str) -> Any:
        asked = f"{module}.{name}"
        if asked not in self._names:
            raise DataError(
                f"{self._source}: asks for {asked!r}, which no file of weights needs; "
                "it is not read any further"
            )
        return self._names[asked]


def _damaged(source: str, why: object) -> DataError:
    shown = " ".join(str(why).split()) or "it ends too soon"
    return DataError(f"{source} is damaged, or not a file of weights: {shown}")


# --------------------------------------------------------------------- NumPy's arrays


class _PickledDType:
    """Stands for numpy.dtype: a name, then in its state the order of the bytes."""

    def __init__(self, name: object, *_: object) -> None:
        self.spelled = str(name)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.spelled = f"{state[1]}{self.spelled}"


class _PickledArray:
    """Stands for numpy.ndarray: its state is (version, shape, dtype, order, bytes)."""

    array: Array | None = None

    def __init__(self, *_: object) -> None: ...

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, columns_first, data = state
        if dtype.spelled != "<f4" or columns_first:
            raise ValueError(f"an array of {dtype.spelled}, not of float32")
        self.array = np.frombuffer(data, np.dtype("<f4")).reshape(shape)


_NUMPY_NAMES = {
    "numpy.core.multiarray._reconstruct": _PickledArray,
    "numpy.ndarray": _PickledArray,
    "numpy.dtype": _PickledDType,
}


def read_numpy_pickle(data: bytes, source: str) -> dict[str, list[Array]]:
    """Read a pickled dict of lists of float32 arrays.

    source  what the bytes are of, for messages
    Raises DataError for anything else, and for a pickle that asks for other names.
    """
    try:
        found = _Reader(io.BytesIO(data), source, _NUMPY_NAMES).load()
        return {
            str(name): [_array_of(item) for item in items]
            for name, items in found.items()
        }
    except DataError:
        raise
    except Exception as error:  # a damaged program can fail in any way
        raise _damaged(source, error) from error


def _array_of(item: object) -> Array:
    if not isinstance(item, _PickledArray) or item.array is None:
        raise ValueError(f"a {type(item).__name__} where an array should be")
    return item.array


# -------------------------------------------------------------------- PyTorch's tensors


@dataclass(frozen=True)
class _PickledTensor:
    """Stands for a tensor: a view of a storage that follows later in the file."""

    storage: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    requires_grad: bool
    hooks: Any

    def view(self, storages: Mapping[str, Array]) -> Array:
        """Cut the tensor out of its storage, in memory of its own."""
        storage = storages[self.storage]
        numbers = (self.offset, *self.shape, *self.strides)
        if any(not isinstance(n, int) or n < 0 for n in numbers):
            raise ValueError(f"a tensor with places {numbers}")
        last = self.offset + sum(
            (size - 1) * stride
            for size, stride in zip(self.shape, self.strides, strict=True)
        )
        if math.prod(self.shape) > storage.size or last >= storage.size:
            raise ValueError(f"a tensor {self.shape} reaches beyond its storage")
        return np.lib.stride_tricks.as_strided(
            storage[self.offset :],
            self.shape,
            [stride * storage.itemsize for stride in self.strides],
        ).copy()


_TORCH_NAMES = {
    "collections.OrderedDict": OrderedDict,
    "torch._utils._rebuild_tensor_v2": _PickledTensor,
    "torch.FloatStorage": "<f4",
    "torch.LongStorage": "<i8",
}


class _TorchReader(_Reader):
    """Reads the tensors; notes each storage's dtype and length."""

    def __init__(self, file: io.BytesIO, source: str) -> None:
        super().__init__(file, source, _TORCH_NAMES)
        self.storages: dict[str, tuple[np.dtype[Any], int]] = {}

    def persistent_load(self, pid: Any) -> str:
        kind, dtype, key, _, length, part = pid
        if kind != "storage" or part is not None:
            raise ValueError(f"a {kind} where a storage should be")
        self.storages[key] = (np.dtype(dtype), int(length))
        return str(key)


def read_torch_tensors(data: bytes, source: str) -> dict[str, Array]:
    """Read the state dict of a file that torch.save wrote before PyTorch 1.6.

    Such a file is five pickles, then the storages: each its length, then its values.
    Raises DataError as `read_numpy_pickle` does.
    """
    file = io.BytesIO(data)

    def plain() -> Any:
        return _Reader(file, source, {}).load()

    try:
        magic, protocol, system = plain(), plain(), plain()
        if (magic, protocol) != (TORCH_MAGIC, TORCH_PROTOCOL):
            raise ValueError("it does not begin as such files do")
        if not system["little_endian"]:
            raise ValueError("its bytes are in the other order")
        reader = _TorchReader(file, source)
        tensors = reader.load()
        storages = {}
        for key in plain():
            dtype, length = reader.storages[key]
            if int.from_bytes(file.read(8), "little") != length:
                raise ValueError(f"storage {key} has another length than its tensors")
            values = file.read(length * dtype.itemsize)
            storages[key] = np.frombuffer(values, dtype, length)
        return {str(name): tensor.view(storages) for name, tensor in tensors.items()}
    except DataError:
        raise
    except Exception as error:  # a damaged program can fail in any way
        raise _damaged(source, error) from error
