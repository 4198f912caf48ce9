"""Adam with and without warm-up: how unsure its sigma is at first, and how large a rate it bears."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from scipy import special

from tricks import losses
from tricks.config import Config
from tricks.lectures.common import figures, training
from tricks.lectures.common.experiment import INCONCLUSIVE, REFUTED, SUPPORTED, Claim, Data, Effort, Judgement
from tricks.lectures.common.results import shown
from tricks.lectures.common.statistics import all_of, decide, ratio
from tricks.losses import Batch
from tricks.training import assembly
from tricks.training.setup import set_up
from tricks.training.sweeps.settings import with_setting
from tricks.transforms import scale_by_adam

# Closer where it is decided, by a pilot on other seeds.
_RATES = (0.001, 0.0032, *(10 ** np.linspace(-2.25, -1, 11)).round(6).tolist())
_WARM = 0.1
_NEAR = 0.05
_UPDATES, _STREAMS, _SAMPLED = 100, 24, 2000
_FALLS = 2.0
_LEARNED = 0.5

CLAIM = Claim(
    title="Adam's σ is unsure at first, and a rate that rises slowly lets it learn with larger rates",
    idea="σ is an average of squared gradients, and of a few of them it says little: where it happens to be small the "
    "step is too large. A rate that is small at first gives it time, at little risk, to collect what it averages.",
    lecture="Learning-rate scheduling: warm-up, and the large variance of σ in the beginning.",
    rule=f"A network of eight hidden layers on images. Variance: at the initial weights, over {_STREAMS} orders of the "
    f"batches, the standard deviation of ln σ of a weight (median over weights) at update 1 is more than {_FALLS:g} "
    f"times that at update {_UPDATES}. Rates: {len(_RATES)} from 1e-3 to 0.1, which fall to 0 by a cosine, with or "
    f"without a linear rise over the first {_WARM:.0%} of the updates; usable is one whose last validation accuracy is "
    f"at most {100 * _NEAR:g} points below the best of its seed; the largest usable rate with warm-up is above the one "
    "without. Supported if both hold with all of the interval (geometric means over seeds), refuted if one does not; a "
    f"best accuracy below {_LEARNED:.0%} says nothing of the rates.",
    source="Liu et al., arXiv 1908.03265; Goyal et al., arXiv 1706.02677.",
)


def run(effort: Effort, note: Callable[[str], None]) -> dict[str, Any]:
    """Measures sigma at the initial weights, then trains with every rate, both ways."""
    seeds, epochs = effort.pick(range(8), range(200, 202)), effort.pick(4, 2)
    base = with_setting(
        Config(),
        {
            "data.name": effort.images,
            "data.batch_size": 64,
            "data.train_fraction": effort.of_images(0.2, 1.0),
            "model.hidden_sizes": (64,) * 8,
            "model.batch_norm": False,
            "schedule.shape": "cosine",
            "train.epochs": epochs,
        },
    )
    note("σ at the initial weights")
    spread = _spreads(base, seeds, effort.pick(_STREAMS, 6), _UPDATES)
    updates = set_up(base).rules.total_steps
    rates = _RATES[:: effort.pick(1, 4)]
    warm = [0, round(_WARM * updates)]
    configs = [
        config
        for steps in warm
        for rate in rates
        for config in training.configured(
            base, {"optimizer.learning_rate": rate, "schedule.warmup_steps": steps}, seeds
        )
    ]
    runs = training.train_all(configs, note)
    shape = (len(warm), len(rates), len(seeds))
    accuracies = np.array([_last(one, "validation_accuracy", 0.0) for one in runs]).reshape(shape)
    train_losses = np.array([_last(one, "train_loss", float("inf")) for one in runs]).reshape(shape)
    return {
        "seeds": list(seeds),
        "examples": effort.images,
        "updates": updates,
        "warmup_updates": warm[1],
        "rates": list(rates),
        "spread": spread,
        # (with warm-up, rates, seeds)
        "accuracy": accuracies.tolist(),
        "train_loss": train_losses.tolist(),
    }


def _last(summary: dict[str, Any], name: str, otherwise: float) -> float:
    value = (summary.get(name) or [None])[-1]
    return otherwise if value is None else float(value)


def _spreads(config: Config, seeds: Any, streams: int, updates: int) -> list[list[float]]:
    """Of ln sigma over orders of the batches, at each update; a row for each seed."""
    setup = set_up(config)
    network = assembly.make_network(setup.static)
    loss = losses.mean_loss(network.apply, setup.static.loss)
    split = setup.data.train
    features, targets = jnp.asarray(split.features), jnp.asarray(split.targets)
    adam = scale_by_adam()

    def squares(params: Any, model_state: Any, key: jax.Array, sampled: jax.Array) -> jax.Array:
        def update(state: Any, number: jax.Array) -> tuple[Any, jax.Array]:
            chosen = jax.random.randint(jax.random.fold_in(key, number), (config.data.batch_size,), 0, len(targets))
            gradient = jax.grad(lambda p: loss(p, model_state, Batch(features[chosen], targets[chosen]), None)[0])(
                params
            )
            _, state = adam.update(gradient, state, params)
            return state, ravel_pytree(state.v)[0][sampled]

        return jax.lax.scan(update, adam.init(params), jnp.arange(updates))[1]

    @jax.jit
    def measure(seed: jax.Array) -> jax.Array:
        of_weights, of_sample, of_streams = jax.random.split(jax.random.key(seed), 3)
        params, model_state = network.init(of_weights)
        count = sum(leaf.size for leaf in jax.tree.leaves(params))
        sampled = jax.random.randint(of_sample, (_SAMPLED,), 0, count)
        keys = jax.random.split(of_streams, streams)
        return jax.lax.map(lambda key: squares(params, model_state, key, sampled), keys)

    return [spread(np.asarray(measure(seed), np.float64)) for seed in seeds]


def spread(squares: np.ndarray) -> list[float]:
    """How far ln sigma differs between orders of the batches: its standard deviation, the median over weights.

    Args:
        squares: (orders, updates, weights), averages of squared gradients; of weights that have a gradient from the
            first update on in every order, the others are left out.

    Returns:
        (updates,). A factor that all orders have in common, such as the correction of the start at 0, does not count.
    """
    alive = np.all(squares[:, 0] > 0, axis=0)
    logarithms = np.log(squares[:, :, alive]) / 2
    return list(np.median(np.std(logarithms, axis=0, ddof=1), axis=1))


def largest_usable(accuracy: Any, rates: Any) -> np.ndarray:
    """The largest rate that is usable, with each setting and seed.

    Args:
        accuracy: (settings, rates, seeds), of the last validation.
        rates: (rates,), rising.

    Returns:
        (settings, seeds). The smallest rate where none is usable, so that there is one.
    """
    array = np.asarray(accuracy, float)
    usable = array >= array.max((0, 1)) - _NEAR
    last = len(rates) - 1 - np.argmax(usable[:, ::-1], axis=1)
    return np.asarray(rates)[np.where(usable.any(1), last, 0)]


def judge(data: Data) -> Judgement:
    """The variance early on, and the largest usable rate."""
    spreads = np.asarray(data["spread"])
    falls = ratio(spreads[:, 0].tolist(), spreads[:, -1].tolist())
    without, with_warmup = largest_usable(data["accuracy"], data["rates"])
    found = ratio(with_warmup.tolist(), without.tolist())
    # Where it matters most: at the rate that is just usable without.
    at = [data["rates"].index(rate) for rate in without]
    losses_there = np.array([[row[i][seed] for seed, i in enumerate(at)] for row in data["train_loss"]], float)
    there = ratio(losses_there[1].tolist(), losses_there[0].tolist())
    has_learned = bool(np.min(np.max(data["accuracy"], axis=(0, 1))) >= _LEARNED)
    of_rates = decide(found, 1.0) if has_learned else INCONCLUSIVE
    word = {SUPPORTED: "allows a larger rate", REFUTED: "allows no larger rate"}
    seen = word.get(of_rates, "makes no clear difference")
    return Judgement(
        all_of([decide(falls, _FALLS), of_rates]),
        found.value,
        found.interval,
        "largest usable rate of Adam with warm-up, over the one without",
        f"The standard deviation of ln σ falls by the factor {shown(falls.value)} from update 1 to "
        f"{spreads.shape[1]}{', so σ is unsure at first' if falls.low > _FALLS else ''}. Warm-up over "
        f"{data['warmup_updates']} of {data['updates']} updates {seen}: the largest usable rate is "
        f"{shown(found.value)} times the one without ({_judge_typical(with_warmup)} and {_judge_typical(without)}), at "
        f"most {shown(found.high)} times. At the largest rate that is usable without it the training loss with it is "
        f"{shown(there.value)} times as large ({shown(there.low)} to {shown(there.high)}).",
        {
            "fall_of_the_deviation_of_ln_sigma": falls,
            "largest_usable_rates": {"without": without.tolist(), "with": with_warmup.tolist()},
            "training_loss_there_with_over_without": there,
        },
    )


def _judge_typical(rates: np.ndarray) -> str:
    return shown(float(np.exp(np.mean(np.log(rates)))))


def draw(data: Data) -> Any:
    """The deviation of ln sigma over updates, and losses and accuracies over rates."""
    figure, (left, middle, right) = figures.new(3, width=16)
    updates = np.arange(1, len(data["spread"][0]) + 1)
    figures.band(left, updates.tolist(), data["spread"], 0, "measured")
    pure = np.sqrt(special.polygamma(1, updates / 2)) / 2
    left.plot(updates, pure, "--", color="black", label="gradients of noise alone")
    left.set(xscale="log", yscale="log", xlabel="update", ylabel="deviation of ln σ over orders of the batches")
    left.set_title("median and range of the seeds")
    left.legend(loc="lower left")
    names = ("without warm-up", f"{data['warmup_updates']} updates of warm-up")
    for kind, name in enumerate(names):
        figures.band(middle, data["rates"], np.transpose(data["train_loss"][kind]).tolist(), kind, name)
        figures.band(right, data["rates"], np.transpose(data["accuracy"][kind]).tolist(), kind, name)
    middle.set(xscale="log", yscale="log", xlabel="largest rate η", ylabel="training loss, last epoch")
    middle.set_title(f"Adam, {data['updates']} updates")
    right.set(xscale="log", xlabel="largest rate η", ylabel="accuracy, last validation", title="median and range")
    middle.legend(loc="upper left")
    right.legend(loc="lower left")
    return figure
