"""In what share of stuck runs there is negative curvature that held-out examples confirm."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tricks import curvature, losses, models, transforms
from tricks.lectures.common import figures, statistics
from tricks.lectures.common.experiment import Claim, Data, Effort, Judgement
from tricks.lectures.common.lanes import side_by_side
from tricks.lectures.common.small_networks import (
    Examples,
    Small,
    descend_by_windows,
    first_plateau,
    parts_of_digits,
    small,
)

_WINDOW, _IMPROVEMENT, _HIGH = 100, 0.01, 0.5
_ZERO = 1e-3  # Of the largest |eigenvalue|.
_THRESHOLD = 0.5

CLAIM = Claim(
    title="A training that is stuck at a high loss is at a saddle rather than at a minimum",
    idea="Where a network has very many parameters there is nearly always a direction that leads down, so that most of "
    "the points where training stays are saddles; minima are rare.",
    lecture="Critical points: local minimum or saddle point?",
    rule=f"Small tanh networks are trained on 400 of the digits, others for each seed, by gradient descent and by "
    f"momentum, in five ways that get stuck: identical units, zero weights, too large a rate, two hidden units, and "
    f"small weights in three layers. A run is stuck at the end of the first {_WINDOW} steps whose mean loss is not "
    f"{_IMPROVEMENT:.0%} below that of the {_WINDOW} before, and above {_HIGH:g}. It counts as at a saddle if the "
    f"Hessian of its training examples has eigenvalues of both signs beyond {_ZERO:g} of the largest, and 400 other "
    f"examples show at least half of the smallest along its eigenvector. Supported if the share among the stuck runs "
    f"is above {_THRESHOLD:g} with all of Wilson's 95 % interval; refuted if all of it is not.",
    source="Dauphin et al., arXiv 1406.2572.",
)


class _Way(NamedTuple):
    name: str
    hidden: tuple[int, ...]
    initializer: str
    scale: float
    """Of the initial weights, beside the initializer's."""
    rate: float
    """Of gradient descent; momentum of 0.9 has a tenth of it."""


_WAYS = (
    _Way("identical units", (8,), "identical", 1.0, 0.5),
    _Way("zero weights", (8,), "zeros", 1.0, 0.5),
    _Way("too large a rate", (8,), "he", 1.0, 80.0),
    _Way("two hidden units", (2,), "he", 1.0, 0.5),
    _Way("small weights, 3 layers", (8, 8), "he", 0.01, 0.5),
)
_DECAYS = {"gradient descent": 0.0, "momentum": 0.9}


def run(effort: Effort, note: Callable[[str], None]) -> dict[str, Any]:
    """Trains all ways, and classifies the point where each run is stuck."""
    seeds = effort.pick(range(100, 108), range(1))
    shapes = dict.fromkeys(way.hidden for way in effort.pick(_WAYS, _WAYS[:4]))
    parts = {seed: parts_of_digits(400, seed) for seed in seeds}
    runs = []
    with jax.enable_x64(True):
        for hidden in shapes:
            ways = [way for way in _WAYS if way.hidden == hidden]
            lanes = [(way, name, seed) for way in ways for name in _DECAYS for seed in seeds]
            note(f"{len(lanes)} runs of {hidden} hidden units")
            network, ends, means = _trained(ways, lanes, parts, effort.pick(40, 5))
            for (way, optimizer, seed), end, losses_of_run in zip(lanes, ends, means.tolist(), strict=True):
                plateau = first_plateau(losses_of_run, _IMPROVEMENT, _HIGH)
                point = None if plateau is None else _classified(network, end[plateau], *parts[seed])
                told = {"plateau": plateau, "losses": losses_of_run, "point": point}
                runs.append({"way": way.name, "optimizer": optimizer, "seed": seed, **told})
    return {"seeds": list(seeds), "examples": "for each seed 400 of the digits, and 400 others", "runs": runs}


def _trained(
    ways: Sequence[_Way],
    lanes: Sequence[tuple[_Way, str, int]],
    parts: Mapping[int, tuple[Examples, Examples]],
    windows: int,
) -> tuple[Small, np.ndarray, np.ndarray]:
    """The network, and of each lane the weights after each window of steps and its mean loss."""
    networks = [_network(way) for way in ways]

    def lane(examples: Examples, kind: Any, seed: Any, scale: Any, rate: Any, decay: Any) -> Any:
        starts = jnp.stack([network.start(jax.random.key(seed)) for network in networks])
        optimizer = transforms.momentum(rate * (1 - decay), decay)
        loss = lambda w: networks[0].loss(w, examples)  # noqa: E731
        return descend_by_windows(loss, scale * starts[kind], windows, _WINDOW, optimizer)

    numbers = [(ways.index(way), seed, way.scale, way.rate, _DECAYS[name]) for way, name, seed in lanes]
    examples = jax.tree.map(lambda *leaves: np.stack(leaves), *(parts[seed][0] for _, _, seed in lanes))
    return networks[0], *side_by_side(lane, examples, *map(np.asarray, zip(*numbers, strict=True)))


def _network(way: _Way) -> Small:
    network = models.multilayer_perceptron(
        input_size=64, output_size=10, hidden_sizes=way.hidden, activation="tanh", initializer=way.initializer
    )
    return small(network, losses.cross_entropy)


def _classified(network: Small, w: np.ndarray, train: Examples, held_out: Examples) -> dict[str, Any]:
    point = curvature.classify(
        network.loss,
        jnp.asarray(w),
        [train],
        held_out=[held_out],
        key=jax.random.key(0),
        # What it would be if the gradient did not count: it is told beside.
        gradient_tolerance=1e9,
        tolerance=_ZERO,
    )
    return {
        "verdict": point.verdict,
        "loss": point.loss,
        "gradient_norm": point.gradient_norm,
        "smallest": point.smallest,
        "largest": point.largest,
        "held_out": point.held_out_curvature,
        "minimum_ratio": point.significant_minimum_ratio.value,
    }


def _judge_stuck(data: Data) -> list[dict[str, Any]]:
    return [{"way": run["way"], **run["point"]} for run in data["runs"] if run["point"] is not None]


def judge(data: Data) -> Judgement:
    """The share of stuck runs at saddles."""
    stuck = _judge_stuck(data)
    at_saddle = [run for run in stuck if run["verdict"] == "saddle"]
    found = statistics.share(len(at_saddle), len(stuck))
    by_way = {way: (sum(run["way"] == way for run in at_saddle), count) for way, count in _judge_counts(stuck).items()}
    others = {name: sum(run["verdict"] == name for run in stuck) for name in sorted({run["verdict"] for run in stuck})}
    return Judgement(
        statistics.decide(found, _THRESHOLD),
        found.value,
        found.interval,
        "share of stuck runs with negative curvature that held-out examples confirm",
        f"{len(stuck)} of {len(data['runs'])} runs were stuck at a loss above {_HIGH:g}; negative curvature that "
        f"held-out examples confirm is there in {len(at_saddle)} ("
        + "; ".join(f"{way}: {hits} of {count}" for way, (hits, count) in by_way.items())
        + f"). The verdicts were {', '.join(f'{name} {count}' for name, count in others.items()) or 'none'}. The "
        f"gradient was below 0.001 in {sum(run['gradient_norm'] < 1e-3 for run in stuck)} of the stuck runs.",
        {
            "by_way": {way: statistics.share(*counts)._asdict() for way, counts in by_way.items()},
            "verdicts": others,
            "median_gradient_norm": float(np.median([run["gradient_norm"] for run in stuck])) if stuck else None,
        },
    )


def _judge_counts(stuck: Sequence[Data]) -> dict[str, int]:
    ways = dict.fromkeys(run["way"] for run in stuck)
    return {way: sum(run["way"] == way for run in stuck) for way in ways}


def draw(data: Data) -> Any:
    """The share for each way of getting stuck, and curvature here and on other examples."""
    figure, (left, right) = figures.new(2)
    stuck = _judge_stuck(data)
    counts = _judge_counts(stuck)
    rows = [*counts, "all"]
    for row, way in enumerate(rows):
        of_way = [run for run in stuck if way in ("all", run["way"])]
        found = statistics.share(sum(run["verdict"] == "saddle" for run in of_way), len(of_way))
        kind = 6 if way == "all" else row
        errors = [[found.value - found.low], [found.high - found.value]]
        left.errorbar(found.value, row, xerr=errors, fmt=figures.MARKERS[kind], color=figures.COLOURS[kind], capsize=5)
    left.axvline(_THRESHOLD, color="black", linestyle=":", linewidth=1.5)
    left.set(yticks=range(len(rows)), xlim=(-0.03, 1.03), xlabel="share at saddles, with 95 % interval")
    left.set_yticklabels([f"{way} ({counts.get(way, len(stuck))})" for way in rows])
    left.set_title("stuck runs (how many)")
    for kind, way in enumerate(counts):
        x, y = zip(*((run["smallest"], run["held_out"]) for run in stuck if run["way"] == way), strict=True)
        looks = {"color": figures.COLOURS[kind], "markerfacecolor": "none", "label": way}
        right.plot(x, y, figures.MARKERS[kind], **looks)
    ends = np.array([min((run["smallest"] for run in stuck), default=-1.0), 0])
    right.plot(ends, ends, ":", color="black", label="equal")
    right.plot(ends, ends / 2, "--", color="black", label="half: needed to confirm")
    right.set(xlabel="smallest eigenvalue (training examples)", ylabel="curvature along it (other examples)")
    right.legend(fontsize=11)
    return figure
