"""The roofline picture of a profile: each op under the roofs of its machine."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tinyvq.profiling import Machine, Profile
from tinyvq.report.pictures import BLUE, GREY, ORANGE, as_png

if TYPE_CHECKING:
    from matplotlib.figure import Figure

AREA = 5000.0  # square points of an op that takes all of the step
DRAWN = 0.001  # of the step: what takes less would be a speck
LABELLED, LEAST = 12, 0.004  # ops at most; of the step, at least
DPI = 100
INK = "#30343b"


def roofline_picture(profile: Profile, machine: Machine, what: str) -> bytes:
    """Draw a profile as a PNG, 1200 pixels wide; `what` says what was run."""
    return as_png(roofline_figure(profile, machine, what))


@dataclass(frozen=True)
class Op:
    """An op's place: FLOPs a byte, GFLOP/s, and its share of the step, 0 .. 1."""

    name: str
    x: float
    y: float
    share: float


def places(profile: Profile) -> list[Op]:
    """List the ops that have a place, the longest first.

    What computes nothing or moves nothing has none.
    """
    found = []
    for name, op in profile.ops.items():
        cost = op.total
        share = cost.seconds / profile.seconds
        if cost.flops and cost.moved and share >= DRAWN:
            rate = cost.flops / cost.seconds / 1e9
            found.append(Op(name, cost.flops / cost.moved, rate, share))
    return found


def roofline_figure(profile: Profile, machine: Machine, what: str) -> "Figure":
    """Draw each op at its FLOPs a byte and GFLOP/s, both axes logarithmic.

    A point's area is its time.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    ops = places(profile)
    figure = Figure(figsize=(12, 7.6), layout="constrained", dpi=DPI)
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    _set_axes(axes, ops, machine)
    threads = f"{machine.threads} thread{'s' * (machine.threads > 1)}"
    axes.set_title(f"{what}\n{machine.name}, {threads}; roofs as measured", fontsize=12)
    ridge = machine.flops / machine.bandwidth
    for colour, bound, chosen in (
        (BLUE, "held back by memory", [op for op in ops if op.x < ridge]),
        (ORANGE, "held back by arithmetic", [op for op in ops if op.x >= ridge]),
    ):
        style: dict[str, Any] = {"color": colour, "alpha": 0.65, "edgecolor": "white"}
        xs, ys = [op.x for op in chosen], [op.y for op in chosen]
        axes.scatter(xs, ys, s=[AREA * op.share for op in chosen], zorder=3, **style)
        axes.scatter([], [], s=80, label=bound, **style)
    left, right = axes.get_xlim()
    xs = [left, ridge, right]
    axes.plot(xs, [machine.roof(x) / 1e9 for x in xs], color=INK, lw=1.8, zorder=2)
    title = "a point: an op, forward and backward; its area: time"
    figure.legend(loc="outside lower center", ncols=2, frameon=False, title=title)
    _label(figure, axes, machine, ops)
    return figure


def _set_axes(axes: Any, ops: Sequence[Op], machine: Machine) -> None:
    """Leave room about all points and about the corner of the roofs."""
    ridge, peak = machine.flops / machine.bandwidth, machine.flops / 1e9
    xs = [*(op.x for op in ops), ridge]
    ys = [*(op.y for op in ops), peak]
    axes.set(xscale="log", yscale="log")
    axes.set_xlim(min(xs) / 4, max(xs) * 6)
    axes.set_ylim(min(ys) / 5, max(ys) * 4)
    axes.set_xlabel("FLOPs a byte read or written")
    axes.set_ylabel("GFLOP/s")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels."""

    left: float
    bottom: float
    right: float
    top: float

    def meets(self, other: "Box") -> bool:
        """Tell whether two boxes overlap."""
        return (
            self.left < other.right
            and other.left < self.right
            and self.bottom < other.top
            and other.bottom < self.top
        )

    def within(self, other: "Box") -> bool:
        """Tell whether this box lies in another."""
        return (
            self.left >= other.left
            and self.right <= other.right
            and self.bottom >= other.bottom
            and self.top <= other.top
        )


def around(x: float, y: float, width: float, height: float) -> Box:
    """Make a box about a centre."""
    return Box(x - width / 2, y - height / 2, x + width / 2, y + height / 2)


def place(
    point: Box,
    width: float,
    height: float,
    frame: Box,
    taken: Iterable[Box],
    labels: Iterable[Box] = (),
) -> Box | None:
    """Find a place for a label near a point: in the frame, where nothing stands yet.

    taken   where no label may stand
    labels  nor may one stand there; the line to it crosses one only where it must

    Places are tried the nearest first, above, then round. None where all are taken.
    """
    written = list(labels)
    obstacles = [*taken, *written]
    crossing = None
    x, y = (point.left + point.right) / 2, (point.bottom + point.top) / 2
    radius = (point.right - point.left) / 2
    for gap in (4, 14, 28, 46, 70, 100, 140, 190):
        for turn in range(16):
            # up, then to both sides of it in turn: 0, +1, -1, +2, ...
            angle = math.pi / 2 + math.pi / 8 * ((turn + 1) // 2) * (-1) ** turn
            across = math.cos(angle) * (radius + gap + width / 2)
            up = math.sin(angle) * (radius + gap + height / 2)
            box = around(x + across, y + up, width, height)
            if not box.within(frame) or any(box.meets(other) for other in obstacles):
                continue
            steps = [i / 40 for i in range(41)]
            line = [around(x + across * t, y + up * t, 2, 2) for t in steps]
            if not any(dot.meets(other) for dot in line for other in written):
                return box
            crossing = crossing or box
    return crossing


def _label(figure: "Figure", axes: Any, machine: Machine, ops: Sequence[Op]) -> None:
    """Name roofs and main ops, each label where there is room."""
    figure.draw_without_rendering()  # so that it is known where everything stands
    figure.set_layout_engine("none")
    points = [_point(axes, op.x, op.y, op.share) for op in ops]
    taken = [*points, *_along_roofs(axes, machine)]
    labels: list[Box] = []
    left, right = axes.get_xlim()
    ridge = machine.flops / machine.bandwidth
    for x, words in (
        (math.sqrt(left * ridge), f"memory: {machine.bandwidth / 1e9:.0f} GB/s"),
        (math.sqrt(ridge * right), f"arithmetic: {machine.flops / 1e9:.0f} GFLOP/s"),
    ):
        y = machine.roof(x) / 1e9
        _write(axes, words, (x, y), _point(axes, x, y, 0), taken, labels, leader=False)
    for op, point in list(zip(ops, points, strict=True))[:LABELLED]:
        if op.share >= LEAST:
            percent = f"{100 * op.share:.{0 if op.share >= 0.01 else 1}f}%"
            _write(axes, f"{op.name}  {percent}", (op.x, op.y), point, taken, labels)


def _write(
    axes: Any,
    words: str,
    at: tuple[float, float],
    point: Box,
    taken: list[Box],
    labels: list[Box],
    *,
    leader: bool = True,
) -> None:
    """Write a label near a point, with a line to it, and add its place to `labels`."""
    from matplotlib.text import Text

    label = axes.annotate(
        words,
        at,
        xytext=(0, 0),
        textcoords="figure pixels",
        ha="center",
        va="center",
        fontsize=11,
        color=INK,
        zorder=4,
        arrowprops={"arrowstyle": "-", "color": GREY, "lw": 0.8} if leader else None,
    )
    size = _box(Text.get_window_extent(label))  # of the words, without the line
    width, height = size.right - size.left + 6, size.top - size.bottom + 2
    frame = _box(axes.get_window_extent())
    found = place(point, width, height, frame, taken, labels)
    if found is None:
        label.remove()
        return
    labels.append(found)
    centre = (found.left + found.right) / 2, (found.bottom + found.top) / 2
    label.set_position(centre)


def _box(extent: Any) -> Box:
    return Box(extent.x0, extent.y0, extent.x1, extent.y1)


def _point(axes: Any, x: float, y: float, share: float) -> Box:
    """Compute the box of an op's point in pixels."""
    across, up = axes.transData.transform((x, y))
    diameter = 2 * math.sqrt(AREA * share / math.pi) * DPI / 72  # AREA is in points
    return around(float(across), float(up), diameter, diameter)


def _along_roofs(axes: Any, machine: Machine) -> list[Box]:
    """Cover the lines of the roofs by small boxes."""
    left, right = axes.get_xlim()
    xs = [left * (right / left) ** (i / 300) for i in range(301)]
    ends = [axes.transData.transform((x, machine.roof(x) / 1e9)) for x in xs]
    return [around(float(across), float(up), 8, 8) for across, up in ends]
