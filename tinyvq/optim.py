"""Optimisers, gradient clipping, learning-rate schedules, averaged weights.

An optimiser's state is a function of the gradients it has seen; `state_dict` and
`load_state_dict` carry it through a checkpoint bit for bit.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from tinyvq_kernels import adam as adam_kernel
from tinyvq_kernels import adam_numbers, square_sum

from tinyvq.backends import Place, backend_of, beside, copy_to_host, read
from tinyvq.errors import ConfigError, GraphError, ModuleError
from tinyvq.function import Array
from tinyvq.tensor import Tensor

if TYPE_CHECKING:
    from tinyvq.nn import Module


Betas = tuple[float, float]  # of an Adam


class Optimizer:
    """Moves parameters along their gradients; `lr` may be set before each step.

    Slots (running averages, one array a parameter and slot) are zero at the start, and
    live where the parameters lived. Make an optimiser after `Module.to`: a step raises
    ModuleError where its parameters have moved since. To move it along unasked would
    cost a look at every array in every step, and hide that two copies were held.
    """

    slot_names: tuple[str, ...] = ()

    def __init__(self, parameters: Iterable[Tensor], lr: float) -> None:
        self.parameters = list(parameters)
        if not self.parameters:
            raise ConfigError("an optimiser needs at least one parameter")
        if len({id(p) for p in self.parameters}) < len(self.parameters):
            raise ConfigError("a parameter was given to the optimiser twice")
        self.lr = _positive("lr", lr)
        self.steps = np.zeros(len(self.parameters), np.int64)  # of each parameter
        self.slots: dict[str, list[Array]] = {
            name: [np.zeros_like(p.array) for p in self.parameters]
            for name in self.slot_names
        }

    def step(self) -> None:
        """Move every parameter that has a gradient."""
        self.count()
        self.move()

    def count(self) -> None:
        """Do the part of a step that is Python's: count it, and compute its rates.

        A captured step has this done each time, and `move` repeated by the GPU.
        """
        _check_place("the optimiser", self.parameters, *self.slots.values())
        for i in self._moving():
            self.steps[i] += 1

    def _moving(self) -> list[int]:
        """List the parameters that have a gradient."""
        return [i for i, p in enumerate(self.parameters) if p.grad is not None]

    def move(self) -> None:
        """Do the part of a step that is the arrays', once it has been counted."""
        moving = self._moving()
        gradients = [p.grad.array for p in self.parameters if p.grad is not None]
        with ExitStack() as changes:
            arrays = [
                changes.enter_context(self.parameters[i].mutate()) for i in moving
            ]
            slots = [[of[i] for i in moving] for of in self.slots.values()]
            self._update(arrays, gradients, *slots)

    def _update(
        self,
        parameters: list[Array],
        gradients: list[Array],
        *slots: list[Array],
    ) -> None:
        """Move parameters in place."""
        raise NotImplementedError

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    def reset_rows(self, parameter: Tensor, rows: Array | slice) -> None:
        """Zero the slots of some rows of a parameter: codes that were restarted."""
        i = self._place_of(parameter)
        for arrays in self.slots.values():
            arrays[i][rows] = 0

    def _place_of(self, parameter: Tensor) -> int:
        """Find a parameter in the list; raise ConfigError where it is not."""
        for i, mine in enumerate(self.parameters):
            if mine is parameter:
                return i
        raise ConfigError(
            f"reset_rows: the parameter {parameter.dtype} {parameter.shape} is none of "
            f"this optimiser's {len(self.parameters)}"
        )

    def state_dict(self) -> dict[str, npt.NDArray[Any]]:
        """Copy the step counts and all slots into NumPy arrays: "steps", "m.0", ..."""
        state: dict[str, npt.NDArray[Any]] = {"steps": self.steps.copy()}
        for name, arrays in self.slots.items():
            state |= {f"{name}.{i}": copy_to_host(a) for i, a in enumerate(arrays)}
        return state

    def load_state_dict(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Restore what `state_dict` gave; ModuleError where it does not fit."""
        _check_fits("the optimiser's state", self.state_dict(), state)
        self.steps[...] = state["steps"]
        for name, arrays in self.slots.items():
            for i, array in enumerate(arrays):
                array[...] = beside(state[f"{name}.{i}"], array)


class SGD(Optimizer):
    """Gradient descent with momentum: v ← μ v + g, p ← p - lr · v."""

    slot_names = ("momentum",)

    def __init__(
        self, parameters: Iterable[Tensor], lr: float, momentum: float = 0.0
    ) -> None:
        super().__init__(parameters, lr)
        self.momentum = _share("momentum", momentum)

    def _update(
        self,
        parameters: list[Array],
        gradients: list[Array],
        *slots: list[Array],
    ) -> None:
        for p, g, v in zip(parameters, gradients, *slots, strict=True):
            v *= self.momentum
            v += g
            p -= self.lr * v


class Adam(Optimizer):
    """Adam (Kingma and Ba, arXiv:1412.6980).

    m ← β1 m + (1 - β1) g,  v ← β2 v + (1 - β2) g²
    p ← p - lr · m / (1 - β1ᵗ) / (√(v / (1 - β2ᵗ)) + eps)

    In the order of its roundings: `tinyvq_kernels/optimizer/__init__.py`.
    """

    slot_names = ("m", "v")

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float = 1e-3,
        betas: Betas = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        super().__init__(parameters, lr)
        self.betas = (_share("betas[0]", betas[0]), _share("betas[1]", betas[1]))
        self.eps = _positive("eps", eps)
        self.weight_decay = 0.0  # PyTorch's Adam adds it to g; see AdamW
        self._place = Place(self.parameters[0].backend)
        self._numbers: Array = np.zeros(0)

    def count(self) -> None:
        """Count the step, and put its rates where the parameters are."""
        super().count()
        numbers = adam_numbers(
            [int(self.steps[i]) for i in self._moving()],
            lr=self.lr,
            beta1=self.betas[0],
            beta2=self.betas[1],
            eps=self.eps,
            weight_decay=self.weight_decay,
        )
        self._numbers = self._place.fill(numbers.astype(self.parameters[0].dtype))

    def _update(
        self,
        parameters: list[Array],
        gradients: list[Array],
        *slots: list[Array],
    ) -> None:
        adam_kernel(parameters, gradients, *slots, numbers=self._numbers)

    def reset_rows(self, parameter: Tensor, rows: Array | slice) -> None:
        """Forget the moments of some rows of a parameter: codes that were restarted.

        Their m is 0, and their v the mean of the other rows' (0 where there are none).
        The step count t is the whole parameter's: a v that starts from 0 after many
        steps is not corrected for it, since 1 - β2ᵗ is nearly 1, and so much too small
        for a while. Under a constant gradient, with betas of 0.9 and 0.999, steps would
        grow to 6.5 lr.
        """
        super().reset_rows(parameter, rows)
        v = self.slots["v"][self._place_of(parameter)]
        others = np.ones_like(v, shape=len(v))
        others[rows] = 0
        v[rows] = v.sum(axis=0) / np.maximum(others.sum(), 1)


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter, arXiv:1711.05101)."""

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float = 1e-3,
        betas: Betas = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(parameters, lr, betas, eps)
        if not weight_decay >= 0:
            raise ConfigError(f"weight_decay must be at least 0, got {weight_decay}")
        self.weight_decay = weight_decay


def grad_square(parameters: Iterable[Tensor]) -> Any:
    """Sum the squares of all gradients in float64 -> one value, where they live."""
    gradients = [p.grad.array for p in parameters if p.grad is not None]
    return square_sum(gradients) if gradients else 0.0


def grad_norm(parameters: Iterable[Tensor]) -> float:
    """Euclidean length of all gradients together, summed in float64."""
    return math.sqrt(*read(grad_square(parameters)))


def clip_grad_norm(
    parameters: Iterable[Tensor], max_norm: float, norm: float | None = None
) -> float:
    """Scale all gradients to a length of at most max_norm; return it as it was.

    norm  that length, where it is known already
    """
    parameters = list(parameters)
    if norm is None:
        norm = grad_norm(parameters)
    if norm > _positive("max_norm", max_norm):
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.grad.array *= max_norm / norm
    return norm


def warmup_cosine(
    step: int,
    lr: float,
    *,
    warmup: int = 0,
    total: int | None = None,
    floor: float = 0.0,
) -> float:
    """Learning rate of a step, counted from 1.

    Grows linearly over `warmup` steps to lr; then, where `total` is given, falls along
    half a cosine to floor · lr at step `total` (Loshchilov and Hutter, 1608.03983).
    """
    if step < 1:
        raise ConfigError(f"warmup_cosine: steps count from 1, got {step}")
    if step <= warmup:
        return lr * step / warmup
    if total is None or total <= warmup:
        return lr
    progress = min(1.0, (step - warmup) / (total - warmup))
    return lr * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress)))


class WeightAverage:
    """Exponential moving average of a module's parameters, zero-debiased.

    average ← d · average + (1 - d) · parameter; what is read is divided by 1 - dᵗ.
    Summed in float64: in float32, 1 - 0.999 alone would be off by 1 part in 80,000.
    """

    def __init__(self, module: "Module", decay: float = 0.999) -> None:
        self.decay = _share("decay", decay)
        self.parameters = module.parameters()
        self.sums = [np.zeros_like(p.array, np.float64) for p in self.parameters]
        self.steps = 0

    def update(self) -> None:
        """Take the parameters in, after the optimiser's step."""
        _check_place("the average", self.parameters, self.sums)
        self.steps += 1
        for total, parameter in zip(self.sums, self.parameters, strict=True):
            total *= self.decay
            total += np.multiply(parameter.array, 1 - self.decay, dtype=np.float64)

    @contextmanager
    def swapped_in(self) -> Iterator[None]:
        """Run the block with the averaged weights in place of the trained ones."""
        if self.steps == 0:
            raise GraphError("there is no average yet: call update() after each step")
        kept = [parameter.array.copy() for parameter in self.parameters]
        self._set([total / (1 - self.decay**self.steps) for total in self.sums])
        try:
            yield
        finally:
            self._set(kept)

    def _set(self, values: list[Array]) -> None:
        for parameter, value in zip(self.parameters, values, strict=True):
            with parameter.mutate() as array:
                array[...] = value

    def state_dict(self) -> dict[str, npt.NDArray[Any]]:
        """Copy the step count and all sums."""
        state = {"steps": np.asarray(self.steps, np.int64)}
        return state | {f"sum.{i}": copy_to_host(s) for i, s in enumerate(self.sums)}

    def load_state_dict(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Restore what `state_dict` gave; ModuleError where it does not fit."""
        _check_fits("the averaged weights", self.state_dict(), state)
        self.steps = int(state["steps"])
        for i, total in enumerate(self.sums):
            total[...] = beside(state[f"sum.{i}"], total)


def _check_place(
    what: str, parameters: Sequence[Tensor], *made: Sequence[Array]
) -> None:
    """Raise ModuleError where the first parameter has moved since `made` was made."""
    for arrays in made:
        if backend_of(arrays[0]) != parameters[0].backend:
            raise ModuleError(
                f"{what} was made when its parameters were on {backend_of(arrays[0])}, "
                f"and they are on {parameters[0].backend} now: make it after "
                "Module.to, and load its state where it has one"
            )


def _check_fits(
    what: str,
    own: Mapping[str, npt.NDArray[Any]],
    state: Mapping[str, npt.NDArray[Any]],
) -> None:
    """Raise ModuleError unless both have the same names, shapes and dtypes."""
    for name in sorted(own.keys() | state.keys()):
        there = state.get(name)
        here = own.get(name)
        if there is None or here is None:
            problem = "is missing" if there is None else "is unknown here"
        elif (there.shape, there.dtype) != (here.shape, here.dtype):
            problem = (
                f"must be {here.dtype} {here.shape}, got {there.dtype} {there.shape}"
            )
        else:
            continue
        raise ModuleError(f"{what}: {name} {problem}")


def _positive(name: str, value: float) -> float:
    if not value > 0:
        raise ConfigError(f"{name} must be above 0, got {value}")
    return value


def _share(name: str, value: float) -> float:
    if not 0 <= value < 1:
        raise ConfigError(f"{name} must be in [0, 1), got {value}")
    return value
