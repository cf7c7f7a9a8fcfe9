"""2-D convolution and its transpose, channels-last."""

from dataclasses import dataclass

from tinyvq_kernels import conv2d as conv2d_kernel
from tinyvq_kernels import conv2d_input_grad, conv2d_weight_grad, pixel_sums

from tinyvq.errors import ConfigError, ShapeError
from tinyvq.function import Array, Context, Function
from tinyvq.ops._doors import as_floats, whole
from tinyvq.tensor import Operand, Tensor, apply


def _settings(op: str, stride: int, padding: int, dilation: int) -> tuple[int, ...]:
    """Check settings; a later message would be about what they make."""
    stride, padding, dilation = whole(
        op, stride=stride, padding=padding, dilation=dilation
    )
    if stride < 1 or padding < 0 or dilation < 1:
        raise ConfigError(
            f"{op}: needs stride >= 1, padding >= 0, dilation >= 1, got "
            f"stride={stride}, padding={padding}, dilation={dilation}"
        )
    return stride, padding, dilation


def _bias_grad(gy: Array) -> Array:
    """Sum (N,P,Q,K) over all pixels of all images: (K,)."""
    n, p, q, k = gy.shape
    return pixel_sums(gy.reshape(n, p * q, k))


@dataclass(frozen=True)
class Conv2d(Function):
    """y[n,p,q,k] = b[k] + Σ_rsc x[n,i,j,c] w[r,s,c,k].

    i = p·stride + r·dilation - padding, and j alike of q and s; x is 0 outside the
    image.  x (N,H,W,C), w (R,S,C,K), b (K) -> y (N,P,Q,K)
    """

    stride: int = 1
    padding: int = 0
    dilation: int = 1

    def forward(self, ctx: Context, x: Array, w: Array, b: Array | None) -> Array:
        ctx.save(x=x, w=w)
        return conv2d_kernel(
            x, w, b, stride=self.stride, padding=self.padding, dilation=self.dilation
        )

    # y is linear in x, in w and in b, and the change of the loss is <gy, dy>, where
    #   dy[n,p,q,k] = db[k] + Σ_rsc (dx[n,i,j,c] w[r,s,c,k] + x[n,i,j,c] dw[r,s,c,k])
    # What stands beside each dx, dw and db in <gy, dy> is its gradient:
    #   gx[n,i,j,c]  sums gy[n,p,q,k] w[r,s,c,k] over all outputs and taps that read it
    #   gw[r,s,c,k]  sums x[n,i,j,c] gy[n,p,q,k] over all pixels (n,p,q) of the output
    #   gb[k]        sums gy[n,p,q,k] over all pixels
    def backward(self, ctx: Context, gy: Array) -> tuple[Array | None, ...]:
        x, w = ctx.x, ctx.w
        settings = {
            "stride": self.stride,
            "padding": self.padding,
            "dilation": self.dilation,
        }
        gx = gw = gb = None
        if ctx.needs[0]:
            gx = conv2d_input_grad(gy, w, x.shape[1:3], **settings)
        if ctx.needs[1]:
            gw = conv2d_weight_grad(x, gy, w.shape[:2], **settings)
        if ctx.needs[2]:
            gb = _bias_grad(gy)
        return gx, gw, gb


def conv2d(
    x: Operand,
    w: Operand,
    b: Operand | None = None,
    *,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
) -> Tensor:
    """Convolve images with a kernel (cross-correlation, as the field has it).

    x (N,H,W,C), w (R,S,C,K), b (K) or None -> (N,P,Q,K), with
    P = (H + 2·padding - dilation·(R-1) - 1) // stride + 1, and Q alike.
    PyTorch's weight is (K,C,R,S). Raises ShapeError for shapes that do not fit.
    """
    op = "conv2d"
    x, w = as_floats(op, x), as_floats(op, w, "w")
    bias = None if b is None else as_floats(op, b, "b")
    function = Conv2d(*_settings(op, stride, padding, dilation))
    return apply(function, x, w, bias)


@dataclass(frozen=True)
class ConvTranspose2d(Function):
    """The adjoint of conv2d in x, with the same w, plus a bias.

    y (N,P,Q,K), w (R,S,C,K), b (C) -> x (N,H,W,C)
    """

    size: tuple[int, int]
    stride: int = 1
    padding: int = 0
    dilation: int = 1

    def forward(self, ctx: Context, y: Array, w: Array, b: Array | None) -> Array:
        ctx.save(y=y, w=w)
        return conv2d_input_grad(
            y,
            w,
            self.size,
            b,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
        )

    # x = Aᵀ y, with A = conv2d by w. So gy = A gx, a convolution. And since
    # <gx, Aᵀ y> = <A gx, y>, gw is conv2d's weight gradient with image gx and
    # upstream gradient y.
    def backward(self, ctx: Context, gx: Array) -> tuple[Array | None, ...]:
        y, w = ctx.y, ctx.w
        settings = {
            "stride": self.stride,
            "padding": self.padding,
            "dilation": self.dilation,
        }
        gy = gw = gb = None
        if ctx.needs[0]:
            gy = conv2d_kernel(gx, w, **settings)
        if ctx.needs[1]:
            gw = conv2d_weight_grad(gx, y, w.shape[:2], **settings)
        if ctx.needs[2]:
            gb = _bias_grad(gx)
        return gy, gw, gb


def conv_transpose2d(
    y: Operand,
    w: Operand,
    b: Operand | None = None,
    *,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    output_padding: int = 0,
) -> Tensor:
    """Run conv2d backwards: the exact adjoint of conv2d with the same w.

    y (N,P,Q,K), w (R,S,C,K), b (C) or None -> (N,H,W,C), with
    H = (P-1)·stride - 2·padding + dilation·(R-1) + 1 + output_padding, and W alike.
    PyTorch's weight is (K,C,R,S), its input channels being K.
    Raises ConfigError unless output_padding < stride, ShapeError where H or W is < 1.
    """
    op = "conv_transpose2d"
    y, w = as_floats(op, y, "y"), as_floats(op, w, "w")
    bias = None if b is None else as_floats(op, b, "b")
    stride, padding, dilation = _settings(op, stride, padding, dilation)
    (output_padding,) = whole(op, output_padding=output_padding)
    if not 0 <= output_padding < stride:
        raise ConfigError(
            f"{op}: needs 0 <= output_padding < stride, "
            f"got {output_padding} and {stride}"
        )
    if y.ndim != 4 or w.ndim != 4:
        raise ShapeError(
            f"{op}: needs y (N,P,Q,K), w (R,S,C,K), got {y.shape}, {w.shape}"
        )
    height, width = (
        (n - 1) * stride - 2 * padding + dilation * (taps - 1) + 1 + output_padding
        for n, taps in zip(y.shape[1:3], w.shape[:2], strict=True)
    )
    if height < 1 or width < 1:
        raise ShapeError(
            f"{op}: y {y.shape} with w {w.shape}, padding={padding} "
            f"would make a {height}×{width} image"
        )
    function = ConvTranspose2d((height, width), stride, padding, dilation)
    return apply(function, y, w, bias)
