"""Update and apply on 19.4 million parameters and on a thousand small leaves, beside optax and PyTorch."""

import importlib.util
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.harness import Comparison, seconds
from tricks import transforms

_LARGE = [(4096, 1024)] * 4 + [(1024,)] * 20 + [(512, 512)] * 10
_SMALL = [(64,)] * 1000
_RATE, _DECAY = 1e-3, 1e-2
_PAIRS: dict[str, tuple[optax.GradientTransformation, optax.GradientTransformation]] = {
    "momentum": (transforms.momentum(_RATE), optax.sgd(_RATE, 0.9)),
    "root_mean_square": (transforms.root_mean_square(_RATE), optax.adagrad(_RATE)),
    "rmsprop": (transforms.rmsprop(_RATE), optax.rmsprop(_RATE)),
    "adam": (transforms.adam(_RATE), optax.adam(_RATE)),
    "adamw": (
        transforms.adamw(_RATE, weight_decay=_DECAY),
        optax.adamw(_RATE, weight_decay=_DECAY, mask=transforms.weights_only),
    ),
    "lamb": (
        transforms.lamb(_RATE, weight_decay=_DECAY, trust_mask=None),
        optax.lamb(_RATE, weight_decay=_DECAY, mask=transforms.weights_only),
    ),
}
# Bytes a parameter that must be read and written once each in float32: gradient and weights, and the state twice.
_FLOOR = {"momentum": 20, "root_mean_square": 20, "rmsprop": 20, "adam": 28, "adamw": 28, "lamb": 28}


def compare(rounds: int) -> list[Comparison]:
    """Measures each transform beside its optax twin and PyTorch's fused (or foreach) optimizer.

    Prints beside the memory floor the bytes a parameter that the compiled update of ours and of optax move.
    """
    rows = []
    for label, shapes in (("19.4 M parameters", _LARGE), ("1,000 leaves of 64", _SMALL)):
        for name, (ours, theirs) in _PAIRS.items():
            cases, moved = {}, {}
            for peer, tx in (("ours", ours), ("optax", theirs)):
                cases[peer], moved[peer] = _update_and_apply(tx, shapes)
            if importlib.util.find_spec("torch"):
                cases |= _pytorch(name, shapes)
            spent = {peer: 1e3 * s for peer, s in seconds(cases, rounds).items()}
            mine = spent.pop("ours")
            case = f"{name}, {label}"
            rows += [Comparison(case, peer, mine, other, other / mine, "ms") for peer, other in spent.items()]
            if shapes is _LARGE:
                print(
                    f"{name}: {_FLOOR[name]} bytes a parameter at the least, {moved['ours']:.0f} moved by ours, ",
                    end="",
                )
                print(
                    f"{moved['optax']:.0f} by optax; {_FLOOR[name] * _count(shapes) / mine / 1e6:.1f} GB/s of the least"
                )
    if not importlib.util.find_spec("torch"):
        print("PyTorch is not installed; skipped (requirements-bench.txt)")
    return rows


def _count(shapes: Sequence[tuple[int, ...]]) -> int:
    return sum(int(np.prod(shape)) for shape in shapes)


def _arrays(shapes: Sequence[tuple[int, ...]], seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.normal(scale=0.02, size=shape).astype(np.float32) for shape in shapes]


def _update_and_apply(
    tx: optax.GradientTransformation, shapes: Sequence[tuple[int, ...]]
) -> tuple[Callable[[], object], float]:
    params = [jnp.asarray(p) for p in _arrays(shapes, 0)]
    gradients = [jnp.asarray(g) for g in _arrays(shapes, 1)]
    state = tx.init(params)

    # Arguments in the order of the results, so that each result takes the donated buffer of its own argument.
    def step(params: Any, state: Any, gradients: Any) -> tuple[Any, Any]:
        updates, state = tx.update(gradients, state, params)
        return optax.apply_updates(params, updates), state

    compiled = jax.jit(step, donate_argnums=(0, 1)).lower(params, state, gradients).compile()

    def run() -> object:
        nonlocal params, state
        params, state = compiled(params, state, gradients)
        return jax.block_until_ready((params, state))

    return run, _bytes_accessed(compiled) / _count(shapes)


def _bytes_accessed(compiled: Any) -> float:
    return float(compiled.cost_analysis()["bytes accessed"])


def _pytorch(name: str, shapes: Sequence[tuple[int, ...]]) -> dict[str, Callable[[], object]]:
    import torch

    params = [torch.from_numpy(p).requires_grad_() for p in _arrays(shapes, 0)]
    for p, g in zip(params, _arrays(shapes, 1), strict=True):
        p.grad = torch.from_numpy(g)
    makers: dict[str, tuple[str, Callable[[], Any]]] = {
        "momentum": ("PyTorch, fused", lambda: torch.optim.SGD(params, _RATE, momentum=0.9, fused=True)),
        "root_mean_square": ("PyTorch, fused", lambda: torch.optim.Adagrad(params, _RATE, fused=True)),
        "rmsprop": ("PyTorch, foreach", lambda: torch.optim.RMSprop(params, _RATE, foreach=True)),
        "adam": ("PyTorch, fused", lambda: torch.optim.Adam(params, _RATE, fused=True)),
        "adamw": ("PyTorch, fused", lambda: torch.optim.AdamW(params, _RATE, weight_decay=_DECAY, fused=True)),
    }
    if name not in makers:
        return {}
    label, make = makers[name]
    return {label: make().step}
