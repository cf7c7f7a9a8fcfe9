"""OpSpec, verify, Draw and the Hypothesis strategies."""

import doctest
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import find, given
from hypothesis import strategies as st
from testing.right_ops import Affine, Conv1d, Gather, Leaky, Multiply, Softmax, op

import tinyvq.testing
from tinyvq.testing import Case, ConvGeometry, Draw, OpSpec, SeededDraw, verify
from tinyvq.testing._layouts import LAYOUTS
from tinyvq.testing.strategies import (
    HypothesisDraw,
    arrays,
    cases,
    conv_settings,
    shapes,
    sizes,
)


def draw_affine(draw: Draw) -> Case:
    n, c, k = draw.integer(0, 4), draw.integer(1, 4), draw.integer(1, 4)
    return Case((draw.array((n, c)), draw.array((c, k)), draw.array((k,))))


def draw_conv(draw: Draw) -> Case:
    stride, padding = draw.integer(1, 3), draw.integer(0, 2)
    taps = draw.integer(1, 3)
    width = draw.integer(taps, 7)
    settings = {"stride": stride, "padding": padding}
    return Case((draw.array((width,)), draw.array((taps,))), settings)


def conv(x: Any, w: Any, stride: int, padding: int) -> Any:
    return op(Conv1d, stride=stride, padding=padding)(x, w)


def conv_reference(x: Any, w: Any, stride: int, padding: int) -> Any:
    return np.correlate(np.pad(x, padding), w, "valid")[::stride]


def draw_gather(draw: Draw) -> Case:
    rows = draw.integer(1, 5)
    return Case((draw.array((rows, 2)), draw.indices(rows, draw.shape((1, 2), (1, 3)))))


SPECS = [
    OpSpec(
        "affine",
        op(Affine),
        draw_affine,
        lambda x, w, b: np.einsum("nc,ck->nk", x, w) + b,
        functions=(Affine,),
        linear_in=((0, 2), (1, 2)),
    ),
    OpSpec(
        "conv1d",
        conv,
        draw_conv,
        conv_reference,
        functions=(Conv1d,),
        linear_in=((0,), (1,)),
    ),
    OpSpec(
        "gather",
        op(Gather),
        draw_gather,
        lambda table, indices: np.take(table, indices, axis=0),
        functions=(Gather,),
        linear_in=((0,),),
    ),
    OpSpec(
        "leaky",
        op(Leaky, slope=0.25),
        lambda draw: Case((draw.array(draw.shape(), away_from=0.0),)),
        lambda x: np.maximum(x, 0.25 * x),
        functions=(Leaky,),
    ),
    OpSpec(
        "softmax",
        op(Softmax),
        lambda draw: Case((draw.array(draw.shape((1, 3), (1, 4))),)),
        lambda x: np.exp(x) / np.exp(x).sum(axis=-1, keepdims=True),
        functions=(Softmax,),
    ),
]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_right_specs_pass(spec: OpSpec) -> None:
    for seed in range(20):
        case = spec.case(seed)
        report = verify(spec, case, seed)
        assert report.functions == set(spec.functions)
        assert report.case is case
        assert report.spec is spec
        assert (report.adjoint is None) == (not spec.linear_in)
        # By the settled slopes, and by 64 roundings of float32 in each term.
        assert report.gradient < 2.0**-20
        assert report.value < 1e-13
        assert max(report.value32, report.gradient32) < 1e-4


@given(st.data())
def test_right_specs_pass_with_hypothesis(data: st.DataObject) -> None:
    spec = data.draw(st.sampled_from(SPECS))
    verify(spec, data.draw(cases(spec)))


def test_a_stop_is_told_by_its_surrogate() -> None:
    def stopped(x: Any, w: Any) -> Any:
        return op(Multiply)(x.detach(), w)

    spec = OpSpec(
        "stopped",
        stopped,
        lambda draw: Case((draw.array((2, 3)), draw.array((3,)))),
        np.multiply,
        functions=(Multiply,),
        surrogate=lambda x, w: lambda _, v: x * v,
    )
    verify(spec, spec.case(0))
    with pytest.raises(tinyvq.testing.GradientError, match="input 0 at"):
        verify(replace(spec, surrogate=None), spec.case(0))


def test_a_case_names_its_origin_and_not_its_values() -> None:
    case = SPECS[2].case(3)
    assert repr(case).startswith("Case((float64 (")
    assert repr(case).endswith("{}, 'case(3)')")


def test_the_same_seed_draws_the_same() -> None:
    for spec in SPECS:
        a, b = spec.case(11), spec.case(11)
        for x, y in zip(a.args, b.args, strict=True):
            np.testing.assert_array_equal(x, y)
        assert a.settings == b.settings
    assert [SeededDraw(1).seed(), SeededDraw(2).seed()] != [SeededDraw(1).seed()] * 2


def test_integers_are_fond_of_edges_and_stay_within() -> None:
    draw = SeededDraw(0)
    drawn = [draw.integer(1, 100) for _ in range(2000)]
    assert min(drawn) == 1
    assert max(drawn) == 100
    assert set(drawn) == set(range(1, 101))
    # Edges: half the draws among 17 of them, against a hundredth of the other half.
    assert drawn.count(64) + drawn.count(65) > 4 * (drawn.count(50) + drawn.count(51))
    assert {draw.integer(3, 3) for _ in range(5)} == {3}


def draws() -> list[Draw]:
    return [SeededDraw(seed) for seed in range(50)]


def test_arrays_keep_away_from_kinks() -> None:
    for draw in draws():
        x = draw.array((4, 9), away_from=(-1.0, 0.0, 1.0), gap=0.2)
        assert x.dtype == np.float64
        assert min(np.abs(x - kink).min() for kink in (-1.0, 0.0, 1.0)) >= 0.2
        assert draw.array((5, 5), positive=True).min() >= 0.1
        ordered = np.sort(draw.array((6, 6), distinct=True, gap=0.3).ravel())
        assert np.diff(ordered).min() >= 0.3
        assert draw.array(()).shape == ()
        assert draw.array((3, 0), away_from=0.0).shape == (3, 0)


def test_broadcastable_shapes_broadcast() -> None:
    seen = set()
    for draw in draws():
        other = draw.broadcastable((2, 3, 4))
        assert np.broadcast_shapes(other, (2, 3, 4)) == (2, 3, 4)
        seen.add(other)
    assert {(), (4,), (2, 3, 4)} < seen


def test_drawn_convolutions_fit_and_have_what_convolutions_trip_over() -> None:
    drawn = [draw.conv() for draw in [SeededDraw(seed) for seed in range(300)]]
    for g in drawn:
        assert min(g.image[1:]) >= 1
        assert min(g.output[1:]) >= 1
    left = [g.h + 2 * g.padding - g.dilation * (g.r - 1) - 1 for g in drawn]
    assert any(n % g.stride for n, g in zip(left, drawn, strict=True))
    assert any(g.n == 0 for g in drawn)
    assert any(g.h == 1 for g in drawn)
    assert any(g.padding >= g.r for g in drawn)
    assert any(g.r != g.s and g.h != g.w for g in drawn)
    assert any(g.h < g.r for g in drawn)  # fits by its padding alone


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(), (0, 3), (1,), (5,), (3, 4), (2, 3, 4)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_layouts_hold_the_same_values(
    layout: str, shape: tuple[int, ...], dtype: type
) -> None:
    array = np.arange(np.prod(shape), dtype=dtype).reshape(shape)
    laid = LAYOUTS[layout](array)
    assert isinstance(laid, np.ndarray)
    assert laid.dtype == dtype
    np.testing.assert_array_equal(laid, array, strict=True)
    if shape == (3, 4):
        assert layout == "read-only" or not laid.flags.c_contiguous
        assert laid.flags.writeable == (layout != "read-only")


def test_hypothesis_shrinks_to_what_is_simple() -> None:
    assert find(sizes(), lambda n: n >= 30) == 30
    assert find(shapes(), lambda shape: len(shape) == 2) == (0, 0)
    assert find(shapes((1, 4), (1, 9)), lambda s: max(s) > 6) == (7,)
    smallest = find(conv_settings(), lambda g: g.stride == 2 and g.n > 0)
    assert isinstance(smallest, ConvGeometry)
    assert smallest.settings == {"stride": 2, "padding": 0, "dilation": 1}
    assert smallest.image == (1, 1, 1, 1)
    case = find(cases(SPECS[1]), lambda case: case.settings["padding"] > 0)
    assert [a.shape for a in case.args] == [(1,), (1,)]


@given(st.data())
def test_strategies_keep_their_promises(data: st.DataObject) -> None:
    assert 3 <= data.draw(sizes(3, 70)) <= 70
    shape = data.draw(shapes((1, 3), (0, 6)))
    assert 1 <= len(shape) <= 3
    x = data.draw(arrays(shape, away_from=0.0))
    assert x.shape == shape
    assert (np.abs(x) >= 0.1).all()


def test_choices_shrink_to_the_first() -> None:
    @st.composite
    def chosen(draw: st.DrawFn) -> str:
        return HypothesisDraw(draw).choice(("plain", "odd"))

    assert find(chosen(), lambda _: True) == "plain"


def test_the_example_in_the_package_docstring_runs() -> None:
    result = doctest.testmod(tinyvq.testing)
    assert result.attempted > 5
    assert result.failed == 0
