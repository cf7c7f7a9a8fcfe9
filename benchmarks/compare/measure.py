"""What is measured of a trained model, on images that no training has seen.

Reconstructions: errors of pixels, SSIM, how much of the originals' sharpness is left, a
perceptual distance and a Fréchet distance. New images: a Fréchet distance, coverage and
density. Priors: nats per token. The judge is a network that no loss was made of.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tinyvq.data import ImageData, from_unit, pick, to_unit
from tinyvq.files import make_folder
from tinyvq.losses import perceptual_distance
from tinyvq.metrics import FeatureStatistics, coverage_and_density, frechet_distance
from tinyvq.models import VQVAE, SqueezeNet, features
from tinyvq.report import WIDTH, save_png
from tinyvq.training.evaluation import BATCH, evaluate, evaluate_vae, reconstructions
from tinyvq.training.generation import (
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
)

Images = npt.NDArray[np.uint8]
Figures = dict[str, Any]
JUDGE = SqueezeNet.name
MOST = 2000  # images on each side of a comparison
SHOWN = 12  # images of a row of a picture, or as many as fit at twice their size


@dataclass(frozen=True)
class Judged:
    """A judge's features of test images, and what other real images score.

    real   (N,F) features of test images, MOST at most
    floor  the same measures of as many training images: what a perfect model scores
    near   share of validation images that lie nearer to a training image than to any
           test image: there are more of those, and an honest image is as likely to
    """

    judge: str
    real: npt.NDArray[np.float32]
    floor: Figures
    near: float

    @classmethod
    def of(cls, images: ImageData, judge: str, most: int) -> "Judged":
        test, train, val = (images.split(n).images for n in ("test", "train", "val"))
        real = features(judge, test[pick(len(test), most)])
        without = cls(judge, real, {}, 0.0)
        floor = without.compare(train[pick(len(train), len(real))])
        near = nearest_in_training(val[pick(len(val), most)], images)
        return cls(judge, real, floor, near)

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


Judge = Callable[[ImageData], Judged]  # what judges a data set


@dataclass(frozen=True)
class Measured:
    """What was found out about a model, and some images to be looked at.

    shown  (n,H,W,C) each, by what they are: originals, reconstructions, samples
    """

    figures: Figures
    shown: dict[str, Images]


def sharpness(images: npt.NDArray[np.floating[Any]]) -> float:
    """Mean squared difference of neighbouring pixels, of images (N,H,W,C)."""
    down, right = np.diff(images, axis=1), np.diff(images, axis=2)
    return float(np.square(down).mean() + np.square(right).mean())


def measure(folder: Path, judged: Judge) -> Measured:
    """Measure the run in a folder."""
    kind = open_run(folder).kind
    if kind == "prior":
        return _prior(folder, judged)
    parts = []
    if kind in AUTOENCODERS:
        parts.append(_autoencoder(folder, judged))
    if kind in GENERATORS:
        parts.append(_generator(folder, judged))
    figures: Figures = {}
    shown: dict[str, Images] = {}
    for part in parts:
        figures |= part.figures
        shown |= part.shown
    return Measured(figures, shown)


def _autoencoder(folder: Path, judged: Judge) -> Measured:
    """Measure what a VAE, VQ-VAE or VQ-GAN makes of test images."""
    model, options, run = load_autoencoder(folder)
    images = images_of(options, run, None)
    test = images.split("test").images
    of_all = (
        evaluate(model, test) if isinstance(model, VQVAE) else evaluate_vae(model, test)
    )
    some = test[pick(len(test), MOST)]
    made = from_unit(np.concatenate(list(reconstructions(model, some))))
    figures = {
        "parameters": model.num_parameters(),
        "reconstruction": of_all.as_dict() | _likeness(some, made, judged(images)),
    }
    shown = by_detail(some)
    pictures = {"originals": some[shown], "reconstructions": made[shown]}
    return Measured(figures, pictures)


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


def by_detail(images: Images) -> npt.NDArray[np.int64]:
    """Choose a row of (N,H,W,C), from the plainest to the sharpest: their positions."""
    each = [sharpness(to_unit(image[None])) for image in images]
    ranks = np.linspace(0, len(images) - 1, _fit(images)).astype(np.int64)
    return np.argsort(each, kind="stable")[ranks]


def _at_random(images: Images) -> Images:
    """Take a row of images (N,H,W,C)."""
    return images[pick(len(images), _fit(images))]


def _fit(images: Images) -> int:
    """Count the images (N,H,W,C) that a row of a picture has room for."""
    return min(SHOWN, WIDTH // (2 * images.shape[2]), len(images))


def _batches(images: Images) -> list[Images]:
    return [images[first : first + BATCH] for first in range(0, len(images), BATCH)]


def _prior(folder: Path, judged: Judge) -> Measured:
    """Measure a prior: nats per token, and the images it draws."""
    trained = load_prior(folder)
    images = trained.images()
    judge, test = judged(images), images.split("test")
    count, labels = len(judge.real), None
    if trained.prior.num_classes:  # as often of each as in the test split
        assert test.labels is not None
        labels = test.labels[pick(len(test), count)]
    codes = draw_codes(trained.prior, labels, count, SamplingOptions())
    made = decode(trained.tokenizer, codes)
    figures = {
        "parameters": trained.prior.num_parameters(),
        "nats": {
            name: evaluate_prior(trained, images, name).as_dict()
            for name in ("train", "test")
        },
        "samples": _samples(made, images, judge),
    }
    return Measured(figures, {"samples": _at_random(made)})


def _generator(folder: Path, judged: Judge) -> Measured:
    """Measure what is made of noise alone."""
    model, options, run = load_generator(folder)
    images = images_of(options, run, None)
    judge = judged(images)
    made = from_noise(model, len(judge.real), seed=0)
    figures = {
        "parameters": model.num_parameters(),
        "samples": _samples(made, images, judge),
    }
    return Measured(figures, {"samples": _at_random(made)})


def _samples(made: Images, images: ImageData, judge: Judged) -> Figures:
    """Measure new images: how like real ones they are, and whether they are copies.

    sharpness   over that of test images
    copied      0 where they are as often nearest to a training image as unseen images
                are, 1 where all are
    """
    test = images.split("test").images
    near = nearest_in_training(made, images)
    return {
        **judge.compare(made),
        "sharpness": sharpness(to_unit(made)) / sharpness(to_unit(test)),
        "copied": (near - judge.near) / max(1 - judge.near, 1 / len(made)),
        "floor": judge.floor,
    }


def nearest_in_training(some: Images, images: ImageData) -> float:
    """Measure the share whose nearest image, by pixels, is of training, not of test."""
    train, test = images.split("train").images, images.split("test").images
    nearest = nearest_images(some, np.concatenate([train, test]))
    return float((nearest < len(train)).mean())


def steadiness(metrics: list[dict[str, Any]]) -> Figures:
    """Say how steadily a run learned, from the validations it logged, if there are any.

    In the second half of its steps: by then an adversary counts.

    unrest             mean change of the error, up or down, from one validation to the
                       next, as a share
    end_over_best      error at the end, over the least there was
    least_codes_used   codes in use, at the worst
    """
    late = [m for m in metrics if m["step"] > metrics[-1]["step"] / 2]
    found: Figures = {}
    errors = [m["val_nmse"] for m in late if "val_nmse" in m]
    if len(errors) > 1:
        found["unrest"] = float(np.abs(np.diff(np.log(errors))).mean())
        found["end_over_best"] = errors[-1] / min(errors)
    used = [m["val_codes_used"] for m in late if "val_codes_used" in m]
    if used:
        found["least_codes_used"] = min(used)
    return found


def keep_pictures(folder: Path, shown: dict[str, Images], out: Path) -> None:
    """Keep what is to be looked at, as files named <out>-<what>.png.

    What the run drew at its end is copied; images to be shown beside those of other
    models become a row, <out>-<what>-row.png.
    """
    make_folder(out.parent)
    for what in ("reconstructions", "samples", "nearest"):
        drawn = folder / f"{what}.png"
        if drawn.exists():
            shutil.copyfile(drawn, out.with_name(f"{out.name}-{what}.png"))
    for what, images in shown.items():
        row = np.concatenate(list(images), axis=1)
        save_png(out.with_name(f"{out.name}-{what}-row.png"), row)
