"""The tree of modules: what is found in it, in which order, and its state."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tinyvq import nn, ops
from tinyvq.errors import DTypeError, ModuleError
from tinyvq.tensor import Tensor


def parameter(value: float = 1.0) -> nn.Parameter:
    return nn.Parameter(np.full(2, value, "float32"))


class Leaf(nn.Module):
    def __init__(self, value: float = 1.0) -> None:
        self.weight = parameter(value)
        self.mean = nn.Buffer(np.zeros(3))


class Tree(nn.Module):
    """Something of every kind, in an order that is not the alphabet's."""

    def __init__(self) -> None:
        self.scale = parameter(2.0)
        self.layers = [Leaf(3.0), {"deep": (Leaf(4.0), parameter(5.0))}, "a name", None]
        self.branch = Leaf(6.0)
        self.by_name = {"one": parameter(7.0), 2: nn.Buffer(np.int64(8))}
        self.constant = Tensor(np.ones(2))
        self.size = 3
        self.act = ops.relu


PATHS = [
    "scale",
    "layers.0.weight",
    "layers.0.mean",
    "layers.1.deep.0.weight",
    "layers.1.deep.0.mean",
    "layers.1.deep.1",
    "branch.weight",
    "branch.mean",
    "by_name.one",
    "by_name.2",
]
BUFFERS = {path for path in PATHS if path.endswith(("mean", "2"))}


def test_everything_is_found_by_its_path_in_order_of_definition() -> None:
    tree = Tree()
    assert list(tree.state_dict()) == PATHS
    named = list(tree.named_parameters())
    assert [path for path, _ in named] == [p for p in PATHS if p not in BUFFERS]
    assert [p.numpy()[0] for _, p in named] == [2, 3, 4, 5, 6, 7]
    assert all(a is b for a, (_, b) in zip(tree.parameters(), named, strict=True))
    assert [path for path, _ in tree.named_modules()] == [
        "",
        "layers.0",
        "layers.1.deep.0",
        "branch",
    ]
    assert tree.num_parameters() == 12


def test_what_is_set_later_is_found_too() -> None:
    tree = Leaf()
    tree.late = parameter()  # type: ignore[attr-defined]
    assert [path for path, _ in tree.named_parameters()] == ["weight", "late"]


class Holds(nn.Module):
    def __init__(self, *members: Any) -> None:
        self.members = list(members)


shared = Leaf()


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Holds(*[Leaf()] * 2), r"members\.1 is the same object as members\.0"),
        (
            lambda: Holds(shared, Holds(shared)),
            r"members\.1\.members\.0 is the same object as members\.0; to share",
        ),
        (
            lambda: Holds(shared, {"tied": shared.weight}),
            r"members\.1\.tied is the same object as members\.0\.weight",
        ),
        (lambda: Holds(*[nn.Buffer(1.0)] * 2), r"members\.1 is the same object"),
    ],
)
def test_what_is_found_twice_raises_and_names_both_places(
    make: Callable[[], nn.Module], says: str
) -> None:
    with pytest.raises(ModuleError, match=says):
        make().parameters()


def test_a_module_that_holds_itself_raises() -> None:
    module = Holds()
    module.members.append(Holds(module))
    with pytest.raises(
        ModuleError, match=r"members\.0\.members\.0 is .* the module itself"
    ):
        module.state_dict()


def test_a_bare_trainable_tensor_raises() -> None:
    module = Holds(Tensor(np.ones(2), requires_grad=True))
    with pytest.raises(
        ModuleError, match=r"members\.0 is a trainable Tensor that no opt"
    ):
        module.parameters()
    result = ops.mul(parameter(), 2.0)
    with pytest.raises(
        ModuleError, match=r"make it an nn\.Parameter, or an nn\.Buffer"
    ):
        Holds(result).parameters()
    assert Holds(result.detach()).parameters() == []


# State.


def changed(module: nn.Module) -> dict[str, Any]:
    return {path: array + 10 for path, array in module.state_dict().items()}


def test_a_state_goes_from_one_module_to_another() -> None:
    tree, twin = Tree(), Tree()
    state = changed(tree)
    twin.load_state_dict(state)
    for path, array in twin.state_dict().items():
        np.testing.assert_array_equal(array, state[path], strict=True)
    assert tree.scale.numpy()[0] == 2.0


def test_a_state_is_a_copy_both_ways() -> None:
    tree = Tree()
    state = tree.state_dict()
    state["scale"][...] = 0
    assert tree.scale.numpy()[0] == 2.0
    tree.load_state_dict(state)
    state["scale"][...] = 5
    assert tree.scale.numpy()[0] == 0.0


def test_loading_keeps_the_tensors_that_an_optimiser_holds() -> None:
    tree = Tree()
    before, array = tree.parameters(), tree.scale.array
    tree.load_state_dict(changed(tree))
    assert all(a is b for a, b in zip(before, tree.parameters(), strict=True))
    assert tree.scale.array is array


Break = Callable[[dict[str, Any]], Any]
WRONG: list[tuple[Break, str]] = [
    (lambda s: s.pop("branch.mean"), r"missing branch\.mean; unknown nothing"),
    (
        lambda s: s.update({"branch.bias": s.pop("branch.weight")}),
        r"missing branch\.weight; unknown branch\.bias",
    ),
    (lambda s: s.update({"extra": np.ones(2)}), "missing nothing; unknown extra"),
    (
        lambda s: s.clear(),
        r"missing scale, layers\.0\.weight, layers\.0\.mean and 7 more; unknown",
    ),
    (
        lambda s: s.update({"by_name.one": np.ones((2, 1), "float32")}),
        r"by_name\.one: this model has float32 \(2,\), the state float32 \(2, 1\)",
    ),
    (
        lambda s: s.update({"by_name.one": np.ones(2)}),
        r"by_name\.one: this model has float32 \(2,\), the state float64 \(2,\)",
    ),
    (
        lambda s: s.update({"by_name.2": np.float64(8)}),
        r"by_name\.2: this model has int64 \(\), the state float64 \(\)",
    ),
]


@pytest.mark.parametrize(("spoil", "says"), WRONG)
def test_a_state_that_does_not_fit_raises_and_changes_nothing(
    spoil: Break, says: str
) -> None:
    tree = Tree()
    before, state = tree.state_dict(), changed(tree)
    spoil(state)
    with pytest.raises(ModuleError, match=says):
        tree.load_state_dict(state)
    for path, array in tree.state_dict().items():
        np.testing.assert_array_equal(array, before[path], strict=True)


def test_loading_is_seen_by_graphs_that_saved_the_old_values() -> None:
    leaf = Leaf()
    y = ops.sum(leaf.weight * leaf.weight)
    leaf.load_state_dict(leaf.state_dict())
    with pytest.raises(RuntimeError, match="was changed in place"):
        y.backward()


def test_a_deep_copy_has_state_of_its_own() -> None:
    tree = Tree()
    twin = copy.deepcopy(tree)
    twin.load_state_dict(changed(twin))
    assert list(twin.state_dict()) == PATHS
    assert (tree.scale.numpy()[0], twin.scale.numpy()[0]) == (2.0, 12.0)
    assert type(twin.scale) is nn.Parameter


# Modes, gradients, dtypes.


def test_training_and_evaluation_reach_every_module() -> None:
    tree = Tree()
    assert all(module.training for _, module in tree.named_modules())
    assert tree.eval() is tree
    assert not any(module.training for _, module in tree.named_modules())
    assert tree.train() is tree
    assert all(module.training for _, module in tree.named_modules())
    assert list(tree.state_dict()) == PATHS


def test_zero_grad_forgets_all_gradients() -> None:
    tree = Tree()
    for p in tree.parameters():
        ops.sum(p * 2.0).backward()
    assert all(p.grad is not None for p in tree.parameters())
    tree.zero_grad()
    assert all(p.grad is None for p in tree.parameters())


def test_astype_converts_floats_and_leaves_integers() -> None:
    tree = Tree()
    assert tree.astype("float64") is tree
    dtypes = {path: str(array.dtype) for path, array in tree.state_dict().items()}
    assert dtypes.pop("by_name.2") == "int64"
    assert set(dtypes.values()) == {"float64"}
    assert all(p.requires_grad for p in tree.parameters())
    assert tree.scale.numpy()[0] == 2.0


@pytest.mark.parametrize("dtype", ["int64", "float16", "bool"])
def test_astype_takes_dtypes_that_have_gradients(dtype: str) -> None:
    tree = Tree()
    with pytest.raises(
        DTypeError, match=f"astype: needs float32 or float64, got {dtype}"
    ):
        tree.astype(dtype)
    assert tree.scale.dtype == np.float32
    assert tree.branch.mean.dtype == np.float64


def test_a_parameter_is_trainable_and_a_buffer_is_not() -> None:
    assert nn.Parameter([1.0]).requires_grad
    assert nn.Parameter([1.0]).dtype == np.float32
    assert not nn.Buffer([1.0]).requires_grad
    with pytest.raises(DTypeError, match="only float32 and float64 have gradients"):
        nn.Parameter([1, 2])
