"""Dropout: its effect on errors, and weight scaling beside averages of sampled networks."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from tricks.config import Config
from tricks.lectures.common import figures, statistics, thinned, training
from tricks.lectures.common.experiment import Claim, Data, Effort, Judgement
from tricks.training import assembly
from tricks.training.state import weights

_NONE, _HALF = "0", "0.5"
_PART_RATES, _ALL_RATES = (_NONE, _HALF), (_NONE, "0.25", _HALF)
_WIDTH, _PART, _EPOCHS, _SEEDS = 512, 10_000, 30, 5
_NETWORKS, _TOLERANCE = 100, 0.1
_VALIDATION = 0.01  # Nothing is chosen by it.
_MEASURED = 10_000
# Srivastava et al. 2014, test error on MNIST in %.
_PUBLISHED = {"without": 1.60, "3×1024 units, with": 1.25}

CLAIM = Claim(
    title="Dropout lowers the test error, and weight scaling stands for the average of the thinned networks",
    idea="Every mini-batch trains another network, what is left when units are dropped at random; all of them share "
    "their weights. At the test no unit is dropped and weights count 1 − p times, which gives about the average of all "
    "these networks: an ensemble for the price of one.",
    lecture="Regularization: dropout, and why it is an ensemble.",
    rule=f"Two hidden layers of {_WIDTH} ReLU units, {_EPOCHS} epochs of Adam on {_PART} images, p = {_HALF} at hidden "
    f"units or none, {_SEEDS} seeds. Supported if the test error without dropout less that with it is above 0, and "
    f"that by weight scaling less that of the average of {_NETWORKS} sampled networks is within ±{_TOLERANCE:g} "
    "points, both with their intervals over seeds; refuted if the first interval is at 0 or below, or the second "
    "beyond.",
    source="Srivastava et al. 2014, Dropout.",
)


def run(effort: Effort, note: Callable[[str], None]) -> dict[str, Any]:
    """Trains on a part of the images, samples the networks, and trains on all images."""
    seeds = effort.pick(list(range(_SEEDS)), [10, 11])
    found: dict[str, Any] = {"seeds": seeds, "examples": effort.images, "alone": [], "average": []}
    for name, rates, of_seeds in (("part", _PART_RATES, seeds), ("all", _ALL_RATES, seeds[:2])):
        found[name] = {rate: [] for rate in rates}
        for rate, seed in ((rate, seed) for rate in rates for seed in of_seeds):
            note(f"{name} of the images, dropout of {rate}, seed {seed}")
            trained = training.train_one(_config(effort, seed, float(rate), name))
            found[name][rate].append(_measures(trained))
            if (name, rate) == ("part", _HALF):
                alone, average = _sampled(trained, effort.pick(_NETWORKS, 20))
                found["alone"].append(alone.error)
                found["average"].append(average.error)
    return found


def _config(effort: Effort, seed: int, rate: float, name: str) -> Config:
    config = Config(seed=seed)
    config.data.name = effort.images
    config.data.validation_fraction = effort.pick(_VALIDATION, 0.1)
    config.model.hidden_sizes = (effort.pick(_WIDTH, 128),) * 2
    config.model.batch_norm = False
    config.model.dropout = rate
    config.schedule.shape = "cosine"
    if effort.quick:
        config.train.epochs, config.optimizer.learning_rate = 10, 5e-3
    elif name == "part":
        # MNIST has 60,000 images; of the digits there are too few to leave any out.
        config.data.train_fraction = _PART / 60_000 / (1 - _VALIDATION) if effort.images == "mnist" else 1.0
        config.data.batch_size, config.train.epochs = 128, _EPOCHS
    else:
        config.data.batch_size, config.train.epochs, config.optimizer.learning_rate = 256, 20, 2e-3
    return config


def _measures(trained: training.Trained) -> dict[str, float]:
    """Of the last weights, with all units."""
    network, data = assembly.make_network(trained.setup.static), trained.setup.data
    found: dict[str, float] = {"images": len(data.train.targets)}
    for name, split in (("train", data.train), ("test", data.test)):
        error, loss = thinned.whole(network.apply, weights(trained.state.train), split, most=_MEASURED)
        found |= {f"{name}_error": error, f"{name}_loss": loss}
    return found


def _sampled(trained: training.Trained, networks: int) -> tuple[thinned.Measured, thinned.Measured]:
    # Without its numbers the network would drop nothing.
    network = assembly.make_network(trained.setup.static, trained.setup.hyper)
    keys = jax.random.split(jax.random.key(trained.summary["seed"]), networks)
    return thinned.sampled(network.apply, weights(trained.state.train), trained.setup.data.test, keys)


def judge(data: Data) -> Judgement:
    """Whether dropout lowers the error, and weight scaling comes to that of the average."""
    without, dropped = (_judge_columns(data["part"][rate]) for rate in _PART_RATES)
    gain = statistics.difference(without["test_error"], dropped["test_error"])
    off = statistics.difference(dropped["test_error"], [errors[-1] for errors in data["average"]])
    within = [statistics.decide(off, _TOLERANCE, above=False), statistics.decide(off, -_TOLERANCE)]
    means, networks = np.mean(data["average"], 0), len(data["average"][0])
    match = thinned.networks_to_match(means.tolist(), float(np.mean(dropped["test_error"])))
    matched = f"the average of {match} does as well" if match else f"no average of up to {networks} does as well"
    of_all = {rate: _judge_columns(rows) for rate, rows in data["all"].items()}
    on_all = ", ".join(f"{np.mean(rows['test_error']):.2f} % at {rate}" for rate, rows in of_all.items())
    published = "; ".join(f"{name} {error:.2f} %" for name, error in _PUBLISHED.items())
    published = (
        f" (published, of larger networks trained for longer: {published})" if data["examples"] == "mnist" else ""
    )
    mean = {
        f"{part} {kind}": f"{np.mean(rows[f'{part}_error']):.2f} %"
        for part in ("train", "test")
        for kind, rows in (("without", without), ("with", dropped))
    }
    return Judgement(
        statistics.all_of([statistics.decide(gain, 0.0), *within]),
        gain.value,
        gain.interval,
        "test error without dropout less that with it, in percentage points",
        f"Trained on {without['images'][0]} images of {data['examples']}, the test error is {mean['test without']} "
        f"without dropout and {mean['test with']} with it; the training error is {mean['train without']} and "
        f"{mean['train with']}. "
        f"A thinned network alone has {np.mean(data['alone']):.2f} %, the average of {networks} has {means[-1]:.2f} %; "
        f"weight scaling lies {off.value:+.2f} points from that ({off.low:+.2f} to {off.high:+.2f}), and {matched}. "
        f"Trained on {of_all[_NONE]['images'][0]} images, by the rate: {on_all}{published}.",
        {
            "scaling_less_average": list(off),
            "networks_to_match": match,
            "loss_without_less_with": list(statistics.difference(without["test_loss"], dropped["test_loss"])),
            "test_loss_on_all": {rate: float(np.mean(rows["test_loss"])) for rate, rows in of_all.items()},
            "published": _PUBLISHED,
        },
    )


def _judge_columns(rows: Sequence[Data]) -> dict[str, list[float]]:
    return {name: [row[name] for row in rows] for name in rows[0]}


def draw(data: Data) -> Any:
    """Errors on a part of the images and on all, and of averages against the number of networks."""
    figure, (left, middle, right) = figures.new(3, width=16, gridspec_kw={"width_ratios": [1, 1.1, 1.5]})
    for kind, rate in enumerate(_PART_RATES):
        rows = data["part"][rate]
        for place, part in enumerate(("train", "test")):
            label = f"dropout {rate}" if place == 0 else None
            figures.seeds(left, place + 0.5 * kind - 0.25, [row[f"{part}_error"] for row in rows], kind, label)
    left.set(title=f"{rows[0]['images']} images of {data['examples']}, {len(rows)} seeds")
    left.set(xticks=[0, 1], xticklabels=["train", "test"], xlim=(-0.6, 1.6), xlabel="examples", ylabel="error in %")
    left.legend()
    for place, rate in enumerate(_ALL_RATES):
        rows = data["all"][rate]
        figures.seeds(middle, place, [row["test_error"] for row in rows], (0, 2, 1)[place])
    if data["examples"] == "mnist":
        for line, (name, error) in enumerate(_PUBLISHED.items(), 1):
            middle.axhline(
                error, color="black", linestyle=figures.LINES[line], linewidth=1.8, label=f"{name}: {error:.2f}"
            )
        middle.set_ylim(top=max(middle.get_ylim()[1], 1.9))
        middle.legend(title="published, 2014", loc="upper right")
    middle.set(
        title=f"{rows[0]['images']} images, {len(rows)} seeds", xlabel="rate of dropout", ylabel="test error in %"
    )
    middle.set(xticks=range(len(_ALL_RATES)), xticklabels=_ALL_RATES, xlim=(-0.5, len(_ALL_RATES) - 0.5))
    counts = list(range(1, len(data["average"][0]) + 1))
    figures.band(
        right, [1, counts[-1]], [[np.mean(errors)] * 2 for errors in data["alone"]], 1, "one thinned network, mean"
    )
    figures.band(right, counts, data["average"], 0, "average of k thinned networks")
    figures.band(right, [1, counts[-1]], [[row["test_error"]] * 2 for row in data["part"][_HALF]], 2, "weight scaling")
    right.set(
        xscale="log",
        xlabel="networks k",
        ylabel="test error in %",
        title="trained on the part; median and range of seeds",
    )
    ticks = [k for k in (1, 2, 5, 10, 20, 50, 100) if k <= counts[-1]]
    right.set_xticks(ticks, map(str, ticks))
    right.minorticks_off()
    right.legend()
    return figure
