"""States of optax's optimizers as those of this package, so that a run can go on with the latter."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from tricks.transforms.adam import AdamState
from tricks.transforms.adaptive import CenteredState, SquaredGradientState
from tricks.transforms.decay import DecayState
from tricks.transforms.learning_rate import LearningRateState, ScalarOrSchedule, value_at
from tricks.transforms.leaves import rounded, times, widened
from tricks.transforms.momentum import MomentumState
from tricks.transforms.trust_ratio import LambState


def from_optax(state: Any, learning_rate: ScalarOrSchedule | None = None) -> Any:
    """The state of one of optax's optimizers, after any number of updates, as that of its counterpart here.

    The next step of the counterpart, made with the same arguments, is then the one that optax would have taken:

        optax.adam, adamw, lamb     adam, adamw, lamb
        optax.sgd(eta, momentum)    momentum; m is -eta times optax's trace, with the eta of the next step
        optax.rmsprop               rmsprop, where eps_in_sqrt is False; also centered

    They are found in chains and in wrappers, such as `optax.masked` and `optax.MultiSteps`, which stay as they are; so
    are their cores, `optax.scale_by_adam`, `optax.trace`, `optax.scale_by_rms` and `optax.scale_by_stddev`. States do
    not tell their maker: those of adamax, radam and yogi have Adam's type, and are taken for Adam's.

    Args:
        state: of `optax.chain` and wrappers with at least one of these optimizers in it.
        learning_rate: eta, a number or a schedule, that of the optimizer; needed for `momentum`. Without it
            `current_learning_rate` is NaN until the next update.

    Returns:
        A state of the same structure, but for the optimizers in it.

    Raises:
        ValueError: when there is none of these optimizers in it, or `optax.sgd` with momentum and no learning rate.

    >>> params = jnp.array([3.0])
    >>> theirs = optax.adam(0.1)
    >>> _, state = theirs.update(params, theirs.init(params))
    >>> state = from_optax(state, 0.1)
    >>> type(state[0]).__name__, int(state[0].count), int(state[1].count)
    ('AdamState', 1, 1)

    Source: the definitions of both; where they differ is in the table of the README.
    """
    taken = []

    def one(node: Any) -> Any:
        if not _is_known(node):
            return node
        taken.append(node)
        return _core(node) if isinstance(node, _CORES) else _OPTIMIZERS[_kind(node)](node, learning_rate)

    state = jax.tree.map(one, state, is_leaf=_is_known)
    if not taken:
        raise ValueError(
            f"state is {jax.tree.structure(state)}; allowed: states of optax.adam, adamw, lamb, sgd with momentum, and "
            "rmsprop without bias_correction and momentum, in any chain or wrapper"
        )
    return state


def _is_known(node: Any) -> bool:
    return isinstance(node, _CORES) or _kind(node) in _OPTIMIZERS


def _kind(node: Any) -> tuple[type, ...]:
    """The types in a state of optax.chain, with a decay, which has many, as the one without a schedule."""
    if type(node) is not tuple or len(node) < 2:
        return ()
    kinds = [optax.EmptyState if isinstance(part, _RATES) else type(part) for part in node]
    if len(node) > 2 and kinds[0] is optax.ScaleByAdamState:
        kinds[1] = optax.EmptyState
    return tuple(kinds)


def _core(core: Any) -> Any:
    """Of sigma squared only that it is not the first is known; no step asks for more."""
    if isinstance(core, optax.ScaleByAdamState):
        return AdamState(_count(core.count), core.mu, _real(core.nu))
    if isinstance(core, optax.ScaleByRStdDevState):
        return CenteredState(jnp.int32(1), core.mu, _real(core.nu))
    if isinstance(core, optax.ScaleByRmsState):
        return SquaredGradientState(jnp.int32(1), _real(core.nu))
    return MomentumState(jnp.int32(0), core.trace)


def _adam(node: Any, learning_rate: ScalarOrSchedule | None) -> Any:
    core = _core(node[0])
    return core, _rate(node[-1], core.count, learning_rate)


def _adamw(node: Any, learning_rate: ScalarOrSchedule | None) -> Any:
    core, rate = _adam(node, learning_rate)
    return core, DecayState(core.count), rate


def _lamb(node: Any, learning_rate: ScalarOrSchedule | None) -> Any:
    core, rate = _adam(node, learning_rate)
    return LambState(core, DecayState(core.count)), rate


def _rmsprop(node: Any, learning_rate: ScalarOrSchedule | None) -> Any:
    return _core(node[0]), _rate(node[1], jnp.int32(1), learning_rate)


def _momentum(node: Any, learning_rate: ScalarOrSchedule | None) -> Any:
    if learning_rate is None:
        raise ValueError(
            "learning_rate is missing: momentum here has the rate inside its average, so give from_optax that of the "
            "optimizer, a number or a schedule"
        )
    rate = _rate(node[1], jnp.int32(0), learning_rate)
    eta = value_at(learning_rate, rate.count)
    m = jax.tree.map(lambda trace: rounded(times(-eta, widened(trace)), trace), node[0].trace)
    return rate, MomentumState(rate.count, m)


def _rate(state: Any, count: jax.Array, learning_rate: ScalarOrSchedule | None) -> LearningRateState:
    if isinstance(state, optax.ScaleByScheduleState):
        count = _count(state.count)
    last = jnp.nan if learning_rate is None else learning_rate
    return LearningRateState(count, value_at(last, jnp.maximum(count - 1, 0)))


def _count(count: Any) -> jax.Array:
    return jnp.asarray(count, jnp.int32)


def _real(averages: Any) -> Any:
    return jax.tree.map(jnp.real, averages)


_CORES = (optax.ScaleByAdamState, optax.ScaleByRmsState, optax.ScaleByRStdDevState, optax.TraceState)
_RATES = (optax.EmptyState, optax.ScaleByScheduleState)
_NONE = optax.EmptyState
_OPTIMIZERS: Mapping[tuple[type, ...], Callable[[Any, ScalarOrSchedule | None], Any]] = {
    (optax.ScaleByAdamState, _NONE): _adam,
    (optax.ScaleByAdamState, _NONE, _NONE): _adamw,
    (optax.ScaleByAdamState, _NONE, _NONE, _NONE): _lamb,
    (optax.TraceState, _NONE): _momentum,
    (optax.ScaleByRmsState, _NONE, _NONE): _rmsprop,
    (optax.ScaleByRStdDevState, _NONE, _NONE): _rmsprop,
}
