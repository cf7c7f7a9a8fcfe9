"""Hypothesis strategies for ops: cases of a specification, sizes, shapes, arrays.

    @given(cases(spec))
    def test_my_op(case):
        verify(spec, case)

The only module of tinyvq that needs Hypothesis.
"""

from collections.abc import Sequence
from typing import Any, TypeVar

from hypothesis import strategies as st

from tinyvq.testing._draw import ConvGeometry, Draw, edges_within
from tinyvq.testing._spec import Case, OpSpec
from tinyvq.testing._subject import Float64

T = TypeVar("T")


class HypothesisDraw(Draw):
    """Draws by Hypothesis: integers, choices and with them shapes shrink."""

    def __init__(self, draw: st.DrawFn) -> None:
        self._draw = draw

    def integer(self, low: int, high: int) -> int:
        """Draw an integer from low .. high, fond of edges."""
        return self._draw(sizes(low, high))

    def choice(self, options: Sequence[T]) -> T:
        """Draw one of the options; shrinks to the first."""
        return self._draw(st.sampled_from(options))

    def seed(self) -> int:
        """Draw a seed; shrinks to 0."""
        return self._draw(st.integers(0, 2**32 - 1))


def sizes(low: int = 0, high: int = 130) -> st.SearchStrategy[int]:
    """Draw a size: 0, 1, primes and both sides of tile edges more often than others."""
    return st.integers(low, high) | st.sampled_from(edges_within(low, high))


@st.composite
def shapes(
    draw: st.DrawFn, dims: tuple[int, int] = (0, 4), sides: tuple[int, int] = (0, 5)
) -> tuple[int, ...]:
    """Draw a shape, the number of axes and their lengths within bounds."""
    return HypothesisDraw(draw).shape(dims, sides)


@st.composite
def arrays(draw: st.DrawFn, /, shape: tuple[int, ...], **options: Any) -> Float64:
    """Draw a float64 array of normal values; options as for `Draw.array`."""
    return HypothesisDraw(draw).array(shape, **options)


@st.composite
def conv_settings(draw: st.DrawFn) -> ConvGeometry:
    """Draw the sizes and settings of a small 2-D convolution that fits."""
    return HypothesisDraw(draw).conv()


@st.composite
def cases(draw: st.DrawFn, spec: OpSpec) -> Case:
    """Draw a case of a specification."""
    return spec.draw(HypothesisDraw(draw))
