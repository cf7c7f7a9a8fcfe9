"""The other side of a GAN: a discriminator, its optimiser, its step.

A generator's step asks it by `verdict`, which changes nothing here; its own step is
`step`, which changes nothing there.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from tinyvq_kernels import address_of

from tinyvq import ops
from tinyvq.function import Array
from tinyvq.losses import AdversarialName, LeCAM, adversarial_loss, feature_matching
from tinyvq.models import ConvDiscriminator, PatchGAN
from tinyvq.nn import frozen_statistics
from tinyvq.optim import Adam, Betas
from tinyvq.rng import Stream
from tinyvq.tensor import Tensor
from tinyvq.training.guard import GuardedBackward, in_double
from tinyvq.training.measures import Measures
from tinyvq.training.options import RunOptions
from tinyvq.training.state import Stateful


@dataclass(frozen=True)
class AdversaryOptions(RunOptions):
    """What the user chooses of a discriminator."""

    adversarial: AdversarialName = "hinge"
    """The loss of the two sides."""
    discriminator: Literal["patch", "plain"] = "patch"
    """patch: PatchGAN, a verdict on each part of an image. plain: convolutions and one
    verdict on the whole."""
    discriminator_width: int = 32
    """Channels of its first layer."""
    discriminator_layers: int = 2
    """How often it halves an image."""
    discriminator_norm: Literal["batch", "none"] = "none"
    """Whether batch norm follows its convolutions. Originals and made images come to it
    in batches of their own, so that with it a discriminator may win too early."""
    discriminator_lr: float = 3e-4
    """Learning rate of its Adam."""
    lecam_weight: float = 0.0
    """Weight of LeCAM, which holds back a discriminator that trains on few images."""
    feature_matching: float = 0.0
    """Weight, for the generator, of matching what the discriminator's layers see in
    originals and in made images."""

    LEAST: ClassVar[dict[str, float]] = {
        **RunOptions.LEAST,
        **dict.fromkeys(("discriminator_width", "discriminator_layers"), 1),
        **dict.fromkeys(("lecam_weight", "feature_matching"), 0),
    }


class Adversary:
    """A discriminator and all that belongs to it."""

    def __init__(
        self, options: AdversaryOptions, facts: Mapping[str, Any], betas: Betas
    ) -> None:
        height, width, channels = facts["image_shape"]
        build = PatchGAN if options.discriminator == "patch" else ConvDiscriminator
        self.options = options
        self.discriminator = build(
            channels,
            image_size=(height, width),
            hidden=options.discriminator_width,
            layers=options.discriminator_layers,
            norm=options.discriminator_norm,
            rng=Stream(options.seed, "discriminator"),
        ).to(options.backend)
        self.loss = adversarial_loss(options.adversarial)
        self.lecam = LeCAM().to(options.backend)
        self.optimizer = Adam(
            self.discriminator.parameters(), options.discriminator_lr, betas
        )
        self.backward = GuardedBackward(self._differentiate, self.discriminator)
        self.move = self.backward.then(self._move)

    def parts(self) -> dict[str, Stateful]:
        """Name all that moves."""
        return {
            "discriminator": self.discriminator,
            "discriminator_adam": self.optimizer,
            "lecam": self.lecam,
        }

    def verdict(self, made: Tensor, originals: Tensor) -> Tensor:
        """Compute the generator's loss on images that it made; nothing moves here."""
        with frozen_statistics(self.discriminator):
            logits, features = self.discriminator.judge(made)
            loss = self.loss.generator(logits)
            if self.options.feature_matching == 0:
                return loss
            _, wanted = self.discriminator.judge(originals)
        return loss + feature_matching(wanted, features) * self.options.feature_matching

    def step(self, step: int, originals: Tensor, made: Tensor) -> Measures:
        """Train the discriminator on originals and on made images, both constant."""
        options = self.options
        self.optimizer.lr = options.rate(step, options.discriminator_lr)
        self._inputs = originals, made
        # A recording is of these very arrays.
        key = address_of(originals.array), address_of(made.array)
        loss, norm, self._logits = self.backward(key)
        self.optimizer.count()
        self.move(key)
        real, fake = self._logits
        return Measures(
            discriminator_loss=loss,
            logits_real=lambda: real.array.mean().item(),
            logits_made=lambda: fake.array.mean().item(),
            discriminator_gradient_norm=norm,
        )

    def _differentiate(self) -> tuple[Array, tuple[Tensor, Tensor]]:
        originals, made = self._inputs
        real = self.discriminator(originals)
        fake = self.discriminator(made.detach())
        loss = self.loss.discriminator(real, fake)
        if self.options.lecam_weight > 0:
            loss = loss + self.lecam(real, fake) * self.options.lecam_weight
        loss.backward()
        return in_double(loss), (real, fake)

    def _move(self) -> None:
        self.optimizer.move()
        self.lecam.update(*self._logits)


def to_be_judged(images: Tensor) -> Tensor:
    """Copy images, to find the gradient of what is said of them at the copy.

    What a discriminator, or any loss, says of a made image need not go through all that
    made it: `carry_back` takes the sum of it there, once. And no parameter of a
    discriminator gets a gradient on the way.
    """
    copy = images.detach()
    copy.requires_grad = True
    return copy


def carry_back(images: Tensor, gradient: Array, *losses: Tensor) -> None:
    """Differentiate losses, and something whose gradient at images is `gradient`.

    Σ images · gradient, where gradient is a constant, has that gradient at the images:
    so one walk back carries on what others found there, and the losses' as well.
    """
    total = ops.sum(images * Tensor.wrap(gradient))
    for loss in losses:
        total = ops.add(total, loss)
    total.backward()
