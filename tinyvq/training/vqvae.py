"""Train a VQ-VAE: its options, and one step of it."""

from dataclasses import dataclass

from tinyvq.function import Array
from tinyvq.models import VQVAEOutput
from tinyvq.training.guard import in_double
from tinyvq.training.measures import Measures
from tinyvq.training.tokenizer import TokenizerOptions, TokenizerTask


@dataclass(frozen=True)
class VQVAEOptions(TokenizerOptions):
    """What the user chooses of a VQ-VAE."""


class VQVAETask(TokenizerTask):
    """One step after another of a VQ-VAE; see `loop.Task`."""

    options: VQVAEOptions

    def step(self, step: int) -> Measures:
        """Do one step: look up, differentiate, move weights, then the codebook."""
        self.x = self.batch(step)
        lr = self.optimizer.lr = self.options.rate(step, self.options.lr)
        loss, norm, self.output = self.backward(ahead=self.feed.prepare)
        return (
            Measures(loss=loss, nmse=self.nmse(self.output))
            | self.update()
            | Measures(gradient_norm=norm, lr=lr)
        )

    def _differentiate(self) -> tuple[Array, VQVAEOutput]:
        output = self.model(self.x)
        output.loss.backward()
        return in_double(output.loss), output
