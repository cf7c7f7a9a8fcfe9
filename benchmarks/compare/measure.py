"""What is measured of a trained model, on images that no training has seen.

Reconstructions: errors of pixels, SSIM, how much of the originals' sharpness is left, a
perceptual distance and a Fréchet distance. New images: a Fréchet distance, coverage and
density. Priors: nats a token. The judge is a network that no loss was made of.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tinyvq.data import ImageData, from_unit, to_unit
from tinyvq.losses import perceptual_distance
from tinyvq.metrics import FeatureStatistics, coverage_and_density, frechet_distance
from tinyvq.models import SqueezeNet, features
from tinyvq.report import image_grid, pick, save_png
from tinyvq.training import generation
from tinyvq.training.evaluation import BATCH, evaluate, reconstruct
from tinyvq.training.generation import SamplingOptions
from tinyvq.training.prior_evaluation import evaluate_prior
from tinyvq.training.run import open_run
from tinyvq.training.trained import images_of, load_noise, load_prior, load_tokenizer

Images = npt.NDArray[np.uint8]
Figures = dict[str, Any]
JUDGE = SqueezeNet.name
MOST = 2000  # images on each side of a comparison
SHOWN = 100  # new images in a picture


@dataclass(frozen=True)
class Judged:
    """A judge's features of test images, and how far other real images are from them.

    floor  the same measures of as many training images: what a perfect model scores
    """

    judge: str
    real: npt.NDArray[np.float32]
    floor: Figures

    @classmethod
    def of(cls, images: ImageData, judge: str, most: int) -> "Judged":
        test, train = (
            images.split(name).images[pick(len(images.split(name).images), most)]
            for name in ("test", "train")
        )
        real = features(judge, test)
        without = cls(judge, real, {})
        return cls(judge, real, without.compare(train[: len(test)]))

    def compare(self, made: Images) -> Figures:
        """Measure made images (N,H,W,C) against the real ones, as many of each."""
        vectors = features(self.judge, made)
        covered, density = coverage_and_density(self.real, vectors)
        return {
            "frechet": self._frechet(vectors),
            "coverage": covered,
            "density": density,
            "images": len(made),
        }

    def _frechet(self, vectors: npt.NDArray[np.float32]) -> float:
        both = []
        for rows in (self.real, vectors):
            found = FeatureStatistics(self.judge, rows.shape[1])
            found.add(rows)
            both.append(found)
        return frechet_distance(*both)


def sharpness(images: npt.NDArray[np.floating[Any]]) -> float:
    """Mean squared difference of neighbouring pixels, of images (N,H,W,C)."""
    down, right = np.diff(images, axis=1), np.diff(images, axis=2)
    return float(np.square(down).mean() + np.square(right).mean())


def measure(folder: Path, judged: Callable[[ImageData], Judged], out: Path) -> Figures:
    """Measure the run in a folder; draw its pictures to <out>-<what>.png."""
    kind = open_run(folder).kind
    if kind in ("vqvae", "vqgan"):
        return _tokenizer(folder, judged, out)
    if kind == "prior":
        return _prior(folder, judged, out)
    return _generator(folder, judged, out)


def _tokenizer(
    folder: Path, judged: Callable[[ImageData], Judged], out: Path
) -> Figures:
    """Measure what a VQ-VAE or VQ-GAN makes of test images."""
    model, options, run = load_tokenizer(folder)
    images = images_of(options, run, None)
    test = images.split("test").images
    judge = judged(images)
    some = test[pick(len(test), MOST)]
    made = from_unit(np.concatenate([m for _, m, _ in reconstruct(model, some)]))
    save_png(_beside(out, "reconstructions"), image_grid(made[:: len(made) // 20], 10))
    return {
        "parameters": model.num_parameters(),
        "reconstruction": evaluate(model, test).as_dict()
        | _likeness(some, made, judge),
    }


def _likeness(images: Images, made: Images, judge: Judged) -> Figures:
    """Compare images with what was made of them, pair by pair and as two sets."""
    network = SqueezeNet.pretrained()
    distances = [
        perceptual_distance(network, to_unit(a), to_unit(b))
        for a, b in zip(_batches(images), _batches(made), strict=True)
    ]
    return {
        "sharpness_kept": sharpness(to_unit(made)) / sharpness(to_unit(images)),
        "perceptual_distance": float(np.concatenate(distances).mean()),
        "frechet": judge.compare(made)["frechet"],
        "floor": judge.floor["frechet"],
    }


def _batches(images: Images) -> list[Images]:
    return [images[first : first + BATCH] for first in range(0, len(images), BATCH)]


def _prior(folder: Path, judged: Callable[[ImageData], Judged], out: Path) -> Figures:
    """Measure a prior: nats a token, and the images it draws."""
    trained = load_prior(folder)
    images = trained.images()
    test = images.split("test")
    count = min(len(test), MOST)
    labels = None
    if trained.prior.num_classes:  # as often as in the test split
        labels = test.labels[pick(len(test), count)]
    codes = generation.draw_codes(trained.prior, labels, count, SamplingOptions())
    made = generation.decode(trained.tokenizer, codes)
    shown = None
    if trained.prior.num_classes:
        shown = np.arange(SHOWN) % trained.prior.num_classes
    grid = generation.draw_codes(trained.prior, shown, SHOWN, SamplingOptions())
    _draw_new(generation.decode(trained.tokenizer, grid), images, out)
    nats = {
        name: evaluate_prior(trained, images, name).as_dict()
        for name in ("train", "test")
    }
    return {
        "parameters": trained.prior.num_parameters(),
        "nats": nats,
        "samples": judged(images).compare(made) | {"floor": judged(images).floor},
    }


def _generator(
    folder: Path, judged: Callable[[ImageData], Judged], out: Path
) -> Figures:
    """Measure what is made from noise."""
    model, run = load_noise(folder)
    raise NotImplementedError


def _draw_new(made: Images, images: ImageData, out: Path) -> None:
    """Draw new images, and some of them above the training images nearest to them."""
    from tinyvq.report.pictures import reconstruction_picture

    save_png(_beside(out, "samples"), image_grid(made, 10))
    train, some = images.split("train").images, made[:10]
    near = train[generation.nearest_images(some, train)]
    save_png(_beside(out, "nearest"), reconstruction_picture(some, near))


def _beside(out: Path, what: str) -> Path:
    return out.with_name(f"{out.name}-{what}.png")
