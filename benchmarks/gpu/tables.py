"""The tables of what was measured on GPUs, from the committed result files."""

import json
from collections import defaultdict
from typing import Any

from benchmarks.gpu.timing import TF32, Figures
from benchmarks.markdown import NOT_YET, geometric_mean, mean_line, source, table
from benchmarks.record import RESULTS

PRECISIONS = tuple(TF32)
UNASKED = "tinyvq by_shape"  # the rung that runs where none is asked for


def of_gpus(part: str) -> str:
    """Write a part's table for each GPU whose results are there."""
    files = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))]
    gpus = [result for result in files if "gpu" in result and part in result]
    return "\n".join(_of_gpu(part, result) for result in gpus) or NOT_YET


def _of_gpu(part: str, result: Figures) -> str:
    found = result[part]
    told = TABLES[part](found["cases"])
    return f"{result['gpu']}:\n\n{told}{source(found['environment'])}"


def roofs(cases: Figures) -> str:
    """Say how fast the device copies and multiplies."""
    return (
        f"It copies {cases['copy_gb_a_second']:,.0f} GB/s, reading and writing "
        f"counted, and multiplies {cases['float32_tflops']:.1f} TFLOP/s in float32 and "
        f"{cases['tf32_tflops']:.0f} in TF32 (PyTorch's matmul, 8192³).\n"
    )


def searches(cases: Figures) -> str:
    """Compare what runs unasked, and our fastest rung, with PyTorch's forms."""
    rows, unasked, by_name = [], [], []
    for name, found in cases.items():
        named = [n for n in found if n.startswith("tinyvq") and n != UNASKED]
        ours = min(named, key=_of(found))
        exact = [n for n in found if n.endswith(", float32")]
        peer = min(exact, key=_of(found))
        unasked.append(_ms(found, peer) / _ms(found, UNASKED))
        by_name.append(_ms(found, peer) / _ms(found, ours))
        rows.append(
            (
                name.replace("x", "×"),
                _told(found, UNASKED),
                f"{_told(found, ours)}, {ours.removeprefix('tinyvq ')}",
                f"{_told(found, peer)}, {peer.removesuffix(', float32')}",
                _told(found, "matmul + argmin, TF32"),
                f"{unasked[-1]:.2f}",
                f"{by_name[-1]:.2f}",
            )
        )
    head = (
        *("N × D × M", "tinyvq, unasked", "tinyvq, fastest by name"),
        *("PyTorch, float32", "PyTorch, TF32 (not the same answers)"),
        *("float32 / unasked", "float32 / fastest"),
    )
    return (
        table(head, rows)
        + mean_line(unasked, " for what runs unasked")
        + mean_line(by_name, " for the fastest rung")
    )


def convolutions(cases: Figures) -> str:
    """Compare with cuDNN, pass by pass: means over the layers, and the worst."""
    ratios: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    for name, found in cases.items():
        layer, part = name.split(": ")
        for precision in PRECISIONS:
            # What computes in float32 may stand in for TF32, too, where it is faster.
            allowed = PRECISIONS[: PRECISIONS.index(precision) + 1]
            ours, theirs = (
                min(_ms(found, f"{who}, {p}") for p in allowed)
                for who in ("tinyvq", "cuDNN")
            )
            ratios[part, precision][layer] = theirs / ours
    rows = []
    for (part, precision), of_layers in ratios.items():
        worst = min(of_layers, key=lambda layer: of_layers[layer])
        mean = geometric_mean(of_layers.values())
        low = f"{of_layers[worst]:.2f}, {worst}"
        rows.append((part, precision, f"{mean:.2f}", low))
    text = table(("pass", "in", "cuDNN / tinyvq, mean", "worst layer"), rows)
    for precision in PRECISIONS:
        every = [
            ratio
            for (_, p), of_layers in ratios.items()
            for ratio in of_layers.values()
            if p == precision
        ]
        text += mean_line(every, f" in {precision}")
    return text


def steps(cases: Figures) -> str:
    """Compare whole steps, in float32 and in TF32."""
    rows = []
    for name, found in cases.items():
        for precision in PRECISIONS:
            ours = f"tinyvq, captured, {precision}"
            peers = [n for n in found if n.startswith("PyTorch") and precision in n]
            peer = min(peers, key=_of(found))
            told = [
                f"{_told(found, n)}, {n.removesuffix(f', {precision}')}" for n in peers
            ]
            ratio = _ms(found, peer) / _ms(found, ours)
            rows.append(
                (name, precision, _told(found, ours), "; ".join(told), f"{ratio:.2f}")
            )
    return table(("step", "in", "tinyvq", "PyTorch", "fastest / tinyvq"), rows)


TABLES: dict[str, Any] = {
    "roofs": roofs,
    "nearest_code": searches,
    "convolutions": convolutions,
    "vqvae_step": steps,
    "vqgan_step": steps,
}


def _ms(found: Figures, name: str) -> float:
    return float(found[name]["median_ms"])


def _of(found: Figures) -> Any:
    return lambda name: _ms(found, name)


def _told(found: Figures, name: str) -> str:
    value = _ms(found, name)
    return f"{value:.3f} ms" if value < 1 else f"{value:.2f} ms"
