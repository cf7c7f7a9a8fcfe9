"""Train a VAE: its options, and one step of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from tinyvq.backends import Place
from tinyvq.data import ImageData
from tinyvq.function import Array
from tinyvq.models import VAE, VAEOutput
from tinyvq.models._vae import BETA, LATENT_DIM
from tinyvq.rng import Stream
from tinyvq.tensor import Tensor
from tinyvq.training.evaluation import evaluate_vae
from tinyvq.training.guard import in_double
from tinyvq.training.image_task import ImageTask
from tinyvq.training.measures import Measures
from tinyvq.training.options import ImageOptions


@dataclass(frozen=True)
class VAEOptions(ImageOptions):
    """What the user chooses of a VAE."""

    lr: float = 1e-3
    """Learning rate of Adam."""
    model: Literal["conv", "small", "f16"] = "conv"
    """The network, encoder and decoder of a VQ-VAE: conv, DeepMind's; small and f16,
    VQ-GAN's of residual blocks and attention."""
    hidden: int | None = None
    """Channels of the hidden layers; by default the model's (conv 128, small 32)."""
    grid_dim: int = 16
    """Width of the encoder's grid, which linear layers make one vector of."""
    latent_dim: int = LATENT_DIM
    """Values an image is made of."""
    beta: float = BETA
    """Weight of the divergence from N(0, 1): the share of the pixels' variance that is
    left to chance. Larger, softer reconstructions and better new images."""

    LEAST: ClassVar[dict[str, float]] = {
        **ImageOptions.LEAST,
        **dict.fromkeys(("hidden", "grid_dim", "latent_dim"), 1),
        "beta": 0,
    }


def build_vae(options: VAEOptions, facts: Mapping[str, Any]) -> VAE:
    """Build the model that a run's options and facts describe."""
    height, width, channels = facts["image_shape"]
    return VAE.preset(
        options.model,
        image_size=(height, width),
        channels=channels,
        grid_dim=options.grid_dim,
        latent_dim=options.latent_dim,
        beta=options.beta,
        pixel_variance=facts["pixel_variance"],
        seed=options.seed,
        **({} if options.hidden is None else {"hidden": options.hidden}),
    )


class VAETask(ImageTask):
    """One step after another of a VAE; see `loop.Task`."""

    options: VAEOptions
    model: VAE
    output: VAEOutput

    def __init__(
        self, options: VAEOptions, images: ImageData, facts: Mapping[str, Any]
    ) -> None:
        super().__init__(options, images, build_vae(options, facts))
        self.drawn = Place(options.backend)

    def noise(self, step: int) -> Tensor:
        """Draw the noise (N,Z) of a step, by which z is drawn."""
        stream = Stream(self.options.seed, "noise to encode", step)
        noise = self.model.noise(self.options.batch_size, stream)
        return Tensor.wrap(self.drawn.fill(noise.array))

    def step(self, step: int) -> Measures:
        """Do one step: draw z, differentiate, move the weights."""
        self._inputs = self.batch(step), self.noise(step)
        lr = self.optimizer.lr = self.options.rate(step, self.options.lr)
        loss, norm, output = self.backward(ahead=self.feed.prepare)
        self.optimizer.count()
        self.move()
        self.output, variance = output, self.model.pixel_variance
        return Measures(
            loss=loss,
            nmse=lambda: output.mse.item() / variance,
            kl=output.kl.item,
            gradient_norm=norm,
            lr=lr,
        )

    def _differentiate(self) -> tuple[Array, VAEOutput]:
        output = self.model(*self._inputs)
        output.loss.backward()
        return in_double(output.loss), output

    def validate(self) -> dict[str, float]:
        """Measure the model on the validation split, or on a glance of it."""
        found = evaluate_vae(self.model, self.glance())
        return {"val_nmse": found.nmse, "val_kl": found.kl}
