"""Tensor: an array that remembers how it was made.

`apply` runs a Function on tensors and, where a gradient may be asked for, adds a node
to the graph. `Tensor.backward` and `grad` walk that graph. The operators (`a + b`,
`x[1:]`) are attached by `tinyvq.ops`, in `ops/_operators.py`.
"""

import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Union

import numpy as np
import numpy.typing as npt

from tinyvq.backends import Backend, backend_of, module_for, move, on_host
from tinyvq.errors import DTypeError, GraphError, ShapeError, TinyvqError
from tinyvq.function import (
    Array,
    Context,
    Function,
    Node,
    Version,
    arrays_in,
    as_array,
    first_order_only,
    number_like,
    observer,
    owner_of,
    reachable,
    walk,
)

Operand = Union["Tensor", Array, float, int]
NUMBERS = (int, float, np.integer)  # what takes the dtype of the tensor that it meets

_recording: ContextVar[bool] = ContextVar("recording", default=True)


class Tensor:
    """An n-dimensional array in a computation that can be differentiated.

    data           array-like, copied where it lives; only Python floats become float32
    requires_grad  whether gradients with respect to this tensor will be asked for

    Raises DTypeError where a gradient is asked for data that is not float32 or float64.
    """

    __array_ufunc__ = None  # so that `array * tensor` asks the tensor

    def __init__(
        self,
        data: npt.ArrayLike,
        requires_grad: bool = False,
        *,
        dtype: npt.DTypeLike | None = None,
    ) -> None:
        source = data.array if isinstance(data, Tensor) else data
        array = module_for(source).array(source, dtype=dtype, order="C")
        if dtype is None and not hasattr(data, "dtype") and array.dtype == np.float64:
            array = array.astype(np.float32)
        if array.dtype.kind not in "fiub":
            raise DTypeError(f"a Tensor holds numbers, got {array.dtype}")
        self._set(array, requires_grad)

    @classmethod
    def wrap(cls, array: Array, requires_grad: bool = False) -> "Tensor":
        """Make a tensor that shares the array's memory, if that is C-contiguous."""
        tensor = Tensor.__new__(cls)
        tensor._set(as_array(array), requires_grad)
        return tensor

    def _set(self, array: Array, requires_grad: bool) -> None:
        if requires_grad and array.dtype not in (np.float32, np.float64):
            raise DTypeError(
                f"only float32 and float64 have gradients, this tensor is {array.dtype}"
            )
        self.array: Array = array
        self.requires_grad = requires_grad
        self.grad: Tensor | None = None
        self.version = Version()
        self._node: Node | None = None

    @property
    def data(self) -> Array:
        """The values, as a read-only view; `mutate` gives a writable one."""
        if not isinstance(self.array, np.ndarray):
            return self.array
        view = self.array.view()
        view.flags.writeable = False
        return view

    def numpy(self) -> npt.NDArray[Any]:
        """Return the values as a NumPy array: a read-only view where they are one."""
        return on_host(self.data)

    @property
    def backend(self) -> Backend:
        """Where the values live: "cpu" or "cuda"."""
        return backend_of(self.array)

    def to(self, backend: Backend) -> "Tensor":
        """Copy a leaf to a backend; one that lives there is returned itself.

        Raises CudaUnavailable where CUDA is missing, GraphError for a recorded result.
        """
        if backend == self.backend:
            return self
        self._require_leaf("copy to another backend")  # no gradient would cross over
        return type(self).wrap(move(self.array, backend), self.requires_grad)

    @property
    def shape(self) -> tuple[int, ...]:
        """The length of each axis."""
        return self.array.shape  # type: ignore[no-any-return]

    @property
    def dtype(self) -> Any:
        """The type of the values."""
        return self.array.dtype

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self.array.ndim  # type: ignore[no-any-return]

    @property
    def size(self) -> int:
        """The number of values."""
        return self.array.size  # type: ignore[no-any-return]

    @property
    def is_leaf(self) -> bool:
        """Whether the tensor was made by hand, not by an op that is recorded."""
        return self._node is None or self._node.function is None

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        if self.backend != "cpu":
            raise TypeError("on a GPU; tensor.numpy() copies it into a NumPy array")
        return np.array(self.numpy(), dtype=dtype, copy=copy)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Tensor":
        """Copy the values into a leaf of its own: the graph is not copied along."""
        trainable = self.requires_grad and self.is_leaf
        return type(self).wrap(self.array.copy(), trainable)

    def __len__(self) -> int:
        if not self.shape:
            raise ShapeError("a 0-d tensor has no length")
        return self.shape[0]

    def __bool__(self) -> bool:
        return bool(self.item())

    def __repr__(self) -> str:
        note = ""
        if not self.is_leaf and self._node is not None:
            note = f", made by {self._node.name}"
        elif self.requires_grad:
            note = ", requires_grad=True"
        values = np.array2string(self.numpy(), threshold=20, separator=", ")
        return f"{type(self).__name__}({values}, {self.dtype}{note})"

    def item(self) -> float:
        """Return the only value as a Python number."""
        if self.size != 1:
            raise ShapeError(f"item() needs one value, this tensor is {self.shape}")
        return self.array.item()  # type: ignore[no-any-return]

    def detach(self) -> "Tensor":
        """Share the values, forget how they were made."""
        tensor = Tensor.wrap(self.array)
        tensor.version = self.version
        return tensor

    @contextmanager
    def mutate(self) -> Iterator[Array]:
        """Change the values in place: `with t.mutate() as array: array *= 0.9`.

        Backward passes that saved the old values raise afterwards. Raises GraphError
        for the result of a recorded op, whose change no gradient could know of.
        """
        self._require_leaf("in-place change")
        self.version.count += 1
        yield self.array

    def convert(self, dtype: Any = None, backend: Backend | None = None) -> None:
        """Change dtype or backend of a leaf in place; its gradient is forgotten."""
        self._require_leaf("in-place change")
        array = move(self.array, backend or self.backend)
        self._set(array.astype(dtype or self.dtype), self.requires_grad)

    def _require_leaf(self, what: str) -> None:
        if not self.is_leaf:
            raise GraphError(f"{what} of an op's result; detach() it first")

    def zero_grad(self) -> None:
        """Forget the gradient."""
        self.grad = None

    def backward(
        self,
        gradient: Operand | None = None,
        *,
        retain_graph: bool = False,
        create_graph: bool = False,
    ) -> None:
        """Add this tensor's gradients to `.grad` of every leaf that requires them.

        gradient  of some final value with respect to this tensor, same shape; may be
                  left out for a single value (it is 1)

        Raises GraphError where there is nothing to differentiate, or asked for second
        derivatives.
        """
        first_order_only(create_graph)
        found = walk(self._root(), self._seed(gradient), None, retain_graph)
        given: set[int] = set()
        for node, array in found.items():
            leaf = node.leaf() if node.leaf is not None else None
            if leaf is None or not leaf.requires_grad:  # perhaps frozen since
                continue
            if leaf._node is not node:
                raise GraphError(
                    f"a leaf was {node.dtype} when it was used and was converted to "
                    f"{leaf.dtype} on {leaf.backend} since"
                )
            if leaf.grad is not None:
                array = as_array(leaf.grad.array + array)
            elif array.base is not None or id(array) in given:
                array = array.copy()  # a view, or another leaf's gradient as well
            given.add(id(array))
            leaf.grad = Tensor.wrap(array)

    def _root(self) -> Node:
        node = self.node
        if node is None:
            raise GraphError(
                "there is nothing to differentiate: no input of this tensor has "
                "requires_grad=True, or it was made under no_grad()"
            )
        return node

    def _seed(self, gradient: Operand | None) -> Array:
        if gradient is None:
            if self.size != 1:
                raise GraphError(
                    f"backward from a tensor {self.shape} needs the gradient= of its "
                    "values; only a single value has one by itself"
                )
            return np.ones_like(self.array)
        array = as_tensor(gradient, like=self).array
        if array.shape != self.shape or array.dtype != self.dtype:
            wrong = ShapeError if array.shape != self.shape else DTypeError
            raise wrong(
                f"gradient= must be {self.dtype} {self.shape}, "
                f"got {array.dtype} {array.shape}"
            )
        return array.copy()  # the caller's own may change before the walk ends

    @property
    def node(self) -> Node | None:
        """This tensor's node in the graph; None where no gradient can flow."""
        if not self.requires_grad:  # perhaps frozen after it was used
            return None
        if self._node is None:
            self._node = Node(None, None, (), self.array)
            self._node.leaf = weakref.ref(self)
        return self._node

    if TYPE_CHECKING:  # attached by ops/_operators.py

        def __add__(self, other: Operand) -> "Tensor": ...
        def __radd__(self, other: Operand) -> "Tensor": ...
        def __sub__(self, other: Operand) -> "Tensor": ...
        def __rsub__(self, other: Operand) -> "Tensor": ...
        def __mul__(self, other: Operand) -> "Tensor": ...
        def __rmul__(self, other: Operand) -> "Tensor": ...
        def __truediv__(self, other: Operand) -> "Tensor": ...
        def __rtruediv__(self, other: Operand) -> "Tensor": ...
        def __pow__(self, exponent: float) -> "Tensor": ...
        def __neg__(self) -> "Tensor": ...
        def __matmul__(self, other: Operand) -> "Tensor": ...
        def __rmatmul__(self, other: Operand) -> "Tensor": ...
        def __getitem__(self, key: Any) -> "Tensor": ...
        def reshape(self, *shape: int | Sequence[int]) -> "Tensor": ...  # noqa: D102
        def transpose(self, *axes: int) -> "Tensor": ...  # noqa: D102
        def sum(self, axis: Any = None, keepdims: bool = False) -> "Tensor": ...  # noqa: D102
        def mean(self, axis: Any = None, keepdims: bool = False) -> "Tensor": ...  # noqa: D102


def apply(function: Function, *inputs: Tensor | None) -> Tensor:
    """Run a Function on tensors (None for an input left out), and record it.

    Raises ShapeError, naming the op and its inputs, where its forward raises a
    ValueError, as NumPy and the kernels do; DTypeError where float dtypes meet.
    """
    present = [t for t in inputs if t is not None]
    floats = {t.dtype for t in present if t.dtype.kind == "f"}
    if len(floats) > 1:
        names = " and ".join(str(t.dtype) for t in present)
        raise DTypeError(
            f"{type(function).__name__}: dtypes differ, {names}; convert one of them"
        )
    recorded = _recording.get()
    nodes = tuple(t.node if recorded and t is not None else None for t in inputs)
    tracked = any(node is not None for node in nodes)
    context = Context(tuple(node is not None for node in nodes))
    arrays = tuple(None if t is None else t.array for t in inputs)
    by = observer.get()
    if by is not None:
        by.before_forward(function, arrays)
    try:
        array = as_array(function.forward(context, *arrays))
    except TinyvqError:
        raise
    except ValueError as error:
        came = " and ".join(f"{t.dtype} {t.shape}" for t in present)
        raise ShapeError(f"{type(function).__name__} of {came}: {error}") from error
    if by is not None:
        by.forward(function, arrays, array)
    output = Tensor.wrap(array)
    owner = owner_of(array)
    for tensor in present:
        if owner_of(tensor.array) is owner:
            output.version = tensor.version  # a view: its changes are the input's
    if tracked and array.dtype.kind == "f":  # integers have no gradient
        output.requires_grad = True
        node = output._node = Node(function, context, nodes, array)
        for name, saved in (context.saved or {}).items():
            for value in arrays_in(saved):
                memory = owner_of(value)
                for tensor in (*present, output):
                    if owner_of(tensor.array) is memory:
                        node.watch(name, tensor.version)
    return output


def grad(
    output: Tensor,
    inputs: Sequence[Tensor],
    gradient: Operand | None = None,
    *,
    retain_graph: bool = False,
    create_graph: bool = False,
) -> list[Tensor]:
    """Differentiate `output` with respect to `inputs`, without touching any `.grad`.

    inputs  leaves or results of ops; only nodes between them and `output` are visited
    ->      one gradient per input

    Raises GraphError where `output` does not depend on an input.
    """
    first_order_only(create_graph)
    root = output._root()
    nodes = set(reachable(root))
    targets = []
    for i, tensor in enumerate(inputs):
        node = tensor.node
        if node is None or node not in nodes:
            raise GraphError(
                f"grad: the output does not depend on input {i}, {tensor.dtype} "
                f"{tensor.shape}, in a way that was recorded"
            )
        targets.append(node)
    found = walk(root, output._seed(gradient), set(targets), retain_graph)
    return [Tensor.wrap(found[node].copy()) for node in targets]


@contextmanager
def no_grad() -> Iterator[None]:
    """Record nothing inside the block: results are constants."""
    token = _recording.set(False)
    try:
        yield
    finally:
        _recording.reset(token)


def as_tensor(value: Operand, like: Tensor | None = None) -> Tensor:
    """Take a tensor as it is, wrap an array, and give a number the dtype of `like`.

    The array is shared, not copied: a change of it before the backward pass goes into
    the gradient, and is not noticed as one by `mutate` is.
    """
    if isinstance(value, Tensor):
        return value
    if isinstance(value, NUMBERS):
        if like is None:
            return Tensor(value)
        return Tensor.wrap(number_like(value, like.array))
    if not hasattr(value, "dtype"):
        raise DTypeError(
            f"expected a tensor, array or number, got {type(value).__name__}"
        )
    return Tensor.wrap(value)
