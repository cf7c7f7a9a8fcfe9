"""What stands around the search's filter on Hopper, emulated; the filter is NumPy's."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tinyvq_kernels
from emulated import needs_compiler
from kernel_case import Array
from settle_cases import KINDS, TILE, maxima_of, members, rows_and_codes, settled, tf32
from tinyvq_kernels import _cuda, emulator
from tinyvq_kernels._cuda import deferred_checks
from tinyvq_kernels.search import gpu, gpu_hopper

pytestmark = needs_compiler

every_group = pytest.mark.parametrize("group", gpu_hopper.GROUPS)
SIZES = [  # N, M, D: around blocks of 16, 32 and 64 rows, tiles of 128, chunks of 64
    *((1, 1, 4), (31, 127, 8), (33, 129, 64), (65, 300, 68), (7, 1025, 36)),
]


@every_group
@pytest.mark.parametrize("kind", KINDS)
def test_equals_the_cpu_on_every_row(group: int, kind: str) -> None:
    for size in SIZES:
        z, codes = rows_and_codes(kind, *size)
        expected = tinyvq_kernels.nearest_code(z, codes)
        np.testing.assert_array_equal(settled(z, codes, group), expected)


@every_group
def test_packs_what_the_other_rungs_read(group: int) -> None:
    """Starts to the bit; each value at its place, rounded for the filter; zeros."""
    m, depth = 200, 68
    _, codes = rows_and_codes("random", 1, m, depth)
    packed = gpu_hopper.pack(codes, group)
    call = gpu._begin(codes, codes)
    np.testing.assert_array_equal(packed.starts[:m], call.starts)
    assert (packed.starts[m:] == -np.inf).all()
    np.testing.assert_array_equal(packed.top, call.top)
    padded = np.zeros((256, 96), np.float32)
    padded[:m, :depth] = codes
    of = members(m, group)  # (groups, GROUP)
    groups = padded[of, :depth].reshape(len(of), group, depth // 4, 4).swapaxes(1, 2)
    np.testing.assert_array_equal(packed.groups.reshape(groups.shape), groups)
    slabs = packed.slabs.reshape(2, 3, TILE, 8, 4)
    for code in range(256):
        for q in range(24):
            there = slabs[code // TILE, q // 8, code % TILE, q % 8 ^ code % 8]
            here = tf32(padded[code, q * 4 : q * 4 + 4].copy())
            np.testing.assert_array_equal(there, here)


@every_group
def test_maxima_that_are_off_by_what_is_granted(group: int) -> None:
    """The winner's group is looked at though the filter put it last of all allowed."""
    z, codes = rows_and_codes("random", 70, 300, 64)
    expected = tinyvq_kernels.nearest_code(z, codes)
    maxima = maxima_of(z, codes, group)
    lengths = np.sqrt((z.astype(np.float64) ** 2).sum(axis=1))
    off = lengths * np.sqrt((codes.astype(np.float64) ** 2).sum(axis=1).max()) / 1024
    where = members(len(codes), group)
    for row, code in enumerate(expected):
        at = np.flatnonzero((where == code).any(axis=1))[0]
        tile, place = divmod(at, TILE // group)
        maxima[:, row] += 0.99 * off[row]
        maxima[tile, row, place] -= 1.98 * off[row]
    np.testing.assert_array_equal(settled(z, codes, group, maxima), expected)


LARGEST = float(np.finfo(np.float32).max)
REFUSED = [
    *(("z", 3, np.nan), ("z", 0, -np.inf), ("z", 4, -LARGEST)),
    *(("codes", 70, np.nan), ("codes", 2, np.inf), ("codes", 5, 1e19)),
]


@every_group
@pytest.mark.parametrize(("name", "row", "value"), REFUSED)
def test_what_is_not_finite_is_refused(
    group: int, name: str, row: int, value: float
) -> None:
    z, codes = rows_and_codes("random", 5, 150, 20)
    right = tinyvq_kernels.nearest_code(z, codes)
    (z if name == "z" else codes)[row, 19] = value
    with pytest.raises(ValueError, match=f"row {row} of {name}"):
        settled(z, codes, group)
    with deferred_checks() as checks:
        found = settled(z, codes, group)
        assert ((found >= 0) & (found < 150)).all()  # who reads codes can go on
        if name == "z":
            others = np.arange(5) != row
            np.testing.assert_array_equal(found[others], right[others])
        with pytest.raises(ValueError, match="nearest_code"):
            checks.raise_if_flagged()


def test_a_row_too_large_to_filter() -> None:
    """Of 3e38 TF32 makes infinity; all codes are searched, and the row is allowed."""
    z, codes = rows_and_codes("random", 40, 300, 8)
    codes *= np.float32(1e-3)
    z[[3, 17, 39], 2] = 1.5e38, -1.2e38, 1.6e38
    expected = tinyvq_kernels.nearest_code(z, codes)
    for group in gpu_hopper.GROUPS:
        maxima = maxima_of(z, codes, group)
        maxima[:, [3, 17]] = np.nan
        np.testing.assert_array_equal(settled(z, codes, group, maxima), expected)


@every_group
def test_no_check_finds_anything(group: int) -> None:
    for mode in ("checked", "orders"):
        for kind in ("random", "alike", "repeated"):
            z, codes = rows_and_codes(kind, 35, 140, 68)
            with emulator.emulation(mode) as report:
                settled(z, codes, group)
            assert report.findings == []


@pytest.mark.parametrize("most", [1, 1 << 14, 1 << 16, 1 << 28])
def test_the_rung_in_slices(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slices of 256 rows, of a whole round of the processors, of all rows."""
    z, codes = rows_and_codes("close", 900, 300, 20)
    counts = []

    def filtered(part: Array, packed: gpu_hopper.Packed, maxima: Array, _: int) -> None:
        made = maxima_of(part, codes, packed.group).ravel()
        assert made.nbytes <= maxima.nbytes
        maxima[: made.size] = made
        counts.append(len(part))

    monkeypatch.setattr(gpu_hopper, "_processors_of_hopper", lambda _: 4)
    monkeypatch.setattr(gpu_hopper, "filtered", filtered)
    monkeypatch.setattr(gpu_hopper, "MAXIMA", most)
    expected = tinyvq_kernels.nearest_code(z, codes)
    np.testing.assert_array_equal(gpu_hopper.hopper(z, codes), expected)
    wanted = {1: 256, 1 << 14: 256, 1 << 16: 512, 1 << 28: 900}[most]
    assert counts[0] == wanted
    assert sum(counts) == 900


def test_more_codes_a_group_where_maxima_are_many() -> None:
    assert gpu_hopper.group_for(256, 256) == 4
    assert gpu_hopper.group_for(1024, 256) == gpu_hopper.group_for(512, 64) == 8
    assert gpu_hopper.group_for(16384, 256) == 16
    assert gpu_hopper.group_for(16384, 4096) == 8


@pytest.mark.parametrize(
    ("n", "depth", "m", "rung"),
    [
        (8192, 64, 512, "hopper"),
        (8191, 64, 512, "small_depth"),  # few scores
        (1 << 20, 8, 512, "small_depth"),  # short vectors
        (1 << 20, 18, 512, "small_depth"),  # rows that are no whole pieces of 16 bytes
        (1 << 20, 4100, 512, "small_depth"),  # longer than the error bound is for
    ],
)
@pytest.mark.parametrize("processors", [0, 132])
def test_what_runs_unasked_goes_by_shape_and_device(
    monkeypatch: pytest.MonkeyPatch,
    processors: int,
    n: int,
    depth: int,
    m: int,
    rung: str,
) -> None:
    z, codes = (np.broadcast_to(np.float32(0), (rows, depth)) for rows in (n, m))
    monkeypatch.setattr(gpu_hopper, "_processors_of_hopper", lambda _: processors)
    for name in ("hopper", "small_depth"):
        monkeypatch.setattr(gpu_hopper, name, lambda *_, name=name: name)
    wanted = rung if processors else "small_depth"
    assert gpu_hopper.by_shape(z, codes) == wanted


@dataclass(frozen=True)
class Planted:
    """A text that stands in the file once, what it becomes; rows; what tells of it."""

    name: str
    old: str
    new: str
    kind: str
    told: str


def no_barrier(before: str, kind: str) -> Planted:
    line = f"__syncthreads();  // {before}"
    return Planted(f"no barrier: {before}", line, "//", kind, "race")


BUGS = [
    no_barrier("the chunk is whole", "random"),
    no_barrier("nobody needs it any more", "random"),
    no_barrier("the list is whole", "alike"),
    no_barrier("words are whole", "alike"),
    Planted(
        *("another piece of a line", "(q ^ row % 8)", "(q + row % 8)"),
        *("random", "race"),
    ),
    Planted(
        *("codes of another thread", "t = group % IN_TILE / EACH", "t = group % 4"),
        *("random", "parity"),
    ),
    Planted(
        *("no margin", "return 2.001 * off", "return 0 * off", "close", "parity"),
    ),
    Planted(
        *("one group a thread", "several = !(second <", "several = 0 & !(second <"),
        *("close", "parity"),
    ),
    Planted(
        *("one group a row", "found &= found - 1", "found = 0", "close", "parity"),
    ),
    Planted(
        *("the first crowded rows", "search_all(crowded + i,", "search_all(crowded,"),
        *("alike", "parity"),
    ),
    Planted(
        *("rows beyond N", "first && !crowd)", "row.lane == 0 && !crowd)"),
        *("random", "bounds"),
    ),
    Planted(
        *("crowded rows beyond N", "first && crowd)", "row.lane == 0 && crowd)"),
        *("alike", "bounds"),
    ),
    Planted(
        *("rows listed by each thread", "first && crowd)", "mine < n && crowd)"),
        *("alike", "bounds"),
    ),
]


def caught(bug: Planted) -> set[str]:
    """What the checked mode finds; if that is nothing, whether an index is wrong."""
    z, codes = rows_and_codes(bug.kind, 70, 300, 68)
    expected = tinyvq_kernels.nearest_code(z, codes)
    with emulator.emulation("checked") as report:
        found = settled(z, codes, 8)
    if report.kinds:
        return set(report.kinds)
    return set() if (found == expected).all() else {"parity"}


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_planted_bug_is_caught(bug: Planted, tmp_path: Path) -> None:
    path = gpu_hopper.SETTLE[8].path
    text = (_cuda.FOLDER / path).read_text()
    assert text.count(bug.old) == 1
    assert caught(bug) == set()
    changed = tmp_path / "changed.cu"
    changed.write_text(text.replace(bug.old, bug.new))
    with _cuda.use_source(path, changed):
        assert bug.told in caught(bug)
