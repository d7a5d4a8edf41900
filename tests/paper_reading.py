"""Plain NumPy reading of one inner step of Metz et al. 2018, appendix G (the form as printed).

Tensors of hidden states are (B, N_l, channels): axis 0 is the batch, axis 1 the units. Layer l's
weights are `phi.W[l - 1]`, of shape (N_{l-1}, N_l). Everything is float64, for a single task.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass
class PaperTheta:
    """The learned parameters of the update rule."""

    topd_convs: list[tuple[Array, Array]]
    topd_betas: list[Array]
    input_beta: Array
    h_convs: list[tuple[Array, Array]]
    h_betas: list[Array]
    error: tuple[Array, Array]
    readouts: dict[str, tuple[Array, Array]]
    merge: dict[str, float]
    bias_readout: Array


@dataclass
class Phi:
    """The base model (App. 7-12) and its backward weights V (App. 34)."""

    W: list[Array]
    b: list[Array]
    V: list[Array]


@dataclass
class InnerStep:
    """All that one inner step computes; `planes` are those of W, before normalisation."""

    xs: list[Array]
    zs: list[Array]
    d: list[Array]
    h: list[Array]
    planes: list[dict[str, Array]]
    delta_W: list[Array]
    delta_b: list[Array]
    delta_V: list[Array]
    phi: Phi


def forward(phi: Phi, x: Array) -> tuple[list[Array], list[Array]]:
    """Run the base model, App. 13-16; returns x^0..x^L and z^0..z^L with z^0 = x^0."""
    xs, zs = [x], [x]
    for w, b in zip(phi.W, phi.b, strict=True):
        m = xs[-1] @ w
        zs.append((m - m.mean(axis=0)) / np.sqrt(m.var(axis=0) + 1e-6) + b)
        xs.append(np.maximum(zs[-1], 0.0))
    return xs, zs


def norm(m: Array, beta: Array) -> Array:
    """BatchNorm(m, [0, 1]), App. 68 and 93: per channel, with an offset and no scale."""
    centred = m - m.mean(axis=(0, 1))
    return np.asarray(centred / np.sqrt(m.var(axis=(0, 1)) + 1e-3) + beta)


def conv(m: Array, parameters: tuple[Array, Array], axis: int) -> Array:
    """ConvBatch (axis 0) or ConvUnit (axis 1), App. 67 and 98: zero padded, length kept."""
    w, b = parameters
    kernel, length = w.shape[0], m.shape[axis]
    source = np.moveaxis(m, axis, 0)
    out = np.zeros((*source.shape[:-1], w.shape[2])) + b
    for n, k in np.ndindex(length, kernel):
        tap = n + k - kernel // 2
        if 0 <= tap < length:
            out[n] += source[tap] @ w[k]
    return np.moveaxis(out, 0, axis)


def top_d(x_top: Array, theta: PaperTheta) -> Array:
    """TopD, App. 65-79; App. 70-73 run along the batch of the swapped (B, S, E) tensor."""
    m = x_top[:, :, None]
    for i, beta in enumerate(theta.topd_betas):
        if i in (1, 3):
            m = m.transpose(0, 2, 1)
        m = np.maximum(norm(conv(m, theta.topd_convs[i], 0), beta), 0.0)
    return conv(m, theta.topd_convs[5], 0)


def positions(batch: int, units: int) -> tuple[Array, Array]:
    """Sine and cosine of each unit's position, tiled over the batch, App. 81-82."""
    angle = np.tile(2.0 * np.pi * np.arange(units) / units, (batch, 1))
    return np.sin(angle), np.cos(angle)


def stats(w: Array, axis: int) -> Array:
    """Stats of w over one axis, App. 85-90; four columns, a row for each unit of the other."""
    l1 = np.abs(w).mean(axis=axis)
    l2 = np.sqrt((w**2).mean(axis=axis) + 1e-6)
    sigma = np.sqrt(w.var(axis=axis) + 1e-8)
    return np.stack([l1, l2, w.mean(axis=axis), sigma], axis=1)


def weight_statistics(w_below: Array | None, w_above: Array | None) -> Array:
    """Statistics of the weights below and above, App. 91-92, scaled together; (N_l, 8)."""
    sides = [stats(w, axis) for axis, w in enumerate((w_below, w_above)) if w is not None]
    eight = np.concatenate([sides[0], sides[-1]], axis=1)
    return np.asarray(eight / np.sqrt((eight**2).mean() + 1e-6))


def compute_h(
    theta: PaperTheta, x: Array, z: Array, d: Array, b: Array, w: tuple[Array | None, Array | None]
) -> Array:
    """ComputeH, App. 80-104, for one layer; w holds the weights below and above."""
    m0 = np.stack([x, z, *positions(*x.shape)], axis=2)
    m2 = norm(np.concatenate([m0, d], axis=2), theta.input_beta)
    s = np.tile(weight_statistics(*w), (len(x), 1, 1))
    b_hat = np.tile(b[:, None], (len(x), 1, 1))
    m = np.concatenate([s, b_hat, m2], axis=2)
    for parameters, beta, axis in zip(theta.h_convs, theta.h_betas, (0, 1, 0, 1), strict=True):
        m = np.maximum(norm(conv(m, parameters, axis), beta), 0.0)
    return m


def error_signal(d: Array, z: Array, h: Array, theta: PaperTheta) -> Array:
    """Return the delta of one layer, App. 33."""
    sigmoid = 1.0 / (1.0 + np.exp(-z))
    return np.asarray(d * sigmoid[:, :, None] + h @ theta.error[0] + theta.error[1])


def propagate(delta: Array, v: Array) -> Array:
    """Return the d of the layer below, App. 34-35: through V, then to mean square 1."""
    below = np.einsum("bjd,mj->bmd", delta, v)
    return np.asarray(below * np.sqrt(below.size) / np.sqrt((below**2).sum()))


def low_rr(h_v: Array, h_u: Array, readout: tuple[Array, Array]) -> Array:
    """LowRR, App. 37-42; rows are the units of h_v (bottom), columns those of h_u (top)."""
    bottom, top = h_v @ readout[0], h_u @ readout[1]
    batch, _, channels = bottom.shape
    return np.asarray(np.einsum("bip,bjp->ij", bottom, top) / (batch * channels))


def sym(m: Array) -> Array:
    """Return (S + S^T) / sqrt(2) without its diagonal, as in App. 51."""
    return np.asarray((m + m.T) / np.sqrt(2.0) * (1.0 - np.eye(len(m))))


def scaled_weights(w: Array) -> Array:
    """Return the weights scaled by receptive field, App. 43."""
    return np.asarray(w / np.sqrt((w**2).mean(axis=0) + 1e-6))


def hebb(v: Array, u: Array) -> Array:
    """Covariance of the activations below and above, App. 49."""
    return np.asarray((v - v.mean(axis=0)).T @ (u - u.mean(axis=0)) / len(v))


def weight_planes(
    w: Array, v: Array, u: Array, h_v: Array, h_u: Array, theta: PaperTheta
) -> dict[str, Array]:
    """Return the ten planes of one layer, App. 43-57, w being its W or its V."""
    w_hat, r = scaled_weights(w), theta.readouts
    sq = np.sqrt(1.0 + w_hat**2) - 1.0
    root_v, root_u = np.sqrt(w.shape[0]), np.sqrt(w.shape[1])
    return {
        "w_base": w_hat,
        "large_decay": w_hat**2 * np.sign(w_hat),
        "zero_order": low_rr(h_v, h_u, r["zero_order"]),
        "rbf": np.exp(-(w_hat**2)) * low_rr(h_v, h_u, r["rbf"]),
        "first_order": w_hat * low_rr(h_v, h_u, r["first_order"]),
        "hebb": hebb(v, u),
        "lin_lower_sym": sym(low_rr(h_v, h_v, r["lin_lower_sym"]) / root_v) @ w_hat,
        "sqr_lower_sym": sym(low_rr(h_v, h_v, r["sqr_lower_sym"]) / root_v) @ sq,
        "lin_upper_sym": w_hat @ sym(low_rr(h_u, h_u, r["lin_upper_sym"]) / root_u),
        "sqr_upper_sym": sq @ sym(low_rr(h_u, h_u, r["sqr_upper_sym"]) / root_u),
    }


def soft_normalise(m: Array) -> Array:
    """Divide by sqrt(1 + mean square), App. 59 and 62."""
    return np.asarray(m / np.sqrt(1.0 + (m**2).mean()))


def merge_planes(w: Array, planes: dict[str, Array], theta: PaperTheta) -> Array:
    """Return the final update of w, App. 59-62."""
    weighted = [theta.merge[name] * soft_normalise(plane) for name, plane in planes.items()]
    merged = np.asarray(sum(weighted) / len(weighted))
    w_hat = scaled_weights(w)
    return soft_normalise(merged - w_hat * max(0.0, float((merged * w_hat).mean())))


def bias_update(h: Array, theta: PaperTheta) -> Array:
    """Return the constrained update of b, App. 63-64."""
    base = (h @ theta.bias_readout).sum(axis=0)
    return np.asarray(base - max(0.0, float(base.mean())))


def inner_step(theta: PaperTheta, phi: Phi, x: Array, inner_rate: float = 3e-4) -> InnerStep:
    """One UnsupervisedUpdate, App. 1-6 and 29-36."""
    xs, zs = forward(phi, x)
    biases = [np.zeros(x.shape[1]), *phi.b]
    weights = [None, *phi.W, None]
    d, h = [top_d(xs[-1], theta)], list[Array]()
    for n in range(len(phi.W), -1, -1):
        h.insert(0, compute_h(theta, xs[n], zs[n], d[0], biases[n], (weights[n], weights[n + 1])))
        if n > 0:
            d.insert(0, propagate(error_signal(d[0], zs[n], h[0], theta), phi.V[n - 1]))
    local = list(zip(xs[:-1], xs[1:], h[:-1], h[1:], strict=True))
    planes = [weight_planes(w, *at, theta) for w, at in zip(phi.W, local, strict=True)]
    planes_v = [weight_planes(v, *at, theta) for v, at in zip(phi.V, local, strict=True)]
    delta_w = [merge_planes(w, p, theta) for w, p in zip(phi.W, planes, strict=True)]
    delta_v = [merge_planes(v, p, theta) for v, p in zip(phi.V, planes_v, strict=True)]
    delta_b = [bias_update(h_u, theta) for h_u in h[1:]]

    def apply(old: list[Array], delta: list[Array]) -> list[Array]:
        return [p * (1.0 - inner_rate) - c * inner_rate for p, c in zip(old, delta, strict=True)]

    after = Phi(apply(phi.W, delta_w), apply(phi.b, delta_b), apply(phi.V, delta_v))
    return InnerStep(xs, zs, d, h, planes, delta_w, delta_b, delta_v, after)


def targets(y: Array) -> Array:
    """Centre each target column and scale to mean squared norm 1, App. 21-22."""
    centred = y - y.mean(axis=0)
    return np.asarray(centred / np.sqrt((centred**2).sum(axis=1).mean()))


def meta_objective(
    phi: Phi,
    support_x: Array,
    support_y: Array,
    query_x: Array,
    query_y: Array,
    classes: int,
    ridge: float = 0.1,
) -> tuple[float, float, Array]:
    """Return loss, accuracy and coefficients (E + 1, K; intercept last), App. 18-28."""
    embedded = [forward(phi, x)[0][-1] for x in (support_x, query_x)]
    a, a_query = (np.concatenate([u, np.ones((len(u), 1))], axis=1) for u in embedded)
    c = np.linalg.inv(a.T @ a + ridge * np.eye(a.shape[1])) @ a.T @ targets(support_y)
    p = a_query @ c
    p_hat = p / np.sqrt((p**2).sum(axis=1, keepdims=True))
    loss = ((p_hat - targets(query_y)) ** 2).sum(axis=1).mean()
    hits = p[:, :classes].argmax(axis=1) == query_y[:, :classes].argmax(axis=1)
    return float(loss), float(hits.mean()), np.asarray(c)
