"""What a training step measured, read when it is asked for.

Reading a value makes Python wait for a GPU. So a step hands on what it measured as it
lies, and the loop reads it in one place, once a logged step.
"""

from collections.abc import Callable, Iterator, Mapping

Measure = float | Callable[[], float]


class Measures(Mapping[str, float]):
    """Numbers by name, and functions that read one: `Measures(loss=loss.item, lr=lr)`.

    A function is called whenever its name is asked for; what it reads must stay as it
    is until then.
    """

    def __init__(self, **measures: Measure) -> None:
        self._measures = measures

    def __getitem__(self, name: str) -> float:
        measure = self._measures[name]
        return measure() if callable(measure) else measure

    def __iter__(self) -> Iterator[str]:
        return iter(self._measures)

    def __len__(self) -> int:
        return len(self._measures)

    def __or__(self, others: "Measures") -> "Measures":
        return Measures(**{**self._measures, **others._measures})
