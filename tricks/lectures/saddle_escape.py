"""What leaving saddles along negative curvature gains on traps and in ordinary training, beside noise and restarts."""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tricks import plateau, transforms
from tricks.lectures.common import figures, statistics, traps
from tricks.lectures.common.experiment import Claim, Data, Effort, Judgement
from tricks.lectures.common.lanes import side_by_side
from tricks.lectures.common.traps import Traps

_DECAY, _EVERY, _PRODUCT = 0.9, 20, 1.2
_RADII = (0.01, 0.1, 1.0)
_ALONE, _RESTART, _ESCAPE = "momentum alone", "restart", "escape"
_NOISE = tuple(f"noise of radius {radius:g}" for radius in _RADII)
_METHODS = (_ALONE, *_NOISE, _RESTART, _ESCAPE)
_USUAL, _LIMIT = "usual weights", "(1 − w₁w₂w₃)²: no curvature"
_THRESHOLD = 0.8

CLAIM = Claim(
    title="A training that sits at a saddle leaves it by a step along an eigenvector of negative curvature",
    idea="Where λ < 0, a step along its eigenvector u lowers the loss, since uᵀHu = λ|u|² < 0. It is rarely done, for "
    "the Hessian is large; yet a dozen products of it with vectors find u.",
    lecture="Critical points: what to do at a saddle.",
    rule=f"Momentum is run from five saddles: networks on images with identical units and with zero weights, "
    f"(1 − w₁w₂)² at 0, a low-rank factorization from 0, and an ill-conditioned saddle of 1,000 dimensions. Supported "
    f"if of the runs that end above the level of their trap without help, the share that ends below it with escape "
    f"(Lanczos, a check on held-out examples, a line search, at plateaus of 100 steps) is above {_THRESHOLD:g} with "
    f"all of Wilson's 95 % interval; refuted if all of it is not. Told beside, no part of the verdict: noise of three "
    f"radii at plateaus, a restart from usual weights, a saddle without curvature, and ordinary training.",
    source="Royer et al., arXiv 1803.02924; perturbed gradient descent: Jin et al., arXiv 1703.00887.",
)


def run(effort: Effort, note: Callable[[str], None]) -> dict[str, Any]:
    """Runs every trap by every method."""
    seeds = effort.pick(range(100, 105), range(2))
    images = traps.image_network(effort.images, effort.pick(32, 8), effort.pick(128, 32), effort.pick(20_000, 500))
    others = (traps.toy, traps.factorization, traps.ill_conditioned, traps.without_curvature)
    groups = [images, *(make() for make in others[: effort.pick(4, 0)])]
    runs = []
    for group in groups:
        note(", ".join(group.kinds))
        lanes = [(kind, seed) for kind in group.kinds for seed in seeds]
        numbers = np.asarray([seed for _, seed in lanes])
        kinds = np.asarray([list(group.kinds).index(kind) for kind, _ in lanes])
        starts = side_by_side(
            lambda seed, kind, of=group: of.start(jax.random.key(seed), kind),
            np.concatenate([numbers, numbers + 1000]),
            np.concatenate([kinds, np.full(len(kinds), -1)]),
        )
        of_lanes = dict(zip(lanes, zip(*np.split(starts, 2), strict=True), strict=True))
        # Momentum alone is in the program of escape: in another it would round otherwise.
        for methods in ((*_NOISE, _RESTART), (_ALONE, _ESCAPE)):
            runs += _runs(group, methods, of_lanes, effort.pick(1500, 800))
    return {"seeds": list(seeds), "examples": effort.images, "runs": runs}


def _runs(
    group: Traps, methods: Sequence[str], starts: Mapping[tuple[str, int], tuple[Any, Any]], steps: int
) -> list[dict[str, Any]]:
    lanes = [(kind, seed, method) for kind, seed in starts for method in methods]
    radii = dict(zip(_NOISE, _RADII, strict=True))
    escapes = _ESCAPE in methods
    found = side_by_side(
        functools.partial(_lane, group, steps, escapes),
        *(np.stack([starts[kind, seed][i] for kind, seed, _ in lanes]) for i in (0, 1)),
        np.asarray([seed for _, seed, _ in lanes]),
        np.asarray([radii.get(method, 0.0) for *_, method in lanes], np.float32),
        np.asarray([method in (_RESTART, _ESCAPE) for *_, method in lanes]),
        shared=(group.shared,),
        # A check is a branch that few steps take.
        batched=not escapes,
    )
    rows = zip(lanes, *(array.tolist() for array in found), strict=True)
    return [
        {
            "trap": kind,
            "method": method,
            "seed": seed,
            "level": None if math.isnan(group.kinds[kind]) else group.kinds[kind],
            "losses": curve,
            "work": work,
            "escapes": escaped,
            "products": products,
            "test_loss": test_loss,
        }
        for (kind, seed, method), curve, work, escaped, products, test_loss in rows
    ]


def _lane(
    group: Traps,
    steps: int,
    escapes: bool,
    shared: tuple[Any, ...],
    start: jax.Array,
    usual: jax.Array,
    seed: jax.Array,
    radius: Any,
    is_helped: jax.Array,
) -> tuple[jax.Array, ...]:
    """Losses and work so far at every record, how many escapes and products there were, and the last test loss.

    `is_helped` lets the one program escape and the other restart.
    """
    key = jax.random.key(seed)
    inner = transforms.momentum(group.rate, _DECAY)
    # Noise of radius 0 is none.
    optimizer = (
        transforms.escape_saddle(inner, seed=seed, cost=group.cost)
        if escapes
        else transforms.perturb_on_plateau(inner, radius, seed=seed)
    )
    checked, held_out = (
        None if fn is None else functools.partial(fn, *shared) for fn in (group.checked_loss, group.held_out_loss)
    )
    functions = {"value_fn": checked, "held_out_value_fn": held_out} if escapes else {}

    def one(carry: Any, number: jax.Array) -> tuple[Any, None]:
        w, state, watched, restarted = carry
        loss = lambda w: group.step_loss(*shared, w, jax.random.fold_in(key, number))  # noqa: E731
        value, gradient = jax.value_and_grad(loss)(w)
        # A loss that is not finite is never on a plateau.
        shown = jnp.where(is_helped, value, jnp.nan) if escapes else value
        update, state = optimizer.update(gradient, state, w, value=shown, **functions)
        watched, stands = plateau.update(watched, value, 100)
        begins_anew = is_helped & stands & ~restarted & (not escapes)
        w = jnp.where(begins_anew, usual, w + update)
        state = jax.tree.map(lambda fresh, old: jnp.where(begins_anew, fresh, old), optimizer.init(w), state)
        return (w, state, watched, restarted | begins_anew), None

    def some(carry: Any, block: jax.Array) -> tuple[Any, Any]:
        carry, _ = jax.lax.scan(one, carry, block * _EVERY + jnp.arange(_EVERY))
        w, state, *_ = carry
        escaped, products = (state.watch.escapes, state.watch.products) if escapes else (jnp.int32(0), jnp.int32(0))
        work = (block + 1) * _EVERY + _PRODUCT * group.cost * products
        return carry, (group.checked_loss(*shared, w), work, escaped, products)

    carry = (start, optimizer.init(start), plateau.init(), jnp.bool_(False))
    (w, *_), (curve, work, escaped, products) = jax.lax.scan(some, carry, jnp.arange(steps // _EVERY))
    return curve, work, escaped[-1], products[-1], group.test_loss(*shared, w)


def _judge_left(run: Data) -> float | None:
    """The work until the level of the trap is passed for good; None where it is not."""
    above = np.flatnonzero(~(np.asarray(run["losses"], np.float64) < run["level"]))
    first = 0 if len(above) == 0 else int(above[-1]) + 1
    return None if first == len(run["losses"]) else float(run["work"][first])


def _judge_traps(data: Data) -> list[str]:
    return list(dict.fromkeys(run["trap"] for run in data["runs"] if run["trap"] != _USUAL))


def _judge_of(data: Data, trap: str, method: str) -> list[Data]:
    return [run for run in data["runs"] if run["trap"] == trap and run["method"] == method]


def _judge_outcomes(data: Data, trap: str, method: str) -> list[float | None]:
    """The work until it is left, for each seed that is stuck without help."""
    alone = {run["seed"] for run in _judge_of(data, trap, _ALONE) if _judge_left(run) is None}
    return [_judge_left(run) for run in _judge_of(data, trap, method) if run["seed"] in alone]


def _judge_told(data: Data, counted: Sequence[str], method: str) -> str:
    outcomes = [left for trap in counted for left in _judge_outcomes(data, trap, method)]
    return f"{sum(left is not None for left in outcomes)}"


def judge(data: Data) -> Judgement:
    """The share of stuck runs that leave, and what is told beside."""
    counted = [trap for trap in _judge_traps(data) if trap != _LIMIT]
    outcomes = {trap: _judge_outcomes(data, trap, _ESCAPE) for trap in counted}
    stuck = sum(map(len, outcomes.values()))
    left = sum(work is not None for works in outcomes.values() for work in works)
    found = statistics.share(left, stuck)
    usual = {method: [run["test_loss"] for run in _judge_of(data, _USUAL, method)] for method in (_ESCAPE, _ALONE)}
    gain = statistics.ratio(usual[_ESCAPE], usual[_ALONE])
    change = [100 * (value - 1) for value in gain]
    steps, products = (sum(run[name] for run in _judge_of(data, _USUAL, _ESCAPE)) for name in ("escapes", "products"))
    limit = _judge_outcomes(data, _LIMIT, _ESCAPE)
    others = ", ".join(f"{method} {_judge_told(data, counted, method)}" for method in (*_NOISE, _RESTART))
    medians = {
        trap: {
            method: float(np.median([math.inf if work is None else work for work in works]))
            for method in _METHODS[1:]
            if (works := _judge_outcomes(data, trap, method))
        }
        for trap in _judge_traps(data)
    }
    return Judgement(
        statistics.decide(found, _THRESHOLD),
        found.value,
        found.interval,
        "share of runs stuck at saddles that leave with escape",
        f"Of {stuck} runs that momentum alone leaves at their saddle {left} get away by steps along negative "
        f"curvature (beside: {others}). Of {len(limit)} at a saddle without curvature "
        f"{sum(work is not None for work in limit)} do. In {len(usual[_ALONE])} ordinary trainings {products} products "
        f"find {steps} such steps, and the test loss changes by {change[0]:.2f} % ({change[1]:.2f} to "
        f"{change[2]:.2f} %).",
        {
            "work_until_left": {
                trap: {method: None if math.isinf(work) else work for method, work in works.items()}
                for trap, works in medians.items()
            },
            "ordinary_change_percent": change,
        },
    )


def draw(data: Data) -> Any:
    """The work until each trap is left, and the test loss of ordinary training, for each method."""
    figure, (left, right) = figures.new(2, width=14.0, gridspec_kw={"width_ratios": [1.7, 1]})
    names = _judge_traps(data)
    never = 4 * max(max(run["work"]) for run in data["runs"] if run["trap"] != _USUAL)
    for kind, method in enumerate(_METHODS):
        looks = {"color": figures.COLOURS[kind], "markerfacecolor": "none", "linestyle": "none"}
        places = [
            (never if work is None else work, row + 0.12 * (kind - 2.5))
            for row, trap in enumerate(names)
            for work in map(_judge_left, _judge_of(data, trap, method))
        ]
        left.plot(*zip(*places, strict=True), marker=figures.MARKERS[kind], label=method, **looks)
        figures.seeds(right, kind, [run["test_loss"] for run in _judge_of(data, _USUAL, method)], kind)
    left.axvline(never / 2, color="black", linewidth=1)
    left.set(xscale="log", xlabel="work until it is left, in gradients of a step")
    ticks = [100 * 2**i for i in range(1, 12) if 100 * 2**i < never / 2]
    left.set_xticks([*ticks, never], [*map(str, ticks), "never"])
    left.minorticks_off()
    left.set_yticks(range(len(names)), names)
    left.set_ylim(len(names) - 0.5, -0.5)
    left.set_title("saddles: a point for each seed")
    left.legend(fontsize=11, ncols=3, loc="upper center", bbox_to_anchor=(0.4, -0.16))
    shorter = [method.replace("momentum ", "").replace("of radius ", "") for method in _METHODS]
    right.set_xticks(range(len(_METHODS)), shorter, rotation=40, ha="right")
    right.set(xlabel="method", ylabel="test loss at the end", title="ordinary training")
    return figure
