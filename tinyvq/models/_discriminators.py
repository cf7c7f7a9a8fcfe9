"""Discriminators: real image or made? PatchGAN's of patches, and a plain one.

They answer with logits, high for real: the sigmoid that makes a probability of one
lives in the loss. Taken together with its logarithm there it stays exact where a
discriminator is nearly certain, while log(1 - σ(x)) of a finished σ(x) would be the
logarithm of 0; and hinge and least squares want the logit itself.
"""

import math
from abc import ABC, abstractmethod
from typing import Literal, get_args

from tinyvq import ops
from tinyvq.errors import ConfigError, ShapeError
from tinyvq.nn import (
    BatchNorm2d,
    Conv2d,
    ConvTranspose2d,
    Layer,
    LeakyReLU,
    Linear,
    Module,
    Parameter,
    Reshape,
    Sequential,
)
from tinyvq.rng import Stream
from tinyvq.tensor import Tensor

DiscriminatorNorm = Literal["batch", "none"]

SLOPE = 0.2  # of the leaky ReLUs
SPREAD = 0.02  # of PatchGAN's first weights


class Discriminator(Module, ABC):
    """Layers that end in a leaky ReLU, and a head that makes logits of the last."""

    def __init__(self, channels: int, body: list[Sequential], head: Layer) -> None:
        self.channels = channels
        self.body = body
        self.head = head

    def __call__(self, x: Tensor) -> Tensor:
        """Judge images (N,H,W,C): logits, high for real ones."""
        logits, _ = self.judge(x)
        return logits

    def judge(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Give logits of images (N,H,W,C), and what each layer made of them on the way.

        Raises ShapeError where images do not fit.
        """
        if x.ndim != 4 or x.shape[3] != self.channels or not self._fits(*x.shape[1:3]):
            raise ShapeError(
                f"{type(self).__name__}: needs images {self._wanted()}, got {x.shape}"
            )
        hidden = []
        for layer in self.body:
            x = layer(x)
            hidden.append(x)
        return self.head(x), hidden

    @abstractmethod
    def _fits(self, height: int, width: int) -> bool:
        """Tell whether images of that size can be judged."""

    @abstractmethod
    def _wanted(self) -> str:
        """Say what images can be judged."""


class PatchGAN(Discriminator):
    """Judge every patch of an image: (N,H,W,C) -> logits (N,P,Q,1).

    channels    of the images
    image_size  (H, W) of the images, to be checked here; any that fits, where None
    hidden      channels of the first layer; a layer has twice as many as the one before
                it, up to 8 · hidden
    layers      how often height and width are halved, rounding down
    norm        "batch": batch norm follows every convolution between first and last
    rng         draws the weights (default: a fresh stream)

    Convolutions of 4×4: `layers` of stride 2, one more of stride 1, and one of stride 1
    to the logits, each of the two 1 smaller than what it sees. With 3 layers a logit
    sees 70×70 pixels, with 2, 34×34. Weights are drawn from N(0, 0.02²), batch norm's
    from N(1, 0.02²), biases are 0.
    Source: Isola et al., arXiv:1611.07004, section 6.1.2.
    """

    def __init__(
        self,
        channels: int,
        *,
        image_size: tuple[int, int] | None = None,
        hidden: int = 64,
        layers: int = 3,
        norm: DiscriminatorNorm = "batch",
        rng: Stream | None = None,
    ) -> None:
        _check("PatchGAN", channels, hidden, layers, norm)
        rng = rng or Stream.fresh()
        # n pixels become n // 2 layer by layer, then 1 less twice; 1 must be left.
        self.smallest: int = 3 * 2**layers
        if image_size is not None and not self._fits(*image_size):
            least, (height, width) = self.smallest, image_size
            raise ConfigError(
                f"PatchGAN: with {layers} layers the smallest images are "
                f"{least}×{least}, got {height}×{width}; take fewer layers"
            )
        body: list[Sequential] = []
        width = channels
        for i in range(layers + 1):
            wider = hidden * min(2**i, 8)
            normed = norm == "batch" and i > 0
            conv = Conv2d(
                width,
                wider,
                4,
                stride=2 if i < layers else 1,
                padding=1,
                bias=not normed,  # batch norm would take it away again
                rng=rng,
            )
            body.append(_layer(conv, wider if normed else 0))
            width = wider
        super().__init__(channels, body, Conv2d(width, 1, 4, padding=1, rng=rng))
        draw_normal(self, rng)

    def _fits(self, height: int, width: int) -> bool:
        return min(height, width) >= self.smallest

    def _wanted(self) -> str:
        return f"(N,H,W,{self.channels}) of {self.smallest}×{self.smallest} or more"


class ConvDiscriminator(Discriminator):
    """Judge an image as a whole: (N,H,W,C) -> logits (N,1). The textbooks' plain one.

    channels    of the images
    image_size  (H, W) of the images, odd or even
    hidden      channels of the first layer; each further layer has twice as many
    layers      convolutions of 3×3 that halve height and width, rounding up
    norm        "batch": batch norm follows every convolution but the first
    rng         draws the weights (default: a fresh stream)

    Convolutions and leaky ReLUs, then a linear layer to one logit; `probability` is its
    sigmoid. Weights are drawn as the layers draw them.
    """

    def __init__(
        self,
        channels: int,
        *,
        image_size: tuple[int, int],
        hidden: int = 64,
        layers: int = 2,
        norm: DiscriminatorNorm = "batch",
        rng: Stream | None = None,
    ) -> None:
        _check("ConvDiscriminator", channels, hidden, layers, norm)
        if min(image_size) < 1:
            raise ConfigError(
                "ConvDiscriminator: the smallest images are 1×1, "
                f"got {image_size[0]}×{image_size[1]}"
            )
        rng = rng or Stream.fresh()
        self.image_size = (image_size[0], image_size[1])
        body: list[Sequential] = []
        width = channels
        for i in range(layers):
            wider = hidden * 2**i
            normed = norm == "batch" and i > 0
            conv = Conv2d(
                width, wider, 3, stride=2, padding=1, bias=not normed, rng=rng
            )
            body.append(_layer(conv, wider if normed else 0))
            width = wider
        p, q = (math.ceil(side / 2**layers) for side in image_size)
        head = Sequential(
            Reshape(p * q * width),  # (N, P·Q·K)
            Linear(p * q * width, 1, rng=rng),
        )
        super().__init__(channels, body, head)

    def probability(self, x: Tensor) -> Tensor:
        """Compute how likely images (N,H,W,C) are real: (N,1), from 0 to 1.

        To be looked at; losses take the logits.
        """
        return ops.sigmoid(self(x))

    def _fits(self, height: int, width: int) -> bool:
        return (height, width) == self.image_size

    def _wanted(self) -> str:
        height, width = self.image_size
        return f"(N,{height},{width},{self.channels})"


def _layer(conv: Conv2d, normed: int) -> Sequential:
    """Follow a convolution by batch norm of so many channels (0: none), leaky ReLU."""
    norms: list[Layer] = [BatchNorm2d(normed)] if normed else []
    return Sequential(conv, *norms, LeakyReLU(SLOPE))


def draw_normal(network: Module, rng: Stream) -> None:
    """Draw weights from N(0, 0.02²), batch norm's from N(1, 0.02²); biases are 0."""
    for _, module in network.named_modules():
        if isinstance(module, Conv2d | ConvTranspose2d | BatchNorm2d):
            mean = 1.0 if isinstance(module, BatchNorm2d) else 0.0
            _set(module.weight, mean + SPREAD * rng.normal(module.weight.shape))
            if module.bias is not None:
                _set(module.bias, 0.0)


def _set(parameter: Parameter, values: object) -> None:
    with parameter.mutate() as array:
        array[...] = values


def _check(name: str, channels: int, hidden: int, layers: int, norm: str) -> None:
    for what, count in (("channels", channels), ("hidden", hidden), ("layers", layers)):
        if count < 1:
            raise ConfigError(f"{name}: needs {what} of at least 1, got {count}")
    norms = get_args(DiscriminatorNorm)
    if norm not in norms:
        raise ConfigError(f"{name}: no norm {norm!r}; there is: {', '.join(norms)}")
