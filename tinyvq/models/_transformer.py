"""TransformerPrior: a decoder-only transformer over codes."""

import math

import numpy as np
from tinyvq_kernels import DecoderWeights, decoder

from tinyvq import nn, ops
from tinyvq.backends import beside
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

STD = 0.02  # of the first weights, as in GPT-2


class TransformerPrior(Prior):
    """Logits of each code from all codes before it, by causal attention.

    num_codes    M
    grid         (P, Q); T = P·Q positions
    num_classes  0: unconditional
    width        W, of the vectors between blocks; a multiple of heads
    dropout      of the embeddings and of what each half of a block adds

    What goes in at position t is the code at t - 1, and a start token at 0: one a
    class. To it are added vectors of the row and the column that it is to predict:
    what a head learns about "the code above" then holds in every row.

    Source: Radford et al., "Language models are unsupervised multitask learners", 2019
    (GPT-2): norms before each half of a block, GELU, first weights N(0, 0.02²), those
    that add to the residual stream smaller by √(2·layers). Rows and columns: Child et
    al., arXiv:1904.10509.
    """

    def __init__(
        self,
        num_codes: int,
        grid: tuple[int, int],
        *,
        num_classes: int = 0,
        width: int = 128,
        layers: int = 4,
        heads: int = 4,
        dropout: float = 0.1,
        rng: Stream | None = None,
    ) -> None:
        super().__init__(num_codes, grid, num_classes)
        name = type(self).__name__
        check_sizes(name, width=width, layers=layers, heads=heads)
        if width % heads:
            raise ConfigError(f"{name}: width {width} does not make {heads} heads")
        rng = rng or Stream.fresh()
        self.heads = heads
        # Rows M, M + 1, ... are the start tokens.
        self.tokens = _normal(rng, num_codes + max(1, num_classes), width)
        self.rows = _normal(rng, grid[0], width)
        self.columns = _normal(rng, grid[1], width)
        self.drop = nn.Dropout(dropout, rng=rng)
        small = STD / math.sqrt(2 * layers)
        self.blocks = [_Block(width, heads, small, dropout, rng) for _ in range(layers)]
        self.norm = nn.LayerNorm(width)
        self.head = _linear(rng, width, num_codes)

    def __call__(self, indices: Indices, labels: Indices | None = None) -> Tensor:
        """Return logits (N,T,M) of indices (N,P,Q) or (N,T)."""
        codes = self.check_codes(indices)  # (N,T)
        start = self.start(self.check_labels(labels, len(codes)), len(codes))  # (N,)
        before = np.concatenate([start[:, None], codes[:, :-1]], axis=1)  # (N,T)
        x = self.drop(ops.embedding(self.tokens, before) + self.places())  # (N,T,W)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))

    def decoder(self, labels: Indices | None, count: int) -> CodeDecoder:
        """Begin `count` grids; keys and values of all layers are kept.

        Memory: 2·layers·N·T·W values. A grid costs what one forward costs.
        """
        return _Decoder(self, labels, count)

    def start(self, labels: Indices | None, count: int) -> Indices:
        """Return the start tokens (N,) of labels that were checked."""
        if labels is None:
            return np.full(count, self.num_codes, np.int64)
        return self.num_codes + labels

    def places(self) -> Tensor:
        """Return the vectors (T,W) of all positions: of their row and their column."""
        (p, q), width = self.grid, self.rows.shape[-1]
        rows = ops.reshape(self.rows, p, 1, width)
        columns = ops.reshape(self.columns, 1, q, width)
        return ops.reshape(rows + columns, p * q, width)

    def decoder_weights(self) -> DecoderWeights:
        """Copy the weights into the stacks that the kernel takes."""
        blocks = [_arrays(block) for block in self.blocks]

        def stack(name: str) -> Array:
            return np.stack([block[name] for block in blocks])

        def norms(name: str) -> Array:
            scale_shift = stack(f"{name}.weight"), stack(f"{name}.bias")
            return np.stack(scale_shift, axis=1)

        head = _arrays(self.head)
        qkv = [stack(f"{name}.weight") for name in ("query", "key", "value")]
        bias = stack("query.bias")
        biases = [bias, np.zeros_like(bias), stack("value.bias")]
        return DecoderWeights(
            norm1=norms("norm1"),
            qkv=np.concatenate(qkv, axis=2),
            qkv_bias=np.concatenate(biases, axis=1),
            project=stack("project.weight"),
            project_bias=stack("project.bias"),
            norm2=norms("norm2"),
            widen=stack("widen.weight"),
            widen_bias=stack("widen.bias"),
            narrow=stack("narrow.weight"),
            narrow_bias=stack("narrow.bias"),
            norm=np.stack([self.norm.weight.array, self.norm.bias.array]),
            head=head["weight"],
            head_bias=head["bias"],
            eps=self.norm.eps,
        )


def _arrays(module: Module) -> dict[str, Array]:
    """Return all parameters' values by their names."""
    return {name: parameter.array for name, parameter in module.named_parameters()}


class _Block(Module):
    """x + attention(norm x), then that + MLP(norm of it)."""

    def __init__(
        self, width: int, heads: int, small: float, dropout: float, rng: Stream
    ) -> None:
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.query = _linear(rng, width, width)
        # No bias: the same added to every key moves no softmax.
        self.key = _linear(rng, width, width, bias=False)
        self.value = _linear(rng, width, width)
        self.project = _linear(rng, width, width, small)
        self.drop1 = nn.Dropout(dropout, rng=rng)
        self.norm2 = nn.LayerNorm(width)
        self.widen = _linear(rng, width, 4 * width)
        self.narrow = _linear(rng, 4 * width, width, small)
        self.drop2 = nn.Dropout(dropout, rng=rng)

    def __call__(self, x: Tensor) -> Tensor:
        """Map x (N,T,W)."""
        n, t, width = x.shape
        y = self.norm1(x)
        q, k, v = (self._split(f(y)) for f in (self.query, self.key, self.value))
        y = ops.attention(q, k, v, causal=True)  # (N,A,T,E)
        y = ops.reshape(ops.transpose(y, 0, 2, 1, 3), n, t, width)
        x = x + self.drop1(self.project(y))
        y = ops.gelu(self.widen(self.norm2(x)))  # (N,T,4W)
        return x + self.drop2(self.narrow(y))

    def _split(self, x: Tensor) -> Tensor:
        """Part the width into heads: (N,T,W) -> (N,A,T,E)."""
        n, t, width = x.shape
        x = ops.reshape(x, n, t, self.heads, width // self.heads)
        return ops.transpose(x, 0, 2, 1, 3)


class _Decoder(CodeDecoder):
    """One position at a time against the keys and values of those before."""

    def __init__(
        self, prior: TransformerPrior, labels: Indices | None, count: int
    ) -> None:
        super().__init__(prior, labels, count)
        self._modules = []  # the kernel asks none of them
        self.start = prior.start(self.labels, count)  # (N,)
        self.tokens = prior.tokens.array
        self.places = prior.places().array  # (T,W)
        heads, t = prior.heads, len(self.places)
        self.kernel = decoder(prior.decoder_weights(), heads, count, t)

    def _next(self, position: int, previous: Indices | None) -> Tensor:
        before = self.start if previous is None else previous
        x = self.tokens[beside(before, self.tokens)] + self.places[position]  # (N,W)
        return Tensor.wrap(self.kernel.step(x, position))  # (N,M)


def _normal(rng: Stream, *shape: int, std: float = STD) -> Parameter:
    return Parameter(std * rng.normal(shape, "float32"))


def _linear(
    rng: Stream, width: int, to: int, std: float = STD, *, bias: bool = True
) -> nn.Linear:
    """Make a linear layer with GPT-2's first weights; its bias starts at 0."""
    layer = nn.Linear(width, to, bias=bias, rng=rng.child("replaced"))
    layer.weight = _normal(rng, width, to, std=std)
    layer.bias = Parameter(np.zeros(to, np.float32)) if bias else None
    return layer
