"""The state of a run: that of its parts, under one name each."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy.typing as npt

State = dict[str, npt.NDArray[Any]]


class Stateful(Protocol):
    """A model, an optimiser, a regulariser: whatever moves as training goes on."""

    def state_dict(self) -> State:
        """Copy all that moves."""

    def load_state_dict(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Restore what `state_dict` gave."""


class Parted:
    """What is made of parts: its state is theirs. Subclasses define `parts`."""

    def parts(self) -> dict[str, Stateful]:
        """Name all that moves."""
        raise NotImplementedError(f"{type(self).__name__}.parts")

    def state(self) -> State:
        """Return all that moves, as arrays."""
        return gather(self.parts())

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restore what `state` gave; ValueError where it does not fit."""
        for name, part in self.parts().items():
            part.load_state_dict(under(state, name))


def gather(parts: Mapping[str, Stateful]) -> State:
    """Put the states of all parts together: {"model.encoder...": array, ...}."""
    return {
        f"{name}.{key}": array
        for name, part in parts.items()
        for key, array in part.state_dict().items()
    }


def under(state: Mapping[str, npt.NDArray[Any]], name: str) -> State:
    """Select the entries of a part, and cut its name off."""
    prefix = name + "."
    return {
        key.removeprefix(prefix): array
        for key, array in state.items()
        if key.startswith(prefix)
    }
