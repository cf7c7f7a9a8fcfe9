"""A VQ-VAE in one file: NumPy alone, every gradient by hand.

    python docs/vqvae_in_one_file.py

An image becomes eight numbers from 0 to 127, and an image again. Nothing of tinyvq is
used but its images; tests/test_one_file.py holds these gradients to tinyvq's.

    x (N,784) -> linear, relu, linear -> z (N,8,16)      the encoder
    each z -> its nearest of 128 codes -> q (N,8,16)      the codebook
    q (N,128) -> linear, relu, linear -> x̂ (N,784)       the decoder

    L = mean (x̂ - x)² / var + mean (sg(z) - q)² + β mean (z - sg(q))²

sg: a constant, no gradient goes through it. So the second term moves the codes to their
vectors, the third the encoder to its codes. The first has to reach the encoder, but the
lookup between them is a step function, whose derivative is 0: its gradient at q is
handed to z as if q were z. That is all there is to "straight through".
"""

from pathlib import Path

import numpy as np

IMAGES = Path(__file__).parent.parent / "tinyvq/data/shipped/fashion-mnist-5k.npz"
POSITIONS, WIDTH, CODES, HIDDEN, BETA = 8, 16, 128, 256, 0.25


def initial(pixels, rng):
    """Draw the weights of four linear layers, and the codebook."""
    inner = POSITIONS * WIDTH
    sizes = {1: (pixels, HIDDEN), 2: (HIDDEN, inner), 3: (inner, HIDDEN)}
    sizes[4] = (HIDDEN, pixels)
    p = {}
    for i, (fan_in, fan_out) in sizes.items():
        bound = fan_in**-0.5
        p[f"w{i}"] = rng.uniform(-bound, bound, (fan_in, fan_out))
        p[f"b{i}"] = np.zeros(fan_out)
    p["codes"] = rng.normal(size=(CODES, WIDTH)) * 0.1
    return p


def encode(p, x):
    """Turn images (N,784) into a hidden layer (N,256) and vectors z (N,8,16)."""
    h = np.maximum(0, x @ p["w1"] + p["b1"])
    return h, (h @ p["w2"] + p["b2"]).reshape(-1, POSITIONS, WIDTH)


def nearest(p, z):
    """Choose each vector's code by -2 z·e + |e|², which is |z - e|² but for |z|²."""
    codes = p["codes"]
    return (np.square(codes).sum(axis=1) - 2 * z @ codes.T).argmin(axis=-1)  # (N,8)


def decode(p, q):
    """Turn vectors of codes (N,8,16) into the hidden layer and images (N,784)."""
    h = np.maximum(0, q.reshape(len(q), -1) @ p["w3"] + p["b3"])
    return h, h @ p["w4"] + p["b4"]


def gradients(p, x, variance):
    """Go forward, then back -> the loss, the gradient of each parameter, the codes."""
    h1, z = encode(p, x)
    chosen = nearest(p, z)
    q = p["codes"][chosen]
    h2, made = decode(p, q)
    error, gap = made - x, z - q
    loss = np.square(error).mean() / variance + (1 + BETA) * np.square(gap).mean()

    g = {}
    g_made = 2 * error / error.size / variance
    # y = h w + b: the gradient of w is hᵀ gy, of b the sum of gy, of h it is gy wᵀ.
    g["w4"], g["b4"] = h2.T @ g_made, g_made.sum(axis=0)
    g_h2 = g_made @ p["w4"].T * (h2 > 0)  # relu lets through where it was above 0
    g["w3"], g["b3"] = q.reshape(len(q), -1).T @ g_h2, g_h2.sum(axis=0)
    g_q = (g_h2 @ p["w3"].T).reshape(q.shape)

    pull = 2 * gap / gap.size
    g["codes"] = np.zeros_like(p["codes"])
    np.add.at(g["codes"], chosen, -pull)  # the codebook's own loss, and no other
    g_z = g_q + BETA * pull  # straight through, and the commitment

    g_z = g_z.reshape(len(z), -1)
    g["w2"], g["b2"] = h1.T @ g_z, g_z.sum(axis=0)
    g_h1 = g_z @ p["w2"].T * (h1 > 0)
    g["w1"], g["b1"] = x.T @ g_h1, g_h1.sum(axis=0)
    return loss, g, chosen


def adam(p, g, state, step, lr=1e-3, beta1=0.9, beta2=0.999):
    """Move each parameter by its mean gradient over the root of its mean square."""
    for name in p:
        m, v = state.setdefault(name, [np.zeros_like(p[name]) for _ in range(2)])
        m += (1 - beta1) * (g[name] - m)
        v += (1 - beta2) * (g[name] ** 2 - v)
        m_hat, v_hat = m / (1 - beta1**step), v / (1 - beta2**step)
        p[name] -= lr * m_hat / (np.sqrt(v_hat) + 1e-8)


def main(steps=1500):
    """Train on the shipped garments; print how it goes, at last on unseen ones."""
    with np.load(IMAGES) as file:
        train, test = (
            file[name].reshape(len(file[name]), -1) / 255 - 0.5
            for name in ("train", "test")
        )
    rng, variance = np.random.default_rng(0), train.var()
    p, state = initial(train.shape[1], rng), {}
    _, z = encode(p, train[:CODES])
    p["codes"] = z[:, 0].copy()  # where vectors are: codes far off would not be chosen
    for step in range(1, steps + 1):
        x = train[rng.choice(len(train), 64)]
        loss, g, chosen = gradients(p, x, variance)
        adam(p, g, state, step)
        if step % 250 == 0:
            print(f"step {step}  loss {loss:.3f}  codes {len(np.unique(chosen))}")
    _, z = encode(p, test)
    chosen = nearest(p, z)
    _, made = decode(p, p["codes"][chosen])
    nmse = np.square(made - test).mean() / variance
    used = len(np.unique(chosen))
    print(f"unseen images: nmse {nmse:.3f} with {used} of {CODES} codes")


if __name__ == "__main__":
    main()
