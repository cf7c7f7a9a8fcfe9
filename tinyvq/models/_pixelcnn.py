"""PixelCNN: a gated convolutional prior over codes."""

import math

import numpy as np

from tinyvq import nn, ops
from tinyvq.backends import module_of
from tinyvq.errors import ConfigError
from tinyvq.function import Array
from tinyvq.models._prior import (
    CodeDecoder,
    Indices,
    Prior,
    check_sizes,
)
from tinyvq.nn import Module, Parameter
from tinyvq.rng import Stream
from tinyvq.tensor import Tensor


class PixelCNN(Prior):
    """Logits of each code from all codes before it, by gated convolutions.

    num_codes    M
    grid         (P, Q); T = P·Q positions
    num_classes  0: unconditional; else each gate has a bias of the class
    hidden       channels C of both stacks
    kernel_size  k, odd, at least 3: h = k // 2
    dropout      of what each layer adds to the horizontal stack

    Two stacks run side by side. The vertical one (v) sees the rows above, the
    horizontal one (-) the codes to the left, and the first is handed to the second
    layer by layer, so nothing before the position (o) hides in a blind spot:

        v v v v v
        v v v v v      k = 3:  v of the next layer  v v v    - of the next layer  - -
        - - o . .              from this            v v v    from this

    No kernel is masked: what may not be seen is not there. The codes enter the vertical
    stack a row lower, and the horizontal one a column further right, than they stand,
    so at (r, c) the one holds the code at (r-1, c), the other that at (r, c-1). From
    there a kernel may reach up, to both sides and to its own place: (h+1, k) and
    (1, h+1) taps on values that are padded above, left and right, never below. A pile
    of L layers sees h·L + 1 rows up, and there h·L columns to each side.

    Source: van den Oord et al., "Conditional image generation with PixelCNN decoders",
    arXiv:1606.05328, section 2 and figure 2.
    """

    def __init__(
        self,
        num_codes: int,
        grid: tuple[int, int],
        *,
        num_classes: int = 0,
        hidden: int = 64,
        layers: int = 8,
        kernel_size: int = 3,
        dropout: float = 0.1,
        rng: Stream | None = None,
    ) -> None:
        super().__init__(num_codes, grid, num_classes)
        name = type(self).__name__
        check_sizes(name, hidden=hidden, layers=layers, kernel_size=kernel_size)
        if kernel_size % 2 == 0 or kernel_size < 3:
            raise ConfigError(
                f"{name}: kernel_size must be odd and at least 3, got {kernel_size}"
            )
        rng = rng or Stream.fresh()
        self.reach = kernel_size // 2
        self.tokens = nn.Embedding(num_codes, hidden, rng=rng)
        self.layers = [
            _Layer(hidden, self.reach, num_classes, dropout, rng) for _ in range(layers)
        ]
        self.widen = nn.Linear(hidden, 2 * hidden, rng=rng)
        self.head = nn.Linear(2 * hidden, num_codes, rng=rng)

    def __call__(self, indices: Indices, labels: Indices | None = None) -> Tensor:
        """Return logits (N,T,M) of indices (N,P,Q) or (N,T)."""
        codes = self.check_codes(indices).reshape(-1, *self.grid)  # (N,P,Q)
        checked = self.check_labels(labels, len(codes))
        h = self.reach
        x = ops.embedding(self.tokens.weight, codes)  # (N,P,Q,C)
        above = ops.pad(x[:, :-1], _around(up=1))  # (N,P,Q,C)
        left = ops.pad(x[:, :, :-1], _around(left=1))  # (N,P,Q,C)
        for layer in self.layers:
            padded = ops.pad(above, _around(up=h, left=h, right=h))
            seen = layer.look_up(padded, checked)  # (N,P,Q,2C)
            padded = ops.pad(left, _around(left=h))
            left = left + layer.look_left(padded, layer.link(seen), checked)
            if layer is not self.layers[-1]:  # nobody would look at it
                above = _gate(seen)
        logits = self.logits(left)  # (N,P,Q,M)
        return ops.reshape(logits, len(codes), -1, self.num_codes)  # (N,T,M)

    def logits(self, left: Tensor) -> Tensor:
        """Return the logits (...,M) of the horizontal stack (...,C)."""
        return self.head(ops.relu(self.widen(ops.relu(left))))

    def decoder(self, labels: Indices | None, count: int) -> CodeDecoder:
        """Begin `count` grids; each value of both stacks is computed once.

        Memory: layers·N·Q·C·(h + 4) values. A grid costs what one forward costs, in
        layers·(P + T) small convolutions.
        """
        return _Decoder(self, labels, count)


class _Layer(Module):
    """One layer of both stacks, on padded values."""

    def __init__(
        self, hidden: int, reach: int, num_classes: int, dropout: float, rng: Stream
    ) -> None:
        both = 2 * hidden  # what goes into tanh, and what goes into the gate
        self.up = _Convolution(reach + 1, 2 * reach + 1, hidden, both, rng)
        self.left = _Convolution(1, reach + 1, hidden, both, rng)
        self.link = nn.Linear(both, both, rng=rng)
        self.out = nn.Linear(hidden, hidden, rng=rng)
        self.drop = nn.Dropout(dropout, rng=rng)
        self.up_classes = self.left_classes = None
        if num_classes:
            # Linear maps of a label's one-hot vector: a row per class.
            self.up_classes = nn.Linear(num_classes, both, bias=False, rng=rng)
            self.left_classes = nn.Linear(num_classes, both, bias=False, rng=rng)

    def look_up(self, above: Tensor, labels: Indices | None) -> Tensor:
        """Return the vertical stack before its gate: (N,h+P,h+Q+h,C) -> (N,P,Q,2C)."""
        return _add_class(self.up(above), self.up_classes, labels)

    def look_left(self, left: Tensor, link: Tensor, labels: Indices | None) -> Tensor:
        """Return what the horizontal stack gains: (N,P,h+Q,C) -> (N,P,Q,C)."""
        x = _add_class(self.left(left) + link, self.left_classes, labels)
        return self.drop(self.out(_gate(x)))


class _Convolution(Module):
    """A convolution by rows × columns taps, without padding: weight (R,S,C,K)."""

    def __init__(
        self, rows: int, columns: int, channels: int, to: int, rng: Stream
    ) -> None:
        bound = 1 / math.sqrt(rows * columns * channels)  # as nn.Conv2d
        shape = (rows, columns, channels, to)
        self.weight = Parameter(rng.uniform(shape, -bound, bound, "float32"))
        self.bias = Parameter(rng.uniform(to, -bound, bound, "float32"))

    def __call__(self, x: Tensor) -> Tensor:
        return ops.conv2d(x, self.weight, self.bias)


def _gate(x: Tensor) -> Tensor:
    """tanh of the first half of the channels, times the logistic of the second."""
    half = x.shape[-1] // 2
    return ops.tanh(x[..., :half]) * ops.sigmoid(x[..., half:])


def _add_class(x: Tensor, classes: nn.Linear | None, labels: Indices | None) -> Tensor:
    """Add each grid's class vector at all its positions: x (N,P,Q,K)."""
    if classes is None or labels is None:
        return x
    vectors = ops.embedding(classes.weight, labels)  # (N,K)
    return x + ops.reshape(vectors, len(labels), 1, 1, -1)


def _around(up: int = 0, left: int = 0, right: int = 0) -> list[tuple[int, int]]:
    """Widths to pad (N,P,Q,C) by: never below."""
    return [(0, 0), (up, 0), (left, right), (0, 0)]


class _Decoder(CodeDecoder):
    """Keeps of each layer the rows and columns that a kernel can still reach."""

    def __init__(self, prior: PixelCNN, labels: Indices | None, count: int) -> None:
        super().__init__(prior, labels, count)
        self.prior, self.columns = prior, prior.grid[1]
        q, h = self.columns, prior.reach
        table = prior.tokens.weight
        channels, xp = table.shape[-1], module_of(table.array)

        def zeros(*shape: int) -> list[Array]:
            full = (count, *shape, channels)
            return [xp.zeros(full, table.dtype) for _ in prior.layers]

        self.above = zeros(h + 1, h + q + h)  # the last h + 1 rows, padded
        self.left = zeros(1, h + q)  # the row so far, padded
        self.links: list[Tensor] = []  # (N,1,Q,2C) a layer, of this row
        self.codes = xp.zeros((count, q, channels), table.dtype)  # of the row before

    def _next(self, position: int, previous: Indices | None) -> Tensor:
        c = position % self.columns
        h, start = self.prior.reach, np.zeros_like(self.codes[:, 0])
        if previous is not None:
            codes = ops.embedding(self.prior.tokens.weight, previous).array  # (N,C)
            self.codes[:, (position - 1) % self.columns] = codes
            start = codes if c > 0 else start
        if c == 0:
            self._begin_row()
        x = Tensor.wrap(start.reshape(self.count, 1, 1, -1))  # (N,1,1,C)
        for layer, left, link in zip(
            self.prior.layers, self.left, self.links, strict=True
        ):
            left[:, :, h + c] = x.array[:, :, 0]
            window = Tensor.wrap(left[:, :, c : c + h + 1])  # (N,1,h+1,C)
            x = x + layer.look_left(window, link[:, :, c : c + 1], self.labels)
        return ops.reshape(self.prior.logits(x), self.count, -1)  # (N,M)

    def _begin_row(self) -> None:
        """Bring the vertical stack down by a row, to below the codes that are known."""
        h, q = self.prior.reach, self.columns
        self.links = []
        row = self.codes  # (N,Q,C)
        for layer, above in zip(self.prior.layers, self.above, strict=True):
            above[:, :-1] = above[:, 1:]
            above[:, -1, h : h + q] = row
            seen = layer.look_up(Tensor.wrap(above), self.labels)  # (N,1,Q,2C)
            self.links.append(layer.link(seen))
            row = _gate(seen).array[:, 0]  # (N,Q,C)
