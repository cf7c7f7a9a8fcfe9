"""The priors over codes in plain PyTorch, as functions of tinyvq's weights.

What tinyvq is held against. The causal attention hides keys by a mask, and the PixelCNN
is the paper's own form of it, with masked kernels where tinyvq shifts what comes in.
`CachedTransformer` is what sampling is timed beside.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from tinyvq.models import PixelCNN, Prior, TransformerPrior

Weights = dict[str, torch.Tensor]


def weights_of(prior: Prior) -> Weights:
    """Copy all parameters by path, in tinyvq's axes, to be trained."""
    return {
        name: torch.tensor(parameter.numpy(), requires_grad=True)
        for name, parameter in prior.named_parameters()
    }


def logits(
    prior: Prior,
    w: Weights,
    codes: torch.Tensor,
    labels: torch.Tensor | None,
    dropout: float = 0.0,
) -> torch.Tensor:
    """Return (N,T,M) logits of codes (N,P,Q) by the prior's network with weights w."""
    if isinstance(prior, TransformerPrior):
        return transformer(prior, w, codes, labels, dropout)
    assert isinstance(prior, PixelCNN)
    return pixelcnn(prior, w, codes, labels, dropout)


def nats(prior: Prior, w: Weights, codes: Any, labels: Any, **settings: Any) -> Any:
    """Mean negative log likelihood of codes (N,P,Q), in nats per token."""
    found = logits(prior, w, codes, labels, **settings)
    return F.cross_entropy(found.flatten(0, 1), codes.flatten())


def transformer(
    prior: TransformerPrior,
    w: Weights,
    codes: torch.Tensor,
    labels: torch.Tensor | None,
    dropout: float = 0.0,
) -> torch.Tensor:
    n, t = len(codes), prior.grid[0] * prior.grid[1]
    if labels is None:
        labels = torch.zeros(n, dtype=torch.int64)
    start = w["tokens"][prior.num_codes + labels]  # (N,W)
    rest = w["tokens"][codes.reshape(n, t)[:, :-1]]  # (N,T-1,W)
    places = torch.stack(
        [
            w["rows"][r] + w["columns"][c]
            for r in range(prior.grid[0])
            for c in range(prior.grid[1])
        ]
    )  # (T,W)
    x = torch.cat([start[:, None], rest], dim=1) + places
    x = F.dropout(x, dropout)
    for i in range(len(prior.blocks)):
        own = {
            name.removeprefix(f"blocks.{i}."): value
            for name, value in w.items()
            if name.startswith(f"blocks.{i}.")
        }
        x = _block(own, x, prior.heads, dropout)
    return _linear(w, "head", _norm(w, "norm", x))


def _block(w: Weights, x: torch.Tensor, heads: int, dropout: float) -> torch.Tensor:
    n, t, width = x.shape
    y = _norm(w, "norm1", x)
    q, k, v = (
        _linear(w, name, y).view(n, t, heads, width // heads).transpose(1, 2)
        for name in ("query", "key", "value")
    )
    scores = q @ k.transpose(-1, -2) / math.sqrt(width // heads)  # (N,A,T,T)
    hidden = torch.ones(t, t, dtype=torch.bool).triu(1)
    y = scores.masked_fill(hidden, -math.inf).softmax(-1) @ v
    y = y.transpose(1, 2).reshape(n, t, width)
    x = x + F.dropout(_linear(w, "project", y), dropout)
    y = F.gelu(_linear(w, "widen", _norm(w, "norm2", x)), approximate="tanh")
    return x + F.dropout(_linear(w, "narrow", y), dropout)


def _linear(w: Weights, name: str, x: torch.Tensor) -> torch.Tensor:
    return F.linear(x, w[f"{name}.weight"].T, w.get(f"{name}.bias"))


def _norm(w: Weights, name: str, x: torch.Tensor) -> torch.Tensor:
    width = x.shape[-1:]
    return F.layer_norm(x, width, w[f"{name}.weight"], w[f"{name}.bias"])


class CachedTransformer:
    """The transformer code by code, the way PyTorch does it fast.

    prior  whose weights are taken: query, key and value as one layer
    count  N, grids at once; keys and values (N,A,T,E) of each block are in memory from
           the start
    whole  attend to the whole cache through a mask, every shape the same at all
           positions, as a compiled step has to; or to the part that is filled
    """

    def __init__(
        self, prior: TransformerPrior, count: int, *, whole: bool = False
    ) -> None:
        w = {name: value.detach() for name, value in weights_of(prior).items()}
        p, q = prior.grid
        self.count, self.heads, self.positions = count, prior.heads, p * q
        self.num_codes, self.whole = prior.num_codes, whole
        self.tokens = w["tokens"]
        self.places = (w["rows"][:, None] + w["columns"]).flatten(0, 1)  # (T,W)
        width = self.places.shape[1]
        self.blocks = [_fused(w, f"blocks.{i}.") for i in range(len(prior.blocks))]
        self.norm = (w["norm.weight"], w["norm.bias"])
        self.head = (w["head.weight"].T.contiguous(), w["head.bias"])
        self.cache_shape = (2, count, prior.heads, p * q, width // prior.heads)
        self.make_caches()

    def make_caches(self) -> None:
        """Take memory for keys and values (2,N,A,T,E) of each block."""
        self.caches = [torch.zeros(self.cache_shape) for _ in self.blocks]

    def logits(self, position: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
        """Return logits (N,M) at a position (1,), given the tokens (N,) before it."""
        x = self.tokens[before] + self.places[position]  # (N,W)
        for w, cache in zip(self.blocks, self.caches, strict=True):
            y = F.layer_norm(x, x.shape[1:], *w["norm1"])
            y = self._attend(F.linear(y, *w["qkv"]), cache, position)
            x = x + F.linear(y, *w["project"])
            y = F.linear(F.layer_norm(x, x.shape[1:], *w["norm2"]), *w["widen"])
            x = x + F.linear(F.gelu(y, approximate="tanh"), *w["narrow"])
        return F.linear(F.layer_norm(x, x.shape[1:], *self.norm), *self.head)

    def _attend(
        self, qkv: torch.Tensor, cache: torch.Tensor, position: torch.Tensor
    ) -> torch.Tensor:
        """Keep a key and a value; mix the values so far, (N,3W) -> (N,W)."""
        n = len(qkv)
        q, k, v = qkv.view(n, 3, self.heads, 1, -1).unbind(1)  # (N,A,1,E) each
        cache.index_copy_(3, position, torch.stack([k, v]))
        if self.whole:
            seen = torch.arange(self.positions) <= position  # (T,)
            mixed = F.scaled_dot_product_attention(q, *cache, attn_mask=seen[None])
        else:
            past = cache[:, :, :, : int(position) + 1]
            mixed = F.scaled_dot_product_attention(q, *past)
        return mixed.reshape(n, -1)

    @torch.inference_mode()
    def sample(
        self,
        labels: torch.Tensor,
        unit: torch.Tensor,
        run: Callable[..., torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """Draw codes (N,T) at temperature 1, from uniform numbers (N,T) in [0, 1).

        run  what to run instead of `logits`, say its compiled form
        """
        codes = torch.empty((self.count, self.positions), dtype=torch.int64)
        before = self.num_codes + labels
        unit = unit.T[..., None].contiguous()  # (T,N,1)
        for position in torch.arange(self.positions):
            logits = (run or self.logits)(position[None], before)
            total = logits.softmax(-1).cumsum(-1)  # (N,M)
            drawn = torch.searchsorted(total, unit[position], right=True)
            before = drawn[:, 0].clamp_(max=self.num_codes - 1)
            codes[:, position] = before
        return codes


def _fused(w: Weights, path: str) -> dict[str, tuple[torch.Tensor, ...]]:
    """Collect a block's weights as PyTorch's layers take them, (out, in)."""
    own = {k.removeprefix(path): v for k, v in w.items() if k.startswith(path)}
    no_bias = torch.zeros_like(own["query.bias"])
    parts = ("query", "key", "value")
    layers = {
        "qkv": (
            torch.cat([own[f"{part}.weight"].T for part in parts]),
            torch.cat([own.get(f"{part}.bias", no_bias) for part in parts]),
        )
    }
    for name in ("project", "widen", "narrow"):
        layers[name] = (own[f"{name}.weight"].T.contiguous(), own[f"{name}.bias"])
    for name in ("norm1", "norm2"):
        layers[name] = (own[f"{name}.weight"], own[f"{name}.bias"])
    return layers


def pixelcnn(
    prior: PixelCNN,
    w: Weights,
    codes: torch.Tensor,
    labels: torch.Tensor | None,
    dropout: float = 0.0,
) -> torch.Tensor:
    """Run the masked form; images are (N,C,P,Q) here.

    Kernels reach to all sides. The mask of the first layer hides the row, or the place,
    that it stands on; that of later layers shows it.
    """
    x = w["tokens.weight"][codes].permute(0, 3, 1, 2)  # (N,C,P,Q)
    v = x
    h = F.pad(x, (1, 0))[..., :-1]  # what is added to: the code to the left
    for i in range(len(prior.layers)):
        own = f"layers.{i}"
        first = i == 0
        seen = _masked(w, f"{own}.up", v, up=True, first=first)
        seen = seen + _of_class(w, f"{own}.up_classes", labels)
        y = _masked(w, f"{own}.left", x if first else h, up=False, first=first)
        y = y + _of_class(w, f"{own}.left_classes", labels)
        y = _gated(y + _one_by_one(w, f"{own}.link", seen))
        h = h + F.dropout(_one_by_one(w, f"{own}.out", y), dropout)
        v = _gated(seen)
    y = _one_by_one(w, "widen", h.relu()).relu()
    y = _one_by_one(w, "head", y)  # (N,M,P,Q)
    return y.flatten(2).transpose(1, 2)  # (N,T,M)


def _masked(
    w: Weights, name: str, x: torch.Tensor, *, up: bool, first: bool
) -> torch.Tensor:
    """Convolve by tinyvq's taps in a kernel that is symmetrical, zeros in the rest."""
    taps = w[f"{name}.weight"].permute(3, 2, 0, 1)  # (K,C,R,S)
    rows, columns = taps.shape[2:]
    # Taps that end on the centre, or one before it, need as many zeros behind it.
    behind = (rows if up else columns) - 1 + 2 * first
    kernel = F.pad(taps, (0, 0, 0, behind) if up else (0, behind))
    size = tuple(n // 2 for n in kernel.shape[2:])
    return F.conv2d(x, kernel, w[f"{name}.bias"], padding=size)


def _one_by_one(w: Weights, name: str, x: torch.Tensor) -> torch.Tensor:
    kernel = w[f"{name}.weight"].T[:, :, None, None]  # (K,C,1,1)
    return F.conv2d(x, kernel, w[f"{name}.bias"])


def _of_class(w: Weights, name: str, labels: torch.Tensor | None) -> Any:
    if labels is None:
        return 0.0
    table = w[f"{name}.weight"]
    return (F.one_hot(labels, len(table)).to(table.dtype) @ table)[:, :, None, None]


def _gated(x: torch.Tensor) -> torch.Tensor:
    value, gate = x.chunk(2, dim=1)
    return value.tanh() * gate.sigmoid()
