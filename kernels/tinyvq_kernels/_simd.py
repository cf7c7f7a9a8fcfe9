"""A vector vocabulary for Numba kernels: a register of floats, and what it can do.

Numba compiles scalar loops and hopes that LLVM vectorises them. For the inner loop of a
matrix product hope is not enough: twelve running sums must live in registers from the
first step to the last. So this file gives Numba one new type, a *vector*, that LLVM
knows as `<16 x float>` or `<8 x double>` where the processor has AVX-512 and as half of
that elsewhere (LLVM splits it on narrower machines), and the few operations that the
kernels need:

    v = load(a, i)          the vector a[i : i+lanes] of a 1-D contiguous array
    v = load_like(u, a, i)  as many elements of a as the vector u has lanes
    store(a, i, v)          write it back
    copy(a, i, b, k, n)     write b[k : k+n] to a[i : i+n], two places apart
    v = broadcast(a, i)     a[i] in every lane
    v = splat(x)            the scalar x in every lane
    r = fma(a, b, c)        a·b + c with one rounding, vectors or scalars
    r = add(a, b)           lane by lane; sub(a, b) and mul(a, b) too
    x = total(a)            the sum of all lanes, a scalar; largest(a) of them
    m = greater(a, b)       lane by lane, a mask
    y = any_lane(m)         whether the mask holds anywhere
    r = select(m, a, b)     a where the mask holds, else b
    i = bits(x), x = from_bits(i)   a scalar float and the integer of the same bits
    k = indices(like, i)    the int32 i in as many lanes as `like` has
    n = lanes_in(a)         how many elements of a one vector holds, a constant

A local variable of vector type is a register. Inside a kernel compiled by `jit` the
operations are single instructions; outside they cannot be called. They check no bounds.
"""

from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic, models, register_model

# One register. The folder of compiled code is named after the processor, and a result's
# bits do not depend on it, unless its kernel says so.
VECTOR_BYTES = 64 if llvm.get_host_cpu_features().get("avx512f") else 32


class Vector(types.Type):
    """The Numba type of a vector: an element type and a number of lanes."""

    def __init__(self, element: Any, lanes: int) -> None:
        self.element = element
        self.lanes = lanes
        super().__init__(name=f"Vector({element}, {lanes})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, vector: Vector) -> None:
        super().__init__(  # type: ignore[no-untyped-call]
            manager, vector, ir.VectorType(_scalar(vector), vector.lanes)
        )


def _scalar(vector: Vector) -> Any:
    element = vector.element
    if element is types.float32:
        return ir.FloatType()
    if element is types.float64:
        return ir.DoubleType()
    return ir.IntType(element.bitwidth)


def instruction(typing: Any) -> Any:
    """Make a Numba intrinsic: called in kernels alone, where types are Numba's."""
    return intrinsic(typing)


def lanes_of(itemsize: int) -> int:
    """Count the floats of `itemsize` bytes in one vector."""
    return VECTOR_BYTES // itemsize


def vector_of(element: Any) -> Vector:
    return Vector(element, lanes_of(element.bitwidth // 8))


def is_flat(array: Any) -> bool:
    return isinstance(array, types.Array) and array.ndim == 1 and array.layout == "C"


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, i: Any) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    return builder.gep(data, [i])


def load_vector(
    context: Any, builder: Any, array_type: Any, vector: Vector, array: Any, i: Any
) -> Any:
    at = _pointer(context, builder, array_type, array, i)
    as_vector = context.get_value_type(vector).as_pointer()
    loaded = builder.load(builder.bitcast(at, as_vector))
    loaded.align = array_type.dtype.bitwidth // 8  # of an element: any offset will do
    return loaded


def store_vector(
    context: Any, builder: Any, array_type: Any, array: Any, i: Any, value: Any
) -> None:
    at = _pointer(context, builder, array_type, array, i)
    stored = builder.store(value, builder.bitcast(at, value.type.as_pointer()))
    stored.align = array_type.dtype.bitwidth // 8


def _spread(builder: Any, scalar: Any, lanes: int) -> Any:
    """Put one scalar into every lane: insert it into lane 0, then shuffle."""
    vector = ir.VectorType(scalar.type, lanes)
    zero = ir.Constant(ir.IntType(32), 0)
    first = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, zero)
    mask = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
    return builder.shuffle_vector(first, ir.Constant(vector, ir.Undefined), mask)


@instruction
def load(typingctx: Any, array: Any, i: Any) -> Any:
    """Load the vector array[i : i+lanes]; any alignment."""
    if not is_flat(array):
        return None
    vector = vector_of(array.dtype)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return load_vector(context, builder, array, vector, args[0], args[1])

    return vector(array, types.intp), generate


@instruction
def lanes_in(typingctx: Any, array: Any) -> Any:
    """Count the elements of the array in one vector: while compiling, once."""
    if not is_flat(array):
        return None
    count = vector_of(array.dtype).lanes

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return context.get_constant(types.intp, count)

    return types.intp(array), generate


@instruction
def load_like(typingctx: Any, like: Any, array: Any, i: Any) -> Any:
    """Load as many elements of the array as the vector `like` has lanes."""
    if not (is_flat(array) and isinstance(like, Vector)):
        return None
    vector = Vector(array.dtype, like.lanes)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return load_vector(context, builder, array, vector, args[1], args[2])

    return vector(like, array, types.intp), generate


@instruction
def store(typingctx: Any, array: Any, i: Any, vector: Any) -> Any:
    """Store a vector to array[i : i+lanes]; any alignment."""
    if not (is_flat(array) and isinstance(vector, Vector)):
        return None

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        store_vector(context, builder, array, *args)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), generate


@instruction
def copy(typingctx: Any, to: Any, i: Any, source: Any, k: Any, n: Any) -> Any:
    """Write source[k : k+n] to to[i : i+n]; Numba would first ask if they overlap."""
    if not (is_flat(to) and is_flat(source) and to.dtype == source.dtype):
        return None

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        there = _pointer(context, builder, to, args[0], args[1])
        here = _pointer(context, builder, source, args[2], args[3])
        size = context.get_abi_sizeof(context.get_value_type(to.dtype))
        cgutils.raw_memcpy(builder, there, here, args[4], size)  # type: ignore[no-untyped-call]
        return context.get_dummy_value()

    place = types.intp
    return types.void(to, place, source, place, place), generate


@instruction
def broadcast(typingctx: Any, array: Any, i: Any) -> Any:
    """Load array[i] into every lane (one instruction, vbroadcastss, on AVX)."""
    if not is_flat(array):
        return None
    vector = vector_of(array.dtype)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        scalar = builder.load(_pointer(context, builder, array, args[0], args[1]))
        return _spread(builder, scalar, vector.lanes)

    return vector(array, types.intp), generate


@instruction
def splat(typingctx: Any, x: Any) -> Any:
    """Put the float x into every lane."""
    if not isinstance(x, types.Float):
        return None
    vector = vector_of(x)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _spread(builder, args[0], vector.lanes)

    return vector(x), generate


@instruction
def indices(typingctx: Any, like: Any, i: Any) -> Any:
    """Put the integer i, as int32, into as many lanes as `like` has."""
    if not isinstance(like, Vector):
        return None
    vector = Vector(types.int32, like.lanes)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        narrow = builder.trunc(args[1], ir.IntType(32))
        return _spread(builder, narrow, vector.lanes)

    return vector(like, types.int64), generate


@instruction
def fma(typingctx: Any, a: Any, b: Any, c: Any) -> Any:
    """Multiply and add with one rounding: a·b + c, three vectors or three floats."""
    if not (a == b == c and isinstance(a, Vector | types.Float)):
        return None

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = args[0].type
        element = a.element if isinstance(a, Vector) else a
        suffix = f"f{element.bitwidth}"
        if isinstance(a, Vector):
            suffix = f"v{a.lanes}{suffix}"
        fused = cgutils.get_or_insert_function(  # type: ignore[no-untyped-call]
            builder.module, ir.FunctionType(kind, [kind] * 3), f"llvm.fma.{suffix}"
        )
        return builder.call(fused, args)

    return a(a, b, c), generate


def _lane_by_lane(a: Any, b: Any, instruction: str) -> Any:
    if not (a == b and isinstance(a, Vector)):
        return None

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return getattr(builder, instruction)(args[0], args[1])

    return a(a, b), generate


@instruction
def add(typingctx: Any, a: Any, b: Any) -> Any:
    """Add two vectors lane by lane."""
    return _lane_by_lane(a, b, "fadd")


@instruction
def sub(typingctx: Any, a: Any, b: Any) -> Any:
    """Subtract two vectors lane by lane."""
    return _lane_by_lane(a, b, "fsub")


@instruction
def mul(typingctx: Any, a: Any, b: Any) -> Any:
    """Multiply two vectors lane by lane."""
    return _lane_by_lane(a, b, "fmul")


def _fold(builder: Any, vector: Any, lanes: int, combine: Any) -> Any:
    """Combine all lanes into one: halves with halves, again and again."""
    while lanes > 1:
        lanes //= 2
        nothing = ir.Constant(vector.type, ir.Undefined)
        places = ir.VectorType(ir.IntType(32), lanes)
        low, high = (
            builder.shuffle_vector(
                vector, nothing, ir.Constant(places, list(range(start, start + lanes)))
            )
            for start in (0, lanes)
        )
        vector = combine(low, high)
    return builder.extract_element(vector, ir.Constant(ir.IntType(32), 0))


@instruction
def total(typingctx: Any, v: Any) -> Any:
    """Add all lanes up."""
    if not isinstance(v, Vector):
        return None

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _fold(builder, args[0], v.lanes, builder.fadd)

    return v.element(v), generate


@instruction
def largest(typingctx: Any, v: Any) -> Any:
    """Find the largest lane; with NaN in one, any lane."""
    if not isinstance(v, Vector):
        return None

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        def more(a: Any, b: Any) -> Any:
            return builder.select(builder.fcmp_ordered(">", a, b), a, b)

        return _fold(builder, args[0], v.lanes, more)

    return v.element(v), generate


@instruction
def pointer(typingctx: Any, address: Any, like: Any, i: Any) -> Any:
    """Point at element i of an array of the type of `like` at an address."""
    if not isinstance(like, types.Array):
        return None

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        element = context.get_data_type(like.dtype).as_pointer()
        return builder.gep(builder.inttoptr(args[0], element), [args[2]])

    kind: Any = types.CPointer(like.dtype)  # type: ignore[no-untyped-call]
    return kind(types.intp, like, types.intp), generate


def _as_bits(element: Any) -> Any:
    return types.int32 if element is types.float32 else types.int64


@instruction
def bits(typingctx: Any, x: Any) -> Any:
    """Read a float's bits as an integer of its size, changing none."""
    if not isinstance(x, types.Float):
        return None

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.IntType(x.bitwidth))

    return _as_bits(x)(x), generate


@instruction
def from_bits(typingctx: Any, i: Any) -> Any:
    """Read the bits of an int32 or int64 as a float of its size."""
    if i not in (types.int32, types.int64):
        return None
    element = types.float32 if i is types.int32 else types.float64

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], _scalar(Vector(element, 1)))

    return element(i), generate


@instruction
def greater(typingctx: Any, a: Any, b: Any) -> Any:
    """Compare lane by lane, a > b; false where either is NaN."""
    if not (a == b and isinstance(a, Vector)):
        return None

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fcmp_ordered(">", args[0], args[1])

    return Vector(types.Integer("int1", 1, True), a.lanes)(a, b), generate


@instruction
def any_lane(typingctx: Any, mask: Any) -> Any:
    """Tell whether a mask holds in any lane."""
    if not isinstance(mask, Vector):
        return None

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        whole = ir.IntType(mask.lanes)
        lanes = builder.bitcast(args[0], whole)
        return builder.icmp_unsigned("!=", lanes, ir.Constant(whole, 0))

    return types.boolean(mask), generate


@instruction
def select(typingctx: Any, mask: Any, a: Any, b: Any) -> Any:
    """Take a where the mask holds and b elsewhere, lane by lane."""
    if not (a == b and isinstance(a, Vector) and mask.lanes == a.lanes):
        return None

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.select(args[0], args[1], args[2])

    return a(mask, a, b), generate
