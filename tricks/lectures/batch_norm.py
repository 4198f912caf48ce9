"""Batch normalization: is training faster, are larger rates possible, and is it for less internal covariate shift?"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from tricks import data as data_sets
from tricks.data import Split
from tricks.lectures.common import figures, starts, statistics
from tricks.lectures.common.experiment import INCONCLUSIVE, REFUTED, SUPPORTED, Claim, Data, Effort, Judgement
from tricks.lectures.common.lanes import side_by_side
from tricks.lectures.common.noisy_normalization import covariate_shift, forward, noisy_perceptron
from tricks.losses import Batch, cross_entropy, mean_loss
from tricks.models import multilayer_perceptron
from tricks.transforms import momentum

_WITHOUT, _WITH, _NOISY = "without", "with", "with, and noise after it"
_IMAGES, _SCALED = "images", "badly scaled images"
_SPREADS, _LEVELS = {_IMAGES: 0.0, _SCALED: 2.0}, {_IMAGES: 0.5, _SCALED: 1.0}
_HIDDEN, _BATCH, _UPDATES, _WINDOW, _EVERY = (64,) * 4, 64, 400, 20, 10
_LOWEST, _HIGHEST, _SPACING = -5.0, 1.5, 0.5
_SIZES = (1, 2, 4, 16, 64)
_FASTER, _LARGER, _KEPT = 1.25, 2.0, 0.5

CLAIM = Claim(
    title="Batch normalization makes training faster and allows larger learning rates",
    idea="Normalizing what enters an activation keeps its mean and its deviation where they are while the layers "
    "before it change, so that no layer has to follow the others: less internal covariate shift, and so larger rates "
    "and a faster training. At the test there may be no batch, and moving averages take the place of its statistics.",
    lecture="Batch normalization: its effect on training, its test, and the reason that is given for it.",
    rule=f"Networks of {len(_HIDDEN)} hidden layers by gradient descent with momentum, at rates in half decades, on "
    f"normalized images and on the same with each feature multiplied by 10 to a power between −2 and 2. The verdict is "
    f"on the effect. Supported if on both sets the network without takes more than {_FASTER:g} times the updates, each "
    f"at its best rate, until the mean training loss of {_WINDOW} is at most {_LEVELS[_IMAGES]:g} (badly scaled: "
    f"{_LEVELS[_SCALED]:g}; never counts as {_UPDATES}), and the largest rate whose last {_WINDOW} are as good is with "
    f"it more than {_LARGER:g} times as large; refuted if one of these is not so; a set on which neither arrives says "
    f"nothing. The reason has a verdict of its own, "
    f"on the badly scaled images: noise after normalization, which gives every unit another mean and deviation at "
    f"every update, must make the shift larger than it is without normalization. If then more than {_KEPT:g} of the "
    "gain is kept, in the logarithms of updates and of rates both, the reason is refuted; if in neither, supported; "
    "else, and where there is no gain in one of them, inconclusive.",
    source="Ioffe and Szegedy, arXiv 1502.03167; Santurkar, Tsipras, Ilyas and Madry, arXiv 1805.11604.",
)


def run(effort: Effort, note: Callable[[str], None]) -> dict[str, Any]:
    """Trains at every rate with, without, and with noise; measures the shift, and tests by batches of many sizes."""
    seeds = list(effort.pick(range(5), range(2)))
    updates, spacing = effort.pick(_UPDATES, 40), effort.pick(_SPACING, 2.0)
    rates = 10 ** np.arange(_LOWEST, _HIGHEST + _SPACING / 2, spacing)
    loaded = data_sets.load(effort.images)
    train = starts.flat(loaded.train, 20_000)
    test = starts.flat(loaded.test, min(1024, len(loaded.test.targets) // max(_SIZES) * max(_SIZES)))
    rows = starts.batches(seeds, len(train.targets), _BATCH, updates)
    powers = np.random.default_rng(0).uniform(-1, 1, (len(seeds), train.features.shape[1])).astype(np.float32)
    sizes = (len(_SPREADS), len(seeds), len(rates))
    of_sets, of_seeds, of_rates = np.indices(sizes, dtype=np.int32).reshape(3, -1)
    lanes = (np.array([*_SPREADS.values()], np.float32)[of_sets], of_seeds, rates.astype(np.float32)[of_rates])
    runs = {}
    for kind in (_WITHOUT, _WITH, _NOISY):
        note(kind)
        found = side_by_side(_lane(kind, seeds, rows, powers, train, test), *lanes, batched=False)
        found = [part.reshape(sizes + part.shape[1:]) for part in found]
        runs[kind] = {name: _summary(_LEVELS[name], *(part[i] for part in found)) for i, name in enumerate(_LEVELS)}
    return {
        "seeds": seeds,
        "examples": f"{len(train.targets)} of {effort.images}",
        "updates": updates,
        "levels": _LEVELS,
        "rates": rates.tolist(),
        "sizes": list(_SIZES),
        "runs": runs,
    }


def _lane(
    kind: str, seeds: list[int], rows: np.ndarray, powers: np.ndarray, train: Split, test: Split
) -> Callable[..., Any]:
    options: dict[str, Any] = {"input_size": train.features.shape[1], "output_size": 10, "hidden_sizes": _HIDDEN}
    make = noisy_perceptron if kind == _NOISY else multilayer_perceptron
    network = make(**options, batch_norm=kind != _WITHOUT)
    begun = starts.weights(network, seeds)
    loss_fn = jax.value_and_grad(mean_loss(network.apply, cross_entropy), has_aux=True)
    (x, y), (test_x, test_y) = (map(jnp.asarray, split) for split in (train, test))
    batches, powers_of = jnp.asarray(rows), jnp.asarray(powers)

    def lane(spread: jax.Array, seed: jax.Array, rate: jax.Array) -> Any:
        optimizer = momentum(rate, 0.9)
        params, state = jax.tree.map(lambda leaf: leaf[seed], begun)
        scales = 10 ** (spread * powers_of[seed])[None]
        key, probe = jax.random.key(seed), x[:256] * scales

        def entering(params: Any, number: jax.Array) -> list[jax.Array]:
            return forward(params, probe, jax.random.fold_in(key, number) if kind == _NOISY else None)[1]

        def step(carry: Any, of_step: Any) -> Any:
            params, state, averages = carry
            batch, number = of_step
            examples = Batch(x[batch] * scales, y[batch])
            (loss, (state, _)), gradient = loss_fn(params, state, examples, jax.random.fold_in(key, number))
            change, averages = optimizer.update(gradient, averages, params)
            moved = optax.apply_updates(params, change)
            shift = jax.lax.cond(
                number % _EVERY == 0,
                lambda: covariate_shift(entering(params, number), entering(moved, number + 1)),
                lambda: jnp.zeros([]),
            )
            return (moved, state, averages), (loss, shift)

        def accuracy(size: int | None) -> jax.Array:
            """By batches of a size; of None in evaluation mode."""

            def outputs(part: jax.Array) -> jax.Array:
                return network.apply(params, state, part, batch_statistics=size is not None)[0]

            parts = (test_x * scales).reshape(-1, size or len(test_y), test_x.shape[1])
            return jnp.mean(jnp.argmax(jax.vmap(outputs)(parts), -1).ravel() == test_y)

        numbers = jnp.arange(batches.shape[1])
        carry = (params, state, optimizer.init(params))
        (params, state, _), (losses, shifts) = jax.lax.scan(step, carry, (batches[seed], numbers))
        tested = [accuracy(size) for size in (None, *_SIZES)] if kind == _WITH else []
        return losses, jnp.sum(shifts) / jnp.sum(numbers % _EVERY == 0), jnp.array(tested)

    return lane


def _summary(level: float, losses: np.ndarray, shifts: np.ndarray, tested: np.ndarray) -> dict[str, Any]:
    """Of one set: (seeds, rates) and what follows; `tested` is of the best rate, in evaluation mode first."""
    first = [[starts.updates_to(run, level, _WINDOW) for run in of] for of in losses]
    last = _finite(losses[..., -_WINDOW:].mean(-1))
    best = [_best(*pair) for pair in zip(first, last, strict=True)]
    return {
        "first": first,
        "last": last,
        "shift": _finite(shifts),
        "best": best,
        "tested": [tested[seed, rate].tolist() for seed, rate in enumerate(best)],
    }


def _finite(values: np.ndarray) -> list[list[float | None]]:
    return [[float(value) if np.isfinite(value) else None for value in row] for row in values]


def _best(first: list[int | None], last: list[float | None]) -> int:
    """The place of the rate that is first at the level, or where none is, of the least loss at the end."""
    chosen = first if any(value is not None for value in first) else last
    return int(np.argmin([np.inf if value is None else value for value in chosen]))


def _judge_updates(data: Data, name: str, kind: str) -> list[float]:
    of = data["runs"][kind][name]
    return [first[best] or data["updates"] for first, best in zip(of["first"], of["best"], strict=True)]


def _judge_largest(data: Data, name: str, kind: str) -> list[float]:
    """Rates; where none is good, the best."""
    of, level = data["runs"][kind][name], data["levels"][name]
    good = [
        [rate for rate, loss in zip(data["rates"], last, strict=True) if loss is not None and loss <= level]
        for last in of["last"]
    ]
    return [max(rates, default=data["rates"][best]) for rates, best in zip(good, of["best"], strict=True)]


def _judge_shift(data: Data, name: str, kind: str) -> list[float]:
    """Of one update, at the best rate."""
    of = data["runs"][kind][name]
    rows = zip(of["shift"], of["best"], strict=True)
    return [float("nan") if shift[best] is None else shift[best] for shift, best in rows]


def _judge_kept(without: list[float], normalized: list[float], noisy: list[float]) -> tuple[float | None, str]:
    """The share of the gain in logarithms that is kept with noise, and whether it is more than a half."""
    gain, rest = (np.log(without) - np.log(other) for other in (normalized, noisy))
    if statistics.decide(statistics.mean(gain.tolist()), 0.0) != SUPPORTED:
        return None, INCONCLUSIVE
    return float(rest.mean() / gain.mean()), statistics.decide(statistics.mean((rest - _KEPT * gain).tolist()), 0.0)


def _judge_reason(data: Data, name: str) -> dict[str, Any]:
    kinds = (_WITHOUT, _WITH, _NOISY)
    updates = [_judge_updates(data, name, kind) for kind in kinds]
    inverse_rates = [[1 / rate for rate in _judge_largest(data, name, kind)] for kind in kinds]
    shifts = [_judge_shift(data, name, kind) for kind in kinds]
    of_updates, of_rates = _judge_kept(*updates), _judge_kept(*inverse_rates)
    kept = {of_updates[1], of_rates[1]}
    is_larger = statistics.decide(statistics.ratio(shifts[2], shifts[0]), 1.0) == SUPPORTED
    verdict = INCONCLUSIVE
    if is_larger and len(kept) == 1:
        verdict = {SUPPORTED: REFUTED, REFUTED: SUPPORTED, INCONCLUSIVE: INCONCLUSIVE}[kept.pop()]
    return {
        "verdict": verdict,
        "kept_of_updates": of_updates[0],
        "kept_of_rates": of_rates[0],
        "shift": dict(zip(kinds, (float(np.mean(of)) for of in shifts), strict=True)),
    }


def _judge_words(estimate: statistics.Estimate) -> str:
    return f"{estimate.value:.3g} ({estimate.low:.3g} to {estimate.high:.3g})"


def _judge_kept_words(reason: Data) -> str:
    shares = (reason["kept_of_updates"], reason["kept_of_rates"])
    updates, rates = ("none to keep" if share is None else f"{share:.0%}" for share in shares)
    return f"{updates} of the gain in updates and {rates} of that in rates"


def _judge_nothing(data: Data, name: str) -> bool:
    firsts = [data["runs"][kind][name]["first"] for kind in (_WITHOUT, _WITH)]
    return all(first is None for rows in firsts for row in rows for first in row)


def judge(data: Data) -> Judgement:
    """Compares updates and largest rates with and without on both sets; and judges the reason."""
    faster, larger = {}, {}
    for name in _LEVELS:
        faster[name] = statistics.ratio(*(_judge_updates(data, name, kind) for kind in (_WITHOUT, _WITH)))
        larger[name] = statistics.ratio(*(_judge_largest(data, name, kind) for kind in (_WITH, _WITHOUT)))
    reasons = {name: _judge_reason(data, name) for name in _LEVELS}
    reason = reasons[_SCALED]
    verdicts: list[str] = []
    for name in _LEVELS:
        both = statistics.decide(faster[name], _FASTER), statistics.decide(larger[name], _LARGER)
        verdicts += [INCONCLUSIVE] if _judge_nothing(data, name) else both
    tested = np.mean(data["runs"][_WITH][_IMAGES]["tested"], 0)
    effects = "; ".join(
        f"on {name} the network without takes {_judge_words(faster[name])} times the updates, and with it rates up to "
        f"{_judge_words(larger[name])} times as large work"
        for name in _LEVELS
    )
    shift = reason["shift"]
    return Judgement(
        statistics.all_of(verdicts),
        faster[_SCALED].value,
        faster[_SCALED].interval,
        f"updates to the level on {_SCALED} at the best rate, without over with",
        f"{effects[0].upper()}{effects[1:]}. That the reason is less covariate shift is {reason['verdict']}: on "
        f"{_SCALED} the shift of an update is {shift[_WITHOUT]:.2g} without, {shift[_WITH]:.2g} with, and "
        f"{shift[_NOISY]:.2g} with noise, which keeps {_judge_kept_words(reason)}; on {_IMAGES} "
        f"{_judge_kept_words(reasons[_IMAGES])}. Tested by the statistics of batches of 1 it gets {tested[1]:.0%} "
        f"right, by moving averages {tested[0]:.0%}.",
        {
            "faster": {name: list(ratio) for name, ratio in faster.items()},
            "larger_rates": {name: list(ratio) for name, ratio in larger.items()},
            "reason": reasons,
            "test_accuracy": dict(zip(["moving averages", *map(str, data["sizes"])], tested.tolist(), strict=True)),
        },
    )


def draw(data: Data) -> Any:
    """Updates against the rate on both sets, the shift, and the test by small batches."""
    figure, axes = figures.new(2, 2, width=13, height=9)
    for axis, name in zip(axes, _LEVELS, strict=False):
        _draw_rates(axis, data, name)
    axes[0].legend(fontsize=11, loc="lower left")
    shifts, tests = axes[2], axes[3]
    for place, kind in enumerate((_WITHOUT, _WITH, _NOISY)):
        figures.seeds(shifts, place, _judge_shift(data, _SCALED, kind), place)
    shifts.set_xticks(range(3), ["without", "with", "with, and noise"])
    shifts.set(yscale="log", xlabel="batch normalization", ylabel="shift of one update (deviations)")
    shifts.set_title(f"covariate shift, {_SCALED}, best rates")
    tested = np.multiply(data["runs"][_WITH][_IMAGES]["tested"], 100)
    figures.band(tests, data["sizes"], tested[:, 1:].tolist(), 1, "statistics of the test batch")
    figures.band(tests, data["sizes"], np.repeat(tested[:, :1], len(data["sizes"]), 1).tolist(), 4, "moving averages")
    tests.set(xscale="log", xlabel="examples in a test batch", ylabel="test accuracy (%)", ylim=(0, 102))
    tests.set_xticks(data["sizes"], [f"{size}" for size in data["sizes"]])
    tests.set_xticks([], minor=True)
    tests.set_title("the same network, tested in two modes")
    tests.legend(fontsize=11, loc="lower right")
    return figure


def _draw_rates(axis: Any, data: Data, name: str) -> None:
    top = 2 * data["updates"]
    for kind, label in enumerate((_WITHOUT, _WITH, _NOISY)):
        rows = data["runs"][label][name]["first"]
        values = [[top if first is None else first for first in row] for row in rows]
        figures.band(axis, data["rates"], values, kind, label)
    axis.axhspan(0.8 * top, 1.25 * top, color="grey", alpha=0.15)
    axis.set(xscale="log", yscale="log", xlabel="learning rate", ylabel="updates to the level", ylim=(10, 1.25 * top))
    ticks = [tick for tick in (10, 20, 50, 100, 200, 500) if tick < 0.8 * top]
    axis.set_yticks([*ticks, top], [*map(str, ticks), "never"])
    axis.set_yticks([], minor=True)
    axis.set_title(f"{name}: training loss ≤ {data['levels'][name]:g}")
