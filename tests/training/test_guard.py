"""A NaN or an infinity stops the run before it can spoil anything, and is named."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from training.kind_examples import first_of, spoilt_before_step
from training.run_examples import resume_words, train_words

from tinyvq import data, ops
from tinyvq.cli import main
from tinyvq.errors import NonFiniteError, ShapeError
from tinyvq.models import VQVAE
from tinyvq.nn import Module, Parameter
from tinyvq.tensor import Tensor
from tinyvq.training import checkpoint
from tinyvq.training.guard import GuardedBackward, check_state, finite_values, in_double
from tinyvq.training.tokenizer import facts_of
from tinyvq.training.vqvae import VQVAEOptions, VQVAETask

FLOAT32_MAX = float(np.finfo(np.float32).max)


class Weight(Module):
    def __init__(self, *values: float) -> None:
        self.weight = Parameter(np.array(values, np.float32))


def guarded(forward: Callable[[], Tensor], model: Module) -> tuple[float, float]:
    def differentiate() -> tuple[Any, None]:
        loss = forward()
        loss.backward()
        return in_double(loss), None

    return GuardedBackward(differentiate, model)()[:2]


def test_it_returns_the_loss_and_the_length_of_the_gradients() -> None:
    model = Weight(3.0, 4.0)
    loss, norm = guarded(lambda: ops.sum(model.weight * model.weight), model)
    assert loss == 25.0
    # The gradient of Σ w² is 2w = (6, 8): small integers, so nothing is rounded.
    assert norm == 10.0
    assert model.weight.grad is not None
    np.testing.assert_array_equal(model.weight.grad.numpy(), [6.0, 8.0])


def test_old_gradients_are_forgotten_first() -> None:
    model = Weight(3.0, 4.0)
    for _ in range(2):
        _, norm = guarded(lambda: ops.sum(model.weight * model.weight), model)
    assert norm == 10.0


@pytest.mark.parametrize(
    ("values", "forward", "named"),
    [
        # A weight that is bad already: the input of the first op that reads it.
        ([1.0, np.nan], lambda w: ops.sum(w * w), "input 0 of Mul"),
        ([1.0, np.inf], lambda w: ops.sum(ops.relu(w)), "input 0 of ReLU"),
        # A value that an op makes: 100 is beyond the exponent of float32.
        ([1.0, 100.0], lambda w: ops.sum(ops.exp(w) * 2.0), "the result of Exp"),
        ([0.0, 1.0], lambda w: ops.sum(ops.log(w)), "the result of Log"),
        ([0.0, 1.0], lambda w: ops.sum(1.0 / w), "the result of Div"),
        # Only the gradient: that of the root of 0 is infinite.
        ([0.0, 1.0], lambda w: ops.sum(ops.sqrt(w)), "the gradient of input 0 of Sqrt"),
    ],
)
def test_the_first_bad_value_is_named(
    values: list[float], forward: Any, named: str
) -> None:
    model = Weight(*values)
    with (
        finite_values(7),
        pytest.raises(NonFiniteError) as caught,
    ):
        guarded(lambda: forward(model.weight), model)
    said = str(caught.value)
    assert said == f"{named} is not finite, the first bad value of the step"
    assert model.weight.grad is None


def test_gradients_whose_length_overflows_stop_the_run() -> None:
    # Each gradient is finite in float32; their squares are summed in float64, where
    # they are too. So a length that is infinite means a gradient that is.
    model = Weight(1.0, 1.0)
    big = Tensor(np.full(2, 1e38, np.float32))
    assert guarded(lambda: ops.sum(model.weight * big), model)[1] > 1e38


def test_another_error_of_the_forward_stays_what_it_is() -> None:
    model = Weight(1.0, 2.0)
    with pytest.raises(ShapeError, match="mse_loss"):
        guarded(lambda: ops.mse_loss(model.weight, np.zeros(3, np.float32)), model)


def test_a_search_that_refuses_a_finite_value_is_heard() -> None:
    """Too large for the search, but finite: there is no bad op to be found."""
    model = VQVAE.preset("conv", channels=1, hidden=4, code_dim=2, num_codes=4)
    last = model.encoder.layers[-1]  # type: ignore[attr-defined]
    with last.bias.mutate() as bias, model.quantizer.codebook.mutate() as codes:
        # A score is up to 2 · 4 · |z|: twice the largest number.
        bias[...], codes[...] = FLOAT32_MAX / 4, 4.0
    x = Tensor(np.zeros((1, 8, 8, 1), np.float32))
    message = r"^step 3: nearest_code: row 0 of z is too large"
    with pytest.raises(NonFiniteError, match=message), finite_values(3):
        guarded(lambda: model(x).loss, model)


def test_a_spoilt_state_is_named() -> None:
    check_state({"a": np.zeros(2), "steps": np.array(3), "none": np.zeros(0)})
    for bad in (np.nan, np.inf, -np.inf):
        with pytest.raises(NonFiniteError, match=r"^b is not finite after the update$"):
            check_state({"a": np.zeros(2), "b": np.array([[0, bad]], np.float32)})


# In a whole run.


def task_of(images: Path, **options: Any) -> VQVAETask:
    found = data.load(str(images))
    sizes = {"hidden": 4, "code_dim": 2, "num_codes": 6, "batch_size": 4} | options
    return VQVAETask(VQVAEOptions(**sizes), found, facts_of(found))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize(
    ("place", "named"),
    [
        ("encoder.layers.0.weight", "input 1 of Conv2d"),
        ("encoder.layers.0.bias", "input 2 of Conv2d"),
        ("decoder.layers.0.weight", "input 1 of Conv2d"),
        ("quantizer.codebook", "nearest_code: row 5 of codes has NaN or inf"),
    ],
)
def test_a_bad_weight_stops_the_step_and_changes_nothing(
    images: Path, bad: float, place: str, named: str
) -> None:
    task = task_of(images)
    task.step(1)
    parameters = dict(task.model.named_members())
    with parameters[place].mutate() as array:  # type: ignore[union-attr]
        array.reshape(-1)[-1] = bad
    before = task.state()
    with pytest.raises((NonFiniteError, ValueError), match=named):
        task.step(2)
    for name, array in task.state().items():
        np.testing.assert_array_equal(array, before[name], err_msg=name)


@pytest.mark.usefixtures("command_line", "no_figures")
@pytest.mark.parametrize("lr", ["1e3", "1e10", "1e20", "1e38", "1e39", "1e300"])
@pytest.mark.parametrize("quantizer", ["ema", "gradient", "soft"])
def test_a_run_that_explodes_ends_with_one_line_and_good_checkpoints(
    images: Path,
    tmp_path: Path,
    lr: str,
    quantizer: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = tmp_path / "run"
    words = train_words(run, images, quantizer=quantizer, lr=lr, checkpoint_every=1)
    assert main(words) == 1
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("error: step ")
    assert said.endswith(
        "; training stopped, the checkpoints are good. A lower --lr may help"
    )
    for path in (run / "checkpoints").glob("*.safetensors"):
        check_state(checkpoint.load(path).arrays)


@pytest.mark.usefixtures("command_line", "no_figures")
def test_the_last_good_checkpoint_can_be_used(
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = tmp_path / "run"
    with spoilt_before_step(monkeypatch, VQVAETask, 7, first_of("generator")):
        assert main(train_words(run, images)) == 1
    assert "error: step 7: input 1 of Conv2d is not finite, the first bad value" in (
        capsys.readouterr().err
    )
    assert checkpoint.load_latest(run / "checkpoints").step == 6
    assert main(["evaluate", str(run), "--json"]) == 0
    assert main(resume_words(run, images)) == 0
