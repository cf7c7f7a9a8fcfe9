"""A run to give away: its configuration, and the weights of its newest checkpoint.

config.json    as the run's, but without places of the machine that trained it
checkpoints/   one checkpoint: the model that makes, encodes or decodes images
tokenizer/     of a prior: the tokenizer whose codes it draws, exported likewise

No optimiser, no adversary, no log: such a run can be used, and not resumed. It names
nothing outside its folder but the images that it was trained on, and works wherever the
folder is put.
"""

import os
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from tinyvq.data import CATALOG
from tinyvq.errors import RunError
from tinyvq.files import new_folder
from tinyvq.nn import Module
from tinyvq.training import checkpoint
from tinyvq.training.gan import GANOptions, build_generator
from tinyvq.training.options import ImageOptions, RunOptions
from tinyvq.training.prior import PriorOptions, build_prior
from tinyvq.training.run import Run, write_config
from tinyvq.training.state import State, gather
from tinyvq.training.tokenizer import TokenizerOptions, build
from tinyvq.training.trained import (
    AUTOENCODERS,
    GENERATORS,
    load_newest,
    load_tokenizer,
    open_kind,
    tokenizer_folder,
    tokenizer_of_prior,
)
from tinyvq.training.vae import VAEOptions, build_vae

KINDS: dict[str, type[RunOptions]] = {
    **AUTOENCODERS,
    **GENERATORS,
    "prior": PriorOptions,
}


def export(folder: Path, out: Path, *, half: bool = False) -> Run:
    """Export a run into a new folder, which stands there whole or not at all.

    half  round the weights to float16, which halves the files; RunError where one is
          too large for that

    Raises RunError, CheckpointError or FileError where the run cannot be read or `out`
    cannot be made, and where something stands there already.
    """
    options, run = open_kind(folder, KINDS)
    model = _build(options, run.facts)
    part = "prior" if run.kind == "prior" else "model"
    step = load_newest(run, model, part).step
    with new_folder(out) as made:
        if isinstance(options, PriorOptions):
            options, run = _with_tokenizer(options, run, made, half)
        elif isinstance(options, ImageOptions):
            options, run = _without_places(options, run)
        _write(made, run, options, step, gather({part: model}), half)
    return replace(run, folder=out, options=asdict(options), exported=True)


def _build(options: RunOptions, facts: Mapping[str, Any]) -> Module:
    """Build the model of any kind of run."""
    match options:
        case PriorOptions():
            return build_prior(options, facts)
        case VAEOptions():
            return build_vae(options, facts)
        case TokenizerOptions():
            return build(options, facts)
        case GANOptions():
            return build_generator(options, facts)
    raise RunError(f"there is no model of {type(options).__name__}")


def _with_tokenizer(
    options: PriorOptions, run: Run, made: Path, half: bool
) -> tuple[PriorOptions, Run]:
    """Export a prior's tokenizer into its folder -> what the prior then has."""
    tokenizer, its_options, original = tokenizer_of_prior(options, run)
    its_options, original = _without_places(its_options, original)
    own = tokenizer_folder(replace(run, folder=made))
    # Its step is not known here: a prior's run keeps the tokenizer as step 0.
    _write(own, original, its_options, 0, gather({"model": tokenizer}), half)
    # Read back: rounded weights are those of another tokenizer.
    fingerprint = load_tokenizer(own)[0].fingerprint()
    data = None if options.data is None else _place(options.data)
    facts = {
        **run.facts,
        "tokenizer": fingerprint,
        "data_source": data or its_options.data,
    }
    # Relative to the run's folder, where it is looked for.
    options = replace(options, tokenizer=own.name, data=data)
    return options, replace(run, facts=facts)


def _without_places(options: Any, run: Run) -> tuple[Any, Run]:
    """Leave of the images' path its name alone."""
    options = replace(options, data=_place(options.data))
    return options, replace(run, facts={**run.facts, "data_source": options.data})


def _place(source: str) -> str:
    """Name images: by the name of their set, or by the last part of their path."""
    if source in CATALOG:
        return source
    name = Path(os.path.abspath(source)).name
    return f"./{name}" if name in CATALOG else name  # no set, even if so named


def _write(
    folder: Path, run: Run, options: RunOptions, step: int, state: State, half: bool
) -> None:
    """Write a run folder of a configuration and one checkpoint."""
    exported = replace(run, folder=folder, options=asdict(options), exported=True)
    arrays = _rounded(state) if half else state
    checkpoint.save(exported.checkpoints, step, arrays, {"kind": run.kind})
    write_config(exported)


def _rounded(state: State) -> State:
    """Round what is float32 to float16; RunError where that is not finite."""
    found = dict(state)
    for name, array in state.items():
        if array.dtype == np.float32:
            with np.errstate(over="ignore"):
                found[name] = array.astype(np.float16)
            if not np.isfinite(found[name]).all():
                raise RunError(
                    f"{name} has values up to {np.abs(array).max():.3g}, too large for "
                    "float16; export without --half"
                )
    return found
