"""Small tasks of each kind, on NumPy's arrays and on those of a stand-in for a GPU."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from strict_device import strict_cupy
from tinyvq_kernels import kernels, use_kernels
from training.kind_examples import OPTIONS, write_labelled

from tinyvq import data
from tinyvq.rng import Stream
from tinyvq.training.gan import GANOptions, GANTask, NoiseOptions, NoiseTask
from tinyvq.training.options import RunOptions
from tinyvq.training.prior import CodedSplit, PriorOptions, PriorTask
from tinyvq.training.tokenizer import facts_of
from tinyvq.training.vae import VAEOptions, VAETask
from tinyvq.training.vqgan import VQGANOptions, VQGANTask
from tinyvq.training.vqvae import VQVAEOptions, VQVAETask

REFERENCE = {kernel.op: "reference" for kernel in kernels()}
STEPS = 3
NUM_CODES, GRID, CLASSES = 6, (3, 2), 3

# Both sides of the VQ-GAN at work from the first step on, batch norm and all.
BOTH = {"adversarial_start": 1, "adversarial_ramp": 0, "head_start": 0}
SMALL = {"model": "small", "hidden": 32, "batch_size": 2}
RESTARTS = {"restart_below": 0.9, "num_codes": 16}
TASKS: dict[str, RunOptions] = {
    "vqvae": VQVAEOptions(**OPTIONS["vqvae"]),
    "vqvae restarts": VQVAEOptions(**{**OPTIONS["vqvae"], **RESTARTS}),
    # So many codes that no vector stands between two: roundings change no choice.
    "vqvae gradient": VQVAEOptions(
        **{**OPTIONS["vqvae"], **RESTARTS, "num_codes": 12, "normalize": True},
        quantizer="gradient",
    ),
    "vqvae soft": VQVAEOptions(
        **OPTIONS["vqvae"], quantizer="soft", kl_weight=0.1, cosine=True
    ),
    "vqvae dense": VQVAEOptions(**OPTIONS["vqvae"], model="dense"),
    "vqgan": VQGANOptions(**{**OPTIONS["vqgan"], **BOTH, **SMALL}),
    "vqgan rotation": VQGANOptions(
        **{**OPTIONS["vqgan"], **BOTH, "model": "conv", "estimator": "rotation"},
        adversarial="bce",
        discriminator="plain",
        weighting="fixed",
    ),
    "vae": VAEOptions(**OPTIONS["vae"]),
    "vae small": VAEOptions(**OPTIONS["vae"], model="small"),
    "gan": GANOptions(**OPTIONS["gan"]),
    "noise-vqgan": NoiseOptions(**OPTIONS["noise-vqgan"]),
    "prior": PriorOptions(**OPTIONS["prior"]),
    "prior pixelcnn": PriorOptions(**OPTIONS["prior"], prior="pixelcnn"),
}


@contextmanager
def two_backends() -> Iterator[Any]:
    """Stand in for CuPy, and let the CPU's kernels be those that it runs."""
    with strict_cupy() as cupy, use_kernels(**REFERENCE):
        yield cupy


def coded(name: str, count: int) -> CodedSplit:
    codes = Stream(0, name).integers(NUM_CODES, (count, *GRID))
    return CodedSplit(codes, np.arange(count) % CLASSES)


def make_task(name: str, folder: Path, backend: str) -> Any:
    """Make a task on a backend; all else is the same."""
    options: Any = replace(TASKS[name], backend=backend)
    if isinstance(options, PriorOptions):
        codes = {split: coded(split, 12) for split in ("train", "val")}
        facts = {"grid": GRID, "num_codes": NUM_CODES, "num_classes": CLASSES}
        return PriorTask(options, codes, facts)
    images = data.load(str(write_labelled(folder / "images.npz")))
    kinds: dict[type, Any] = {
        VQVAEOptions: VQVAETask,
        VQGANOptions: VQGANTask,
        VAEOptions: VAETask,
        GANOptions: GANTask,
        NoiseOptions: NoiseTask,
    }
    make = kinds[type(options)]
    return make(options, images, facts_of(images))


def assert_same_state(
    ours: dict[str, npt.NDArray[Any]], theirs: dict[str, npt.NDArray[Any]]
) -> None:
    """Compare two states bit for bit; both must be NumPy's."""
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():
        other = theirs[name]
        assert type(array) is type(other) is np.ndarray, name
        assert (array.dtype, array.shape) == (other.dtype, other.shape), name
        assert array.tobytes() == other.tobytes(), name
