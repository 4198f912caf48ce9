"""The movement of momentum is the weighted sum of all past gradients: an identity, checked in real training."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from tricks import losses
from tricks.config import Config
from tricks.lectures.common import figures
from tricks.lectures.common.descent import Way, follow
from tricks.lectures.common.experiment import REFUTED, SUPPORTED, Claim, Data, Effort, Judgement
from tricks.losses import Batch
from tricks.schedules import warmup_decay
from tricks.training import assembly
from tricks.training.setup import set_up
from tricks.training.sweeps.settings import with_setting
from tricks.transforms import momentum

_TOLERANCE = 1e-12
_DECAYS = (0.0, 0.5, 0.9, 0.99)
_SHAPES = ("constant", "inverse_sqrt")
_RATE = 0.02
_EXAMPLES, _BATCH = 1000, 32
_SOLVED = 40

CLAIM = Claim(
    title="The movement of momentum is the weighted sum of all past gradients",
    idea="With m⁰ = 0 and mᵗ⁺¹ = λmᵗ − ηgᵗ the second movement is −ληg⁰ − ηg¹, and so on: mᵗ = −η Σ λᵗ⁻¹⁻ⁱ gⁱ over "
    "all i < t. Every gradient so far takes part, the older the less. Where the rate falls, each gradient has the one "
    "of its own update.",
    lecture="Momentum: the movement written out for the first steps.",
    rule=f"A network is trained in float64 on images, in batches, with λ = {', '.join(map(str, _DECAYS))}, with a "
    f"constant and with a falling rate. Supported if at every update the movement is the sum, written out from the "
    f"recorded gradients, to {_TOLERANCE:g} of its length; refuted otherwise.",
    source="Polyak 1964.",
)


def weighted_sums(gradients: np.ndarray, rates: np.ndarray, decay: float) -> np.ndarray:
    """The sum after each update, written out: row t - 1 is -sum of rate_i decay^(t - 1 - i) g_i over i < t.

    Args:
        gradients: (updates, parameters).
        rates: (updates,).
        decay: lambda.

    Returns:
        (updates, parameters).
    """
    age = np.arange(len(rates))[:, None] - np.arange(len(rates))
    weights = np.where(age >= 0, float(decay) ** np.maximum(age, 0), 0.0) * rates
    return np.asarray(-weights @ gradients)


def run(effort: Effort, note: Callable[[str], None]) -> dict[str, Any]:
    """Trains with every decay and rate, and compares each movement with the sum."""
    updates, seeds = effort.pick(200, 60), effort.pick(range(3), range(100, 102))
    config = with_setting(
        Config(), {"data.name": effort.images, "model.hidden_sizes": (16,), "model.batch_norm": False}
    )
    errors: list[list[list[float]]] = []
    found: list[list[float]] = []
    with jax.enable_x64(True):
        train = _trained(config, updates)
        for seed in seeds:
            note(f"seed {seed}")
            errors.append([])
            for shape in _SHAPES:
                rates = np.asarray(warmup_decay(_RATE, 0, updates, shape=shape)(np.arange(updates)))
                for decay in _DECAYS:
                    way = jax.tree.map(np.asarray, train(seed, decay, rates))
                    gap = way.steps - weighted_sums(way.gradients, rates, decay)
                    errors[-1].append((np.linalg.norm(gap, axis=1) / np.linalg.norm(way.steps, axis=1)).tolist())
                    if seed == seeds[0] and shape == "constant":
                        solved = np.linalg.lstsq(way.gradients[:_SOLVED].T, way.steps[_SOLVED - 1], rcond=None)[0]
                        found.append((-solved[::-1] / _RATE).tolist())
    return {
        "seeds": list(seeds),
        "examples": effort.images,
        "settings": [[shape, decay] for shape in _SHAPES for decay in _DECAYS],
        "errors": errors,
        "weights": found,
    }


def _trained(config: Config, updates: int) -> Callable[..., Way]:
    setup = set_up(config)
    network = assembly.make_network(setup.static)
    loss = losses.mean_loss(network.apply, setup.static.loss)
    split = setup.data.train
    features, targets = jnp.asarray(split.features[:_EXAMPLES], jnp.float64), jnp.asarray(split.targets[:_EXAMPLES])

    @jax.jit
    def train(seed: Any, decay: Any, rates: Any) -> Way:
        key = jax.random.key(seed)
        params, model_state = network.init(key)
        start, restore = ravel_pytree(jax.tree.map(lambda leaf: leaf.astype(jnp.float64), params))

        def gradient(point: jax.Array, number: jax.Array) -> jax.Array:
            chosen = jax.random.randint(jax.random.fold_in(key, number), (_BATCH,), 0, len(targets))
            batch = Batch(features[chosen], targets[chosen])
            return jax.grad(lambda p: loss(restore(p), model_state, batch, None)[0])(point)

        return follow(gradient, momentum(lambda number: rates[number], decay), start, updates)

    return train


def judge(data: Data) -> Judgement:
    """The largest error of all."""
    errors = np.asarray(data["errors"])
    largest = float(errors.max())
    holds = largest <= _TOLERANCE
    by_setting = {f"{shape}, λ = {decay:g}": float(e.max()) for (shape, decay), e in _judge_settings(data)}
    return Judgement(
        SUPPORTED if holds else REFUTED,
        largest,
        (float(errors.min()), largest),
        "largest error of the sum, as a share of the movement (beside it all that was seen)",
        f"Over {errors.shape[2]} updates, {errors.shape[1]} settings and {errors.shape[0]} seeds the movement "
        f"{'is' if holds else 'is not'} the weighted sum of the gradients: they differ by at most {largest:.1e} of it"
        f"{', also where the rate falls, with each gradient under the rate of its own update' if holds else ''}.",
        by_setting,
    )


def _judge_settings(data: Data) -> list[tuple[tuple[str, float], np.ndarray]]:
    return [((shape, decay), np.asarray(data["errors"])[:, i]) for i, (shape, decay) in enumerate(data["settings"])]


def draw(data: Data) -> Any:
    """The weights, as they follow from the movement alone, and the errors of the sum."""
    figure, (left, right) = figures.new(2, width=13)
    decays = [decay for shape, decay in data["settings"] if shape == "constant"]
    for kind, (decay, weights) in enumerate(zip(decays, data["weights"], strict=True)):
        ages = np.arange(len(weights))
        seen = np.asarray(weights) > 1e-6
        line = np.where(float(decay) ** ages > 1e-6, float(decay) ** ages, np.nan)
        left.plot(ages, line, figures.LINES[kind], color=figures.COLOURS[kind], linewidth=1.6)
        left.plot(
            ages[seen],
            np.asarray(weights)[seen],
            figures.MARKERS[kind],
            color=figures.COLOURS[kind],
            markerfacecolor="none",
            label=f"λ = {decay:g}",
        )
    left.set(
        yscale="log",
        xlabel="age of the gradient, in updates",
        ylabel="its weight in the movement, over η",
        title="points: solved from one run; lines: λ to the power of the age",
    )
    left.legend(loc="lower right")
    for kind, ((shape, decay), errors) in enumerate(_judge_settings(data)[: len(decays)]):
        del shape
        # Zero has no place on this axis.
        figures.band(right, range(1, errors.shape[1] + 1), np.maximum(errors, 1e-18).tolist(), kind, f"λ = {decay:g}")
    right.axhline(_TOLERANCE, color="black", linestyle=":", linewidth=1.6)
    right.text(1, _TOLERANCE * 1.4, "the rule's tolerance", fontsize=13)
    right.set(
        yscale="log",
        ylim=(3e-19, 1e-11),
        xlabel="update",
        ylabel="error of the sum, share of the movement (0 as 1e-18)",
        title="median and range of the seeds, float64, η constant",
    )
    right.legend(loc="upper right", bbox_to_anchor=(1, 0.8))
    return figure
