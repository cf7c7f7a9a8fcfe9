"""What moves between backends, by whom, and what it says where it cannot."""

import sys
import timeit
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from strict_device import StrictArray
from tinyvq_kernels import CudaUnavailable, kernels, module_of, require_cuda

from tinyvq import Tensor, models, nn, ops, optim
from tinyvq.backends import beside, copy_to_host, move, on_host, read
from tinyvq.errors import ConfigError, GraphError, ModuleError, ShapeError


def test_to_tell_where_an_array_lives_costs_well_under_a_microsecond() -> None:
    x, calls = np.zeros(3), 20_000
    best = min(timeit.repeat(lambda: module_of(x), number=calls, repeat=5)) / calls
    assert best < 0.6e-6


def test_each_operation_has_a_default_on_a_gpu() -> None:
    for op in {kernel.op for kernel in kernels()}:
        ladder = [k for k in kernels(op) if k.backend == "cuda"]
        assert sum(kernel.default for kernel in ladder) == 1


def test_arrays_cross_over_when_they_are_told_to(cupy: Any) -> None:
    here = np.arange(3.0)
    there = move(here, "cuda")
    assert isinstance(there, StrictArray)
    assert move(there, "cuda") is there
    assert move(here, "cpu") is on_host(here) is beside(here, here) is here
    assert beside(there, there) is there
    assert beside(here, there).get().tolist() == [0, 1, 2]
    for back in (move(there, "cpu"), on_host(there), beside(there, here)):
        assert isinstance(back, np.ndarray)
    assert not np.shares_memory(copy_to_host(here), here)
    assert read(there[0], there.sum()) == (0.0, 3.0)
    assert read(here[2], np.asarray(4), 5) == (2.0, 4, 5)
    with pytest.raises(ConfigError, match="no backend 'gpu'; there is: 'cpu', 'cuda'"):
        move(here, "gpu")  # type: ignore[arg-type]


def test_a_tensor_is_copied_to_a_backend(cupy: Any) -> None:
    t = Tensor(np.arange(3.0), requires_grad=True)
    there = t.to("cuda")
    assert (t.backend, there.backend, there.requires_grad) == ("cpu", "cuda", True)
    assert there.is_leaf
    assert there.to("cuda") is there
    assert t.to("cpu") is t
    assert there.numpy().tolist() == [0, 1, 2]
    assert isinstance(Tensor(there.array).array, StrictArray)
    assert Tensor(there).array is not there.array
    with pytest.raises(TypeError, match=r"on a GPU; tensor\.numpy\(\) copies it"):
        np.asarray(there)
    with pytest.raises(GraphError, match="copy to another backend of an op's result"):
        (t * 2.0).to("cuda")
    with pytest.raises(GraphError, match="in-place change of an op's result"):
        (t * 2.0).convert(backend="cuda")


def test_indices_come_from_either_side(cupy: Any) -> None:
    table = Tensor(np.eye(3)).to("cuda")
    for indices in (np.array([2, 0]), cupy.asarray(np.array([2, 0]))):
        rows = ops.embedding(table, indices)
        assert rows.numpy().tolist() == [[0, 0, 1], [1, 0, 0]]
        loss = ops.cross_entropy(rows, indices)
        assert loss.backend == "cuda"
        with pytest.raises(ShapeError, match=r"in 0 \.\. 2, got 1 \.\. 3"):
            ops.embedding(table, indices + 1)


def test_a_module_moves_what_is_float(cupy: Any) -> None:
    model = models.VQVAE.preset("conv", channels=1, hidden=4, num_codes=4, code_dim=2)
    assert model.backend == "cpu"
    before = model.state_dict()
    assert model.to("cuda") is model
    assert model.backend == "cuda"
    for name, member in model.named_members():
        if isinstance(member, Tensor):
            assert member.backend == ("cpu" if name.endswith("updates") else "cuda")
    after = model.state_dict()
    assert {n: a.tobytes() for n, a in after.items()} == {
        n: a.tobytes() for n, a in before.items()
    }
    model.to("cpu").load_state_dict(after)
    assert model.backend == "cpu"
    assert nn.ReLU().backend == "cpu"


def test_a_leaf_that_has_moved_since_raises(cupy: Any) -> None:
    layer = nn.Linear(2, 2)
    loss = layer(Tensor(np.ones((1, 2), np.float32))).sum()
    layer.to("cuda")
    with pytest.raises(GraphError, match="converted to float32 on cuda since"):
        loss.backward()


@pytest.mark.parametrize("make", [optim.SGD, optim.Adam, optim.AdamW])
def test_an_optimiser_wants_its_parameters_where_they_were(
    cupy: Any, make: type[Any]
) -> None:
    layer = nn.Linear(2, 2)
    optimizer, average = make(layer.parameters(), 0.1), optim.WeightAverage(layer)
    layer.to("cuda")
    x = Tensor(np.ones((1, 2), np.float32)).to("cuda")
    layer(x).sum().backward()
    before = layer.state_dict()
    with pytest.raises(ModuleError, match="on cpu, and they are on cuda now: make it"):
        optimizer.step()
    with pytest.raises(ModuleError, match="the average was made when"):
        average.update()
    assert optimizer.steps.tolist() == [0, 0]
    assert average.steps == 0
    again = make(layer.parameters(), 0.1)
    again.load_state_dict(optimizer.state_dict())
    again.step()
    assert layer.state_dict()["weight"].tobytes() != before["weight"].tobytes()


def test_averages_and_clipping_work_on_a_gpu(cupy: Any) -> None:
    found = []
    for backend in ("cpu", "cuda"):
        layer = nn.Linear(2, 2)
        values = {n: np.ones_like(a) for n, a in layer.state_dict().items()}
        layer.load_state_dict(values)
        layer.to(backend)  # type: ignore[arg-type]
        average = optim.WeightAverage(layer, 0.5)
        x = Tensor(np.ones((1, 2), np.float32)).to(backend)  # type: ignore[arg-type]
        layer(x).sum().backward()
        norm = optim.clip_grad_norm(layer.parameters(), 1.0)
        optim.SGD(layer.parameters(), 0.1).step()
        average.update()
        other = optim.WeightAverage(layer, 0.5)
        other.load_state_dict(average.state_dict())
        with other.swapped_in():
            state = layer.state_dict()
        found.append((norm, {n: a.tobytes() for n, a in state.items()}))
    assert found[0] == found[1]


def test_without_cupy_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    layer = nn.Linear(2, 2)
    moves = (lambda: layer.to("cuda"), lambda: layer.weight.to("cuda"))
    for ask in (require_cuda, *moves):
        with pytest.raises(CudaUnavailable) as caught:
            ask()
        assert str(caught.value) == "CUDA needs CuPy: pip install cupy-cuda13x"
    assert layer.backend == "cpu"


@pytest.mark.parametrize("count", [0, RuntimeError("no driver\nmore of it")])
def test_without_a_gpu_it_says_why(
    monkeypatch: pytest.MonkeyPatch, count: int | Exception
) -> None:
    def get_device_count() -> int:
        if isinstance(count, Exception):
            raise count
        return count

    cupy: Any = ModuleType("cupy")
    runtime = SimpleNamespace(getDeviceCount=get_device_count)
    cupy.cuda = SimpleNamespace(runtime=runtime)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    reason = "no driver" if count else "it counts none"
    told = f"CuPy is installed, but finds no usable GPU: {reason}"
    with pytest.raises(CudaUnavailable) as caught:
        require_cuda()
    assert str(caught.value) == told
