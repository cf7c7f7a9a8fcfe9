"""Train a VQ-VAE: its options, and one step of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tinyvq.data import ImageData
from tinyvq.function import Array
from tinyvq.optim import Adam
from tinyvq.training.guard import guarded_backward, in_double
from tinyvq.training.measures import Measures
from tinyvq.training.state import Stateful
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
        self.optimizer = Adam(self.model.parameters(), options.lr)

    def parts(self) -> dict[str, Stateful]:
        """Name all that moves."""
        return {**super().parts(), "adam": self.optimizer}

    def step(self, step: int) -> Measures:
        """Do one step: look up, differentiate, move weights, then the codebook."""
        x = self.batch(step)
        lr = self.optimizer.lr = self.options.rate(step, self.options.lr)

        def differentiate() -> Array:
            self.output = self.model(x)
            self.output.loss.backward()
            return in_double(self.output.loss)

        loss, norm = guarded_backward(differentiate, self.model)
        self.optimizer.step()
        return (
            Measures(loss=loss, nmse=self.nmse(self.output))
            | self.update_codebook(self.output.stats, self.optimizer)
            | Measures(gradient_norm=norm, lr=lr)
        )
