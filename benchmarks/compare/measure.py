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
from tinyvq.files import make_folder
from tinyvq.losses import perceptual_distance
from tinyvq.metrics import FeatureStatistics, coverage_and_density, frechet_distance
from tinyvq.models import VQVAE, SqueezeNet, features
from tinyvq.report import image_grid, pick, save_png
from tinyvq.report.pictures import reconstruction_picture
from tinyvq.training.evaluation import BATCH, evaluate, evaluate_vae, reconstructions
from tinyvq.training.generation import (
    Codes,
    SamplingOptions,
    decode,
    draw_codes,
    from_noise,
    nearest_images,
)
from tinyvq.training.prior_evaluation import evaluate_prior
from tinyvq.training.run import open_run
from tinyvq.training.trained import (
    AUTOENCODERS,
    GENERATORS,
    images_of,
    load_autoencoder,
    load_generator,
    load_prior,
    open_kind,
)

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
    if kind == "prior":
        return _prior(folder, judged, out)
    found: Figures = {}
    if kind in AUTOENCODERS:
        found |= _autoencoder(folder, judged, out)
    if kind in GENERATORS:
        found |= _generator(folder, judged, out)
    return found


def _autoencoder(
    folder: Path, judged: Callable[[ImageData], Judged], out: Path
) -> Figures:
    """Measure what a VAE, VQ-VAE or VQ-GAN makes of test images."""
    model, options, run = load_autoencoder(folder)
    images = images_of(options, run, None)
    test = images.split("test").images
    of_all = (
        evaluate(model, test) if isinstance(model, VQVAE) else evaluate_vae(model, test)
    )
    some = test[pick(len(test), MOST)]
    made = from_unit(np.concatenate(list(reconstructions(model, some))))
    shown = pick(len(some), 10)
    save_png(
        _beside(out, "reconstructions"),
        reconstruction_picture(some[shown], made[shown]),
    )
    return {
        "parameters": model.num_parameters(),
        "reconstruction": of_all.as_dict() | _likeness(some, made, judged(images)),
    }


def _likeness(images: Images, made: Images, judge: Judged) -> Figures:
    """Compare images with what was made of them, pair by pair and as two sets."""
    found: Figures = {
        "sharpness_kept": sharpness(to_unit(made)) / sharpness(to_unit(images)),
        "frechet": judge.compare(made)["frechet"],
    }
    if judge.judge == SqueezeNet.name:
        network = SqueezeNet.pretrained()
        distances = [
            perceptual_distance(network, to_unit(a), to_unit(b))
            for a, b in zip(_batches(images), _batches(made), strict=True)
        ]
        found["perceptual_distance"] = float(np.concatenate(distances).mean())
    return found


def _batches(images: Images) -> list[Images]:
    return [images[first : first + BATCH] for first in range(0, len(images), BATCH)]


def _prior(folder: Path, judged: Callable[[ImageData], Judged], out: Path) -> Figures:
    """Measure a prior: nats a token, and the images it draws."""
    trained = load_prior(folder)
    images, classes = trained.images(), trained.prior.num_classes
    judge, test = judged(images), images.split("test")
    count = len(judge.real)

    def drawn(labels: Codes | None, count: int) -> Images:
        codes = draw_codes(trained.prior, labels, count, SamplingOptions())
        return decode(trained.tokenizer, codes)

    # As often of each class as in the test split; in the picture, class by class.
    labels = test.labels[pick(len(test), count)] if classes else None
    made = drawn(labels, count)
    shown = np.arange(SHOWN) % classes if classes else None
    _draw_new(drawn(shown, SHOWN), images, out)
    return {
        "parameters": trained.prior.num_parameters(),
        "nats": {
            name: evaluate_prior(trained, images, name).as_dict()
            for name in ("train", "test")
        },
        "samples": judge.compare(made) | {"floor": judge.floor},
    }


def _generator(
    folder: Path, judged: Callable[[ImageData], Judged], out: Path
) -> Figures:
    """Measure what is made of noise alone."""
    model, run = load_generator(folder)
    options, _ = open_kind(folder, GENERATORS)
    images = images_of(options, run, None)
    judge = judged(images)
    made = from_noise(model, len(judge.real), seed=0)
    _draw_new(made[:SHOWN], images, out)
    return {
        "parameters": model.num_parameters(),
        "samples": judge.compare(made) | {"floor": judge.floor},
    }


def _draw_new(made: Images, images: ImageData, out: Path) -> None:
    """Draw new images, and some of them above the training images nearest to them."""
    save_png(_beside(out, "samples"), image_grid(made, 10))
    train, some = images.split("train").images, made[:10]
    near = train[nearest_images(some, train)]
    save_png(_beside(out, "nearest"), reconstruction_picture(some, near))


def _beside(out: Path, what: str) -> Path:
    make_folder(out.parent)
    return out.with_name(f"{out.name}-{what}.png")
