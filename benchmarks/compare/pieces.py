"""Which models are trained on which images, by which commands."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Model:
    """A contender, or what one is made of.

    kind       of run: `tinyvq train KIND`
    what       it is, in a few words for the page
    tokenizer  the model whose codes it learns, for a prior
    """

    kind: str
    what: str
    tokenizer: str | None = None


# In this order: a prior comes after its tokenizer.
MODELS: dict[str, Model] = {
    "vae": Model("vae", "VAE"),
    "gan": Model("gan", "DCGAN"),
    "noise-vqgan": Model("noise-vqgan", "noise-driven VQ-GAN"),
    "vqvae": Model("vqgan", "VQ-VAE"),
    "vqvae-prior": Model("prior", "VQ-VAE + prior", "vqvae"),
    "vqgan": Model("vqgan", "VQ-GAN"),
    "vqgan-prior": Model("prior", "VQ-GAN + prior", "vqgan"),
}

# VAE, VQ-VAE and VQ-GAN have the same encoder and decoder, and see as many images.
_SMALL = "--model small"
# The VQ-VAE is the VQ-GAN without its adversary, so that nothing else differs.
_ALONE = f"{_SMALL} --adversarial-weight 0"
# Priors are not told the class of what they draw, for no other contender is.
_PRIOR = "--labels ignore"
# GANs large enough, and trained for long enough, to be comparable in parameters and in
# time.
_WIDE = "--hidden 128"
# In colour: larger images, fewer a step; the rate falls at the end, for few images a
# step leave weights restless. The adversary needs twice the default weight to show, and
# is let in slowly: weights.py tried it.
_COLOUR = "--steps 3000 --batch-size 8 --cooldown 500"
_ADVERSARY = "--adversarial-start 1000 --adversarial-ramp 1000 --adversarial-weight 0.2"
WORDS: dict[str, dict[str, str]] = {
    "fashion-mnist": {
        "vae": f"{_SMALL} --steps 4000",
        "gan": f"{_WIDE} --steps 8000",
        "noise-vqgan": f"{_WIDE} --steps 8000",
        "vqvae": f"{_ALONE} --steps 4000",
        "vqvae-prior": f"{_PRIOR} --steps 4000",
        "vqgan": f"{_SMALL} --steps 4000 --adversarial-start 1000",
        "vqgan-prior": f"{_PRIOR} --steps 4000",
    },
    "emoji": {
        "vae": f"{_SMALL} {_COLOUR}",
        "gan": f"{_WIDE} --steps 2000 --batch-size 32",
        "noise-vqgan": f"{_WIDE} --steps 2000 --batch-size 32",
        "vqvae": f"{_ALONE} {_COLOUR}",
        "vqvae-prior": f"{_PRIOR} --steps 1500 --batch-size 16",
        "vqgan": f"{_SMALL} {_COLOUR} {_ADVERSARY}",
        "vqgan-prior": f"{_PRIOR} --steps 1500 --batch-size 16",
    },
    "photos": {
        "vqvae": f"{_ALONE} {_COLOUR}",
        "vqgan": f"{_SMALL} {_COLOUR} {_ADVERSARY}",
    },
}
QUICK_DATA = "fashion-mnist-5k"  # ships with tinyvq
QUICK_SIZES = {
    "vae": "--hidden 8",
    "gan": "--discriminator-width 8 --batch-size 8",
    "noise-vqgan": "--discriminator-width 8 --batch-size 8 --num-codes 16",
    "vqvae": "--hidden 8 --num-codes 16 --code-dim 8",
    "vqvae-prior": "--width 16 --layers 1 --heads 2",
    "vqgan": "--hidden 8 --num-codes 16 --code-dim 8 --discriminator-width 8",
    "vqgan-prior": "--width 16 --layers 1 --heads 2",
}
_QUICK_WORDS = {"steps": "4", "adversarial-start": "1", "hidden": "8"}


@dataclass(frozen=True)
class Piece:
    """One model on one data set from one seed."""

    data: str
    model: str
    seed: int
    quick: bool = False

    @property
    def name(self) -> str:
        """What its files are named by."""
        return f"{self.data}-{self.model}-{self.seed}"

    def folder(self, runs: Path, model: str | None = None) -> Path:
        """Where it is trained, or where another model of the same data and seed is."""
        return runs / self.data / f"{model or self.model}-{self.seed}"

    def command(self, runs: Path) -> list[str]:
        """Write the words that train it."""
        model = MODELS[self.model]
        given = WORDS[self.data][self.model].split()
        if self.quick:
            given = _quickly(given) + QUICK_SIZES[self.model].split()
        source = (
            ["--data", QUICK_DATA if self.quick else self.data]
            if model.tokenizer is None
            else ["--tokenizer", str(self.folder(runs, model.tokenizer))]
        )
        place = ["--seed", str(self.seed), "--out", str(self.folder(runs))]
        return ["train", model.kind, *source, *given, *place]


def _quickly(words: list[str]) -> list[str]:
    """Make a command's training as short as can be; the smallest batch, too."""
    short = list(words)
    for name, value in _QUICK_WORDS.items():
        if f"--{name}" in short:
            short[short.index(f"--{name}") + 1] = value
    if "--batch-size" in short:
        at = short.index("--batch-size")
        del short[at : at + 2]
    return short


def pieces(quick: bool = False) -> Iterator[Piece]:
    """List all pieces: seed by seed, so that whole tables come as early as can be."""
    for data in list(WORDS)[: 1 if quick else None]:
        for seed in SEEDS[: 1 if quick else None]:
            for model in MODELS:
                if model in WORDS[data]:
                    yield Piece(data, model, seed, quick)
