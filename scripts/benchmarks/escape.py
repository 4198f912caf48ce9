"""Traps, each for six first-order methods, with saddle escape and without: who gets out, when, and for how much."""

import math
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from tabulate import tabulate

from benchmarks.harness import Comparison
from benchmarks.traps import Trap, all_traps, degenerate_traps
from tricks import transforms
from tricks.curvature.attempt import OUTCOMES

_EVERY, _SEEDS = 20, 5
_PRODUCT = 1.2  # Gradients.
_PICTURE = Path("escape.png")
_OPTIMIZERS: dict[str, Callable[[Any], optax.GradientTransformation]] = {
    "SGD": lambda rate: transforms.momentum(rate, 0.0),
    "momentum": lambda rate: transforms.momentum(rate, 0.9),
    "Adam": lambda rate: transforms.adam(rate),
}


class _Run(NamedTuple):
    """Of one seed; arrays have an entry for every 20 steps."""

    losses: np.ndarray
    escapes: np.ndarray
    products: np.ndarray
    checked_at: np.ndarray
    outcome: str

    def left_at(self, level: float) -> float:
        """The step from which on the loss is below the level; infinite where it is not at the end."""
        above = np.flatnonzero(~(self.losses < level))
        first = 0 if len(above) == 0 else int(above[-1]) + 1
        return math.inf if first == len(self.losses) else _EVERY * (first + 1)

    def further(self, level: float) -> float:
        """Steps from the last escape before it was left until it was left; NaN where there was none."""
        left = self.left_at(level)
        rising = np.flatnonzero(np.diff(self.escapes, prepend=0))
        before = [int(self.checked_at[i]) for i in rising if self.checked_at[i] < left]
        return left - before[-1] if before and left < math.inf else math.nan

    def most_products(self) -> float:
        """Of an escape."""
        spent = np.diff(self.products, prepend=0)[np.flatnonzero(np.diff(self.escapes, prepend=0))]
        return float(max(spent, default=math.nan))


class _Result(NamedTuple):
    label: str
    trap: Trap
    method: str
    plain: list[_Run]
    escaping: list[_Run]


def compare(rounds: int) -> list[Comparison]:
    """Runs every trap with five seeds, prints a table of each and one of all, and draws `escape.png`.

    A comparison is of the work, in gradients, until a trap is left: SGD with escape beside the radius of perturbed
    gradient descent that does best.
    """
    del rounds
    cases = [(trap.name, trap, False) for trap in all_traps()]
    for trap in degenerate_traps():
        cases += [(trap.name, trap, False), (f"{trap.name}, noise", trap, True)]
    results = []
    for label, trap, noise in cases:
        found = _results(label, trap, noise)
        print(tabulate([_row(result) for result in found], headers=_HEADERS, disable_numparse=True), "\n", flush=True)
        results.append(found)
    comparisons = [_comparison(found) for found in results]
    rows = [_condensed(found, comparison) for found, comparison in zip(results, comparisons, strict=True)]
    print(tabulate(rows, headers=_CONDENSED, disable_numparse=True, tablefmt="github"))
    _draw(results)
    print(f"written: {_PICTURE}")
    return comparisons


def _results(label: str, trap: Trap, noise: bool) -> list[_Result]:
    seeds = range(_SEEDS)
    found = []
    for name, make in _OPTIMIZERS.items():
        plain, escaping = (_runner(trap, make(trap.rates[name]), escapes, noise) for escapes in (False, True))
        found.append(_Result(label, trap, name, [plain(seed) for seed in seeds], [escaping(seed) for seed in seeds]))
    base = _OPTIMIZERS["SGD"](trap.rates["SGD"])
    plain, escaping = (_runner(trap, base, escapes, noise, perturbed=True) for escapes in (False, True))
    for radius in trap.radii:
        runs = [plain(seed, radius) for seed in seeds], [escaping(seed, radius) for seed in seeds]
        found.append(_Result(label, trap, f"perturbed, {radius:g}", *runs))
    return found


def _runner(
    trap: Trap, base: optax.GradientTransformation, escapes: bool, noise: bool, perturbed: bool = False
) -> Callable[..., _Run]:
    @jax.jit
    def run(seed: jax.Array, radius: Any) -> Any:
        key = jax.random.key(seed)
        # The radius is traced, so that three of them are compiled once.
        tx = transforms.perturb_on_plateau(base, radius, seed=seed) if perturbed else base
        tx = transforms.escape_saddle(tx, noise=noise, seed=seed) if escapes else optax.with_extra_args_support(tx)
        params = trap.start(key)

        def one(carry: Any, number: jax.Array) -> tuple[Any, None]:
            params, state = carry
            loss, gradient = jax.value_and_grad(trap.step_loss)(params, jax.random.fold_in(key, number))
            fns = {"value_fn": trap.value_fn, "held_out_value_fn": trap.held_out_value_fn}
            updates, state = tx.update(gradient, state, params, value=loss, **(fns if escapes else {}))
            return (optax.apply_updates(params, updates), state), None

        def some(carry: Any, block: jax.Array) -> tuple[Any, Any]:
            carry, _ = jax.lax.scan(one, carry, block * _EVERY + jnp.arange(_EVERY))
            params, state = carry
            counts = _counts(state) if escapes else (0, 0, 0, 0)
            return carry, (trap.value_fn(params), *counts)

        return jax.lax.scan(some, (params, tx.init(params)), jnp.arange(trap.steps // _EVERY))[1]

    def of_seed(seed: int, radius: float = 1.0) -> _Run:
        *arrays, outcomes = (np.asarray(field) for field in run(seed, radius))
        return _Run(arrays[0], arrays[1], arrays[2], arrays[3], OUTCOMES[int(outcomes[-1])])

    return of_seed


def _counts(state: transforms.EscapeState) -> tuple[jax.Array, ...]:
    return state.watch.escapes, state.watch.products, state.last_step, state.last.outcome


_HEADERS = ("trap", "method", "stuck without", "at loss", "left with", "at step", "further", "products", "last check")


def _row(result: _Result) -> tuple[str, ...]:
    level = result.trap.level
    left = [run.left_at(level) for run in result.escaping]
    stuck = sum(run.left_at(level) == math.inf for run in result.plain)
    return (
        result.label,
        result.method,
        f"{stuck} of {_SEEDS}",
        f"{median(run.losses[-1] for run in result.plain):.4g}",
        f"{sum(step < math.inf for step in left)} of {_SEEDS}",
        _plain(median(left)),
        _plain(_most([run.further(level) for run in result.escaping])),
        _plain(_most([run.most_products() for run in result.escaping])),
        result.escaping[0].outcome,
    )


_CONDENSED = (
    "trap",
    "stuck without (SGD, momentum, Adam; of 5 each)",
    "left with",
    "at step",
    "further steps, most",
    "products, most",
    "work: SGD with escape",
    "best perturbed SGD",
    "ratio",
)


def _condensed(results: list[_Result], comparison: Comparison) -> tuple[str, ...]:
    level, firsts = results[0].trap.level, results[: len(_OPTIMIZERS)]
    left = [[run.left_at(level) for run in result.escaping] for result in firsts]
    escaping = [run for result in firsts for run in result.escaping]
    return (
        results[0].label,
        ", ".join(str(sum(run.left_at(level) == math.inf for run in result.plain)) for result in firsts),
        ", ".join(str(sum(step < math.inf for step in steps)) for steps in left),
        ", ".join(_plain(median(steps)) for steps in left),
        _plain(_most([run.further(level) for run in escaping])),
        _plain(_most([run.most_products() for run in escaping])),
        f"{comparison.ours:,.0f}",
        f"{comparison.theirs:,.0f} ({comparison.peer.split(', ')[1]})",
        f"{comparison.ratio:.2f}",
    )


def _most(values: list[float]) -> float:
    return max((value for value in values if not math.isnan(value)), default=math.nan)


def _plain(value: float) -> str:
    return f"{value:.0f}" if math.isfinite(value) else "-"


def _work(result: _Result, runs: list[_Run]) -> float:
    def of_run(run: _Run) -> float:
        left = run.left_at(result.trap.level)
        products = run.products[int(left) // _EVERY - 1] if math.isfinite(left) else 0
        return left + _PRODUCT * result.trap.cost * float(products)

    return median(of_run(run) for run in runs)


def _comparison(results: list[_Result]) -> Comparison:
    ours = _work(results[0], results[0].escaping)
    peer = min(results[3:], key=lambda result: _work(result, result.plain))
    theirs = _work(peer, peer.plain)
    ratio = theirs / ours if math.isfinite(ours) else math.nan
    return Comparison(results[0].label, f"SGD {peer.method}", ours, theirs, ratio, "gradients until it is left")


def _draw(results: list[list[_Result]]) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = 4
    rows = -(-len(results) // columns)
    figure = Figure(figsize=(4.6 * columns, 3.3 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis, found in zip(panels, results, strict=False):
        best = min(found[3:], key=lambda result: _work(result, result.plain))
        for name, runs, color in (
            ("SGD", found[0].plain, "tab:gray"),
            ("perturbed SGD, best radius", best.plain, "tab:blue"),
            ("SGD with escape", found[0].escaping, "tab:red"),
        ):
            steps = _EVERY * (1 + np.arange(len(runs[0].losses)))
            for i, run in enumerate(runs):
                axis.plot(steps, run.losses, color=color, linewidth=1.4, label=None if i else name)
        axis.set_title(found[0].label, fontsize=12)
        axis.tick_params(labelsize=10)
        axis.grid(alpha=0.3)
    for axis in panels[len(results) :]:
        axis.set_axis_off()
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=3, fontsize=14)
    figure.supxlabel("step", fontsize=14)
    figure.supylabel("loss on the checked examples", fontsize=14)
    figure.savefig(_PICTURE, dpi=110)
