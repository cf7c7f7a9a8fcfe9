"""What the training of all models of images shares: batches, gradients, moves."""

from functools import partial
from typing import Any

from tinyvq.data import ImageData, batch_indices, pick
from tinyvq.function import Array
from tinyvq.nn import Module
from tinyvq.optim import Adam, Betas
from tinyvq.tensor import Tensor
from tinyvq.training.batches import Feed, Images
from tinyvq.training.guard import GuardedBackward
from tinyvq.training.measures import Measures
from tinyvq.training.options import ImageOptions
from tinyvq.training.state import Parted, Stateful

VALIDATION_IMAGES = 1000  # of the split, at most: a glance, not the verdict


class ImageTask(Parted):
    """One step after another of a model of images; see `loop.Task`.

    On a CPU a step is, in one piece,

        model.zero_grad(); loss = ...; loss.backward()     `backward`, which checks, too
        optimizer.step(); quantizer.update(stats)

    A GPU repeats what it has recorded, so that what Python decides stands apart: of the
    optimizer `count` before `move`, of the quantizer `settle` after `average`.

    Subclasses define `step`, `_differentiate`, and what moves beside the weights.

    model  is trained where options.backend says; by Adam of these betas
    """

    def __init__(
        self,
        options: ImageOptions,
        images: ImageData,
        model: Module,
        betas: Betas = (0.9, 0.999),
    ) -> None:
        self.options = options
        self.batch_size = options.batch_size
        self.images = images
        self.model = model.to(options.backend)
        self.optimizer = Adam(model.parameters(), options.lr, betas)
        choose = partial(images_of_step, images, options)
        self.feed = Feed(choose, options.backend)
        self.backward = GuardedBackward(self._differentiate, self.model)
        self.move = self.backward.then(self._move)

    def parts(self) -> dict[str, Stateful]:
        """Name all that moves."""
        return {"model": self.model, "adam": self.optimizer}

    def batch(self, step: int) -> Tensor:
        """Select the images (N,H,W,C) of a step."""
        return self.feed(step)

    def step(self, step: int) -> Measures:
        """Do one training step; return what it measured."""
        raise NotImplementedError(f"{type(self).__name__}.step")

    def _differentiate(self) -> tuple[Array, Any]:
        """Run forward and backward: see `GuardedBackward`."""
        raise NotImplementedError(f"{type(self).__name__}._differentiate")

    def _move(self) -> Array | None:
        """Move the weights, and what moves with them; -> what `step` needs of it."""
        self.optimizer.move()
        return None

    def glance(self) -> Images:
        """Select images (N,H,W,C) of the validation split."""
        val = self.images.split("val").images
        return val[pick(len(val), VALIDATION_IMAGES)]


def images_of_step(images: ImageData, options: ImageOptions, step: int) -> Images:
    """Select the training images (N,H,W,C) of a step, as bytes."""
    train = images.split("train").images
    chosen = batch_indices(len(train), options.batch_size, step, options.seed)
    selected: Images = train[chosen]
    return selected
