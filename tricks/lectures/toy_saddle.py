"""The lectures' worked example of a saddle, (1 - w1 w2)^2 at the origin."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tricks.curvature import classify, dense, error_surface, escape, hessian
from tricks.lectures.common import figures
from tricks.lectures.common.experiment import REFUTED, SUPPORTED, Claim, Data, Effort, Judgement

_TOLERANCE = 1e-6

CLAIM = Claim(
    title="(1 − w₁w₂)² has a saddle at the origin, and [1, 1], the eigenvector of −2, leads out of it",
    idea="A network of two weights, y = w₁w₂x, fits the single point (1, 1). At (0, 0) its gradient vanishes; the "
    "Hessian [[0, −2], [−2, 0]] has the eigenvalues 2 and −2, so the point is a saddle, and a step along the "
    "eigenvector of the negative one lowers the loss.",
    lecture="Critical points: the example with one data point. Some notes to it give [1, 1] to the eigenvalue 2.",
    rule=f"Supported if at (0, 0) the gradient is 0, the eigenvalues are −2 and 2, H[1, 1] = −2[1, 1], all to "
    f"{_TOLERANCE:g}, the verdict is saddle, and steps both ways along [1, 1] lower the loss; refuted otherwise.",
    source="Saddle escape: Royer et al., arXiv 1803.02924.",
)


def loss(w: jax.Array) -> jax.Array:
    """(1 - w1 w2)^2."""
    return jnp.square(1 - w[0] * w[1])


def run(effort: Effort, note: Callable[[str], None]) -> dict[str, Any]:
    """Takes the example apart. Nothing in it is random, and the quick run is the same."""
    del effort, note
    origin, key = jnp.zeros(2), jax.random.key(0)
    matrix = np.asarray(dense(hessian(loss, origin)), np.float64)
    found, evidence = escape(loss, origin, key=key)
    axes = jnp.eye(2)
    surface = error_surface(loss, origin, (axes[0], axes[1]), radius=2.0, points=81)
    return {
        "gradient": np.asarray(jax.grad(loss)(origin)).tolist(),
        "hessian": matrix.tolist(),
        "verdict": classify(loss, origin, key=key).verdict,
        "loss": float(loss(origin)),
        "loss_both_ways": [float(loss(jnp.array([step, step]))) for step in (-0.5, 0.5)],
        "loss_other_ways": [float(loss(jnp.array([step, -step]))) for step in (-0.5, 0.5)],
        "escaped_to": np.asarray(found).tolist(),
        "products": int(evidence.products),
        "side": np.asarray(surface.first).tolist(),
        "losses": np.asarray(surface.losses).tolist(),
    }


def judge(data: Data) -> Judgement:
    """Compares what was computed with what the lecture gives."""
    matrix = np.asarray(data["hessian"])
    values = np.linalg.eigvalsh(matrix)
    errors = (*data["gradient"], *(values - [-2, 2]), *(matrix @ [1, 1] + 2))
    holds = (
        max(map(abs, errors)) <= _TOLERANCE
        and data["verdict"] == "saddle"
        and all(there < data["loss"] for there in data["loss_both_ways"])
    )
    return Judgement(
        SUPPORTED if holds else REFUTED,
        float(values[0]),
        (float(values[0]), float(values[0])),
        "smallest eigenvalue of the Hessian at (0, 0)",
        f"The eigenvalues are {values[0]:g} and {values[1]:g}, and H[1, 1] = {(matrix @ [1, 1])[0]:g}[1, 1]. Half a "
        f"step away the loss, here {data['loss']:g}, is {max(data['loss_both_ways']):g} along [1, 1] and "
        f"{min(data['loss_other_ways']):g} along [1, −1]. "
        f"Saddle escape takes {data['products']} Hessian-vector products.",
        {"largest_error": max(map(abs, errors)), "escaped_to": data["escaped_to"]},
    )


def draw(data: Data) -> Any:
    """The error surface, with both eigenvectors and the way out."""
    figure, (left, right) = figures.new(2, gridspec_kw={"width_ratios": [1.1, 1]})
    side = data["side"]
    drawn = left.contourf(side, side, np.minimum(data["losses"], 9), levels=np.linspace(0, 9, 19), cmap="cividis")
    figure.colorbar(drawn, ax=left, label="loss (above 9 as 9)")
    x, y = data["escaped_to"]
    left.annotate(
        "", (x, y), (0, 0), arrowprops={"arrowstyle": "-|>", "color": "white", "linewidth": 3, "mutation_scale": 26}
    )
    left.plot(0, 0, "o", color="white", markersize=11)
    left.set(xlabel="w₁", ylabel="w₂", title="white: from the saddle along [1, 1]")
    steps = np.linspace(-1, 1, 81)
    for kind, (name, sign) in enumerate((("[1, 1], eigenvalue −2", 1), ("[1, −1], eigenvalue 2", -1))):
        right.plot(
            steps, np.square(1 - sign * steps**2 / 2), figures.LINES[kind], color=figures.COLOURS[kind], label=name
        )
    right.set(xlabel="step from the origin", ylabel="loss", title="along the two eigenvectors")
    right.legend()
    return figure
