"""Two classes: softmax and sigmoid are the same model, and cross-entropy is maximum likelihood."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from tricks import data as data_sets
from tricks.lectures.common import figures
from tricks.lectures.common.experiment import REFUTED, SUPPORTED, Claim, Data, Effort, Judgement
from tricks.losses import cross_entropy, sigmoid
from tricks.transforms import adam, momentum

_TOLERANCE = 1e-12
_OPTIMIZERS: dict[str, Callable[[float], Any]] = {"momentum": lambda rate: momentum(rate / 10, 0.9), "Adam": adam}
_RATE, _HIDDEN = 0.05, 8

CLAIM = Claim(
    title="With two classes softmax and sigmoid are the same model, and cross-entropy is maximum likelihood",
    idea="softmax([y₁, y₂])₂ = 1 / (1 + exp(y₁ − y₂)) = σ(y₂ − y₁): two outputs say no more than their difference, "
    "which one output gives as well. And −Σ ln p(right class) is −ln of the probability of all the examples, so that "
    "the least cross-entropy is the greatest likelihood.",
    lecture="Classification: softmax, its remark on two classes, and the one on cross-entropy and likelihood.",
    rule=f"In float64, over random logits and on real examples. Supported if all of these differ by at most "
    f"{_TOLERANCE:g}: the probabilities; the losses' gradients; cross-entropy and −ln of the product of the "
    "probabilities; its gradient and −∇(likelihood)/likelihood; and the probabilities of networks trained by either, "
    "where the sigmoid takes the difference of the same two outputs, or has one output whose weights are that "
    "difference and take twice the rate. Refuted otherwise.",
)


def of_logits(count: int) -> dict[str, float]:
    """The largest errors of the identities over random pairs of logits, relative for what has no bound."""
    generator = np.random.default_rng(0)
    logits = jnp.asarray(generator.uniform(-30, 30, (count, 2)))
    targets = jnp.asarray(generator.integers(0, 2, count))
    difference = logits[:, 1:] - logits[:, :1]

    def softmax_loss(pair: jax.Array, target: jax.Array) -> jax.Array:
        return cross_entropy(pair[None], target[None])["loss"][0]

    def sigmoid_loss(one: jax.Array, target: jax.Array) -> jax.Array:
        return sigmoid(one[None], target[None])["loss"][0]

    loss, by_pair = jax.vmap(jax.value_and_grad(softmax_loss))(logits, targets)
    other, by_one = jax.vmap(jax.value_and_grad(sigmoid_loss))(difference, targets)
    return {
        "probability": _largest(jax.nn.softmax(logits)[:, 1:] - jax.nn.sigmoid(difference)),
        "loss": _largest((loss - other) / jnp.maximum(loss, 1)),
        "gradient by the logits": _largest(by_pair - jnp.concatenate([-by_one, by_one], 1)),
    }


def of_likelihood(features: jax.Array, targets: jax.Array, w: jax.Array) -> dict[str, float]:
    """The same of the likelihood of a linear model, multiplied out; it is of few examples, lest it be 0."""

    def likelihood(w: jax.Array) -> jax.Array:
        probabilities = jax.nn.sigmoid(features @ w)
        return jnp.prod(jnp.where(targets == 1, probabilities, 1 - probabilities))

    def total(w: jax.Array) -> jax.Array:
        return jnp.sum(sigmoid((features @ w)[:, None], targets)["loss"])

    value, gradient = jax.value_and_grad(likelihood)(w)
    return {
        "cross-entropy and −ln likelihood": _largest((total(w) + jnp.log(value)) / total(w)),
        "gradient of both": _largest((jax.grad(total)(w) + gradient / value) / jnp.linalg.norm(jax.grad(total)(w))),
    }


def _largest(errors: jax.Array) -> float:
    return float(jnp.max(jnp.abs(errors)))


def trained(loss_fn: Callable[[Any], jax.Array], start: Any, optimizer: Any, updates: int) -> tuple[Any, jax.Array]:
    """The last weights, and the loss before each update with all examples."""

    def step(carry: Any, _: None) -> tuple[Any, jax.Array]:
        params, state = carry
        loss, gradient = jax.value_and_grad(loss_fn)(params)
        change, state = optimizer.update(gradient, state, params)
        return (optax.apply_updates(params, change), state), loss

    (params, _), losses = jax.lax.scan(step, (start, optimizer.init(start)), None, length=updates)
    return params, losses


def run(effort: Effort, note: Callable[[str], None]) -> dict[str, Any]:
    """Measures the identities, and trains the same model in its different forms."""
    del note
    updates, seeds = effort.pick(300, 50), effort.pick(range(5), range(2))
    split = data_sets.load("breast_cancer").train
    with jax.enable_x64(True):
        x, y = jnp.asarray(split.features, jnp.float64), jnp.asarray(split.targets)
        found: dict[str, Any] = {
            "seeds": list(seeds),
            "examples": "breast_cancer",
            "errors": {**of_logits(100_000), **of_likelihood(x[:20], y[:20], 0.1 * _normal(0, (x.shape[1],)))},
            "curves": {},
        }
        for name, make in _OPTIMIZERS.items():
            both = jax.jit(lambda seed, make=make: _compared(seed, x, y, make, updates))
            runs = [jax.tree.map(lambda leaf: np.asarray(leaf).tolist(), both(seed)) for seed in seeds]
            for form in runs[0][0]:
                found["errors"][f"{form}, {name}"] = max(errors[form] for errors, _ in runs)
            found["curves"][name] = {form: [curves[form] for _, curves in runs] for form in runs[0][1]}
    return found


def _normal(seed: Any, shape: tuple[int, ...]) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape, jnp.float64)


def _compared(seed: Any, x: jax.Array, y: jax.Array, make: Callable[[float], Any], updates: int) -> Any:
    first = _normal(seed, (x.shape[1], _HIDDEN)) / x.shape[1] ** 0.5
    last = _normal(seed + 1000, (_HIDDEN, 2)) / _HIDDEN**0.5

    def two(params: Any) -> jax.Array:
        return jnp.tanh(x @ params[0]) @ params[1]

    def difference(params: Any) -> jax.Array:
        outputs = two(params)
        return outputs[:, 1:] - outputs[:, :1]

    def by_softmax(params: Any) -> jax.Array:
        return jnp.mean(cross_entropy(two(params), y)["loss"])

    def by_sigmoid(outputs: Callable[[Any], jax.Array]) -> Callable[[Any], jax.Array]:
        return lambda params: jnp.mean(sigmoid(outputs(params), y)["loss"])

    twice = optax.multi_transform({"once": make(_RATE), "twice": make(2 * _RATE)}, ("once", "twice"))
    one = (first, last[:, 1:] - last[:, :1])
    softmax, of_softmax = trained(by_softmax, (first, last), make(_RATE), updates)
    same, _ = trained(by_sigmoid(difference), (first, last), make(_RATE), updates)
    doubled, of_doubled = trained(by_sigmoid(two), one, twice, updates)
    _, of_single = trained(by_sigmoid(two), one, make(_RATE), updates)
    right = jax.nn.softmax(two(softmax))[:, 1:]
    errors = {
        "trained, difference of two outputs": jnp.max(jnp.abs(right - jax.nn.sigmoid(difference(same)))),
        "trained, one output at twice the rate": jnp.max(jnp.abs(right - jax.nn.sigmoid(two(doubled)))),
    }
    curves = {"softmax": of_softmax, "sigmoid, twice the rate": of_doubled, "sigmoid, the same rate": of_single}
    return errors, curves


def judge(data: Data) -> Judgement:
    """Looks for the largest error of all identities."""
    worst = max(data["errors"], key=lambda name: data["errors"][name])
    error = data["errors"][worst]
    pairs = [(of["softmax"], of["sigmoid, the same rate"]) for of in data["curves"].values()]
    apart = max(float(np.max(np.abs(np.subtract(*pair)))) for pair in pairs)
    holds = error <= _TOLERANCE
    return Judgement(
        SUPPORTED if holds else REFUTED,
        error,
        (min(data["errors"].values()), error),
        "largest error of the identities",
        f"{'All' if holds else 'Not all'} of the {len(data['errors'])} identities hold to {_TOLERANCE:g}; the largest "
        f"error, {error:.1g}, is that of: {worst}. As a training they are the same only at the fitting rates: with one "
        f"output at the same rate the training loss is up to {apart:.2g} away, because the difference of two outputs "
        "moves twice as far.",
        dict(data["errors"]),
    )


def draw(data: Data) -> Any:
    """The errors beside the bound, and the curves of the same model in three forms."""
    figure, (left, right) = figures.new(2, width=14, gridspec_kw={"width_ratios": [1, 1.1]})
    names = list(data["errors"])[::-1]
    left.plot([max(data["errors"][name], 1e-18) for name in names], range(len(names)), "o", color=figures.COLOURS[0])
    left.axvline(_TOLERANCE, color=figures.COLOURS[1], linestyle="--")
    left.set_yticks(range(len(names)), names, fontsize=11)
    left.set(xscale="log", xlabel="largest error (1e-18: none)", xlim=(5e-19, None))
    left.set_title(f"identities in float64; dashed: {_TOLERANCE:g}, what is allowed")
    for kind, form in enumerate(("softmax", "sigmoid, twice the rate", "sigmoid, the same rate")):
        curves = data["curves"]["momentum"][form]
        figures.band(right, range(len(curves[0])), curves, kind, form)
    right.set(yscale="log", xlabel="updates, all examples each", ylabel="training loss", title="momentum, same start")
    right.legend()
    return figure
