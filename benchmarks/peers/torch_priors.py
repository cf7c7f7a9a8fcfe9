"""The priors over codes in plain PyTorch, as functions of tinyvq's weights.

What tinyvq is held against. The causal attention hides keys by a mask, and the PixelCNN
is the paper's own form of it, with masked kernels where tinyvq shifts what comes in.
"""

import math
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
    """Mean negative log likelihood of codes (N,P,Q), in nats a token."""
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
