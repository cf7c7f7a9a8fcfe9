"""Train a VQ-VAE: its options, and one step of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from tinyvq.data import ImageData
from tinyvq.function import Array
from tinyvq.models import VQVAEOutput
from tinyvq.training.guard import GuardedBackward, in_double
from tinyvq.training.measures import Measures
from tinyvq.training.tokenizer import TokenizerOptions, TokenizerTask


@dataclass(frozen=True)
class VQVAEOptions(TokenizerOptions):
    """What the user chooses of a VQ-VAE."""


class VQVAETask(TokenizerTask):
    """One step after another of a VQ-VAE; see `loop.Task`."""

    options: VQVAEOptions

    def __init__(
        self, options: VQVAEOptions, images: ImageData, facts: Mapping[str, Any]
    ) -> None:
        super().__init__(options, images, facts)
        self.backward = GuardedBackward(self._differentiate, self.model)

    def step(self, step: int) -> Measures:
        """Do one step: look up, differentiate, move weights, then the codebook."""
        self.x = self.batch(step)
        lr = self.optimizer.lr = self.options.rate(step, self.options.lr)
        ahead = partial(self.feed.prepare, step + 1)
        loss, norm, self.output = self.backward(ahead=ahead)
        return (
            Measures(loss=loss, nmse=self.nmse(self.output))
            | self.update()
            | Measures(gradient_norm=norm, lr=lr)
        )

    def _differentiate(self) -> tuple[Array, VQVAEOutput]:
        output = self.model(self.x)
        output.loss.backward()
        return in_double(output.loss), output
