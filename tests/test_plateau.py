"""When a loss counts as stuck, with planted curves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tricks import plateau


def _verdicts(values, **options):
    def body(state, value):
        return plateau.update(state, value, **options)

    state, found = jax.jit(lambda v: jax.lax.scan(body, plateau.init(), v))(jnp.asarray(values, jnp.float32))
    return state, np.asarray(found)


def test_a_falling_loss_is_not_stuck_and_a_flat_one_is():
    falling, flat = 0.98 ** np.arange(200), np.full(200, 2.3)
    assert not _verdicts(falling, window=10)[1].any()
    state, found = _verdicts(flat, window=10)
    assert np.flatnonzero(found).tolist() == list(range(19, 200, 10))
    assert int(state.windows) == 19


def test_a_window_is_compared_with_the_one_before():
    values = [4.0, 4.0, 3.0, 3.0, 2.98, 2.98, 1.0, 1.0, 1.0, 1.2]
    assert np.flatnonzero(_verdicts(values, window=2)[1]).tolist() == [5, 9]
    assert not _verdicts(values, window=2, min_improvement=0.001)[1][5]


@pytest.mark.parametrize("seed", range(5))
def test_noise_is_averaged(seed):
    noise = np.random.default_rng(seed).normal(size=2000)
    falling = np.exp(-np.arange(2000) / 800)
    assert not _verdicts(falling * (1 + 0.2 * noise), window=200, min_improvement=0.05)[1].any()
    assert _verdicts(1 + 0.2 * noise, window=200, min_improvement=0.05)[1].sum() == 9


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_never_a_plateau(bad):
    values = [1.0, 1.0, bad, 1.0, 1.0, 1.0]
    assert np.flatnonzero(_verdicts(values, window=1)[1]).tolist() == [1, 4, 5]


def test_nothing_left_to_gain_is_a_plateau():
    assert _verdicts(np.zeros(8), window=2)[1].tolist() == [False] * 3 + [True, False] * 2 + [True]
    assert _verdicts(np.ones(4), window=1, min_improvement=0.0)[1].tolist() == [False, True, True, True]


def test_negative_losses_count_their_size():
    assert not _verdicts([-1.0, -1.1, -1.3], window=1)[1].any()
    assert _verdicts([-1.0, -1.001], window=1)[1][1]


def test_state_does_not_change_its_type():
    state, _ = plateau.update(plateau.init(), jnp.float32(1), window=3)
    assert jax.tree.map(lambda x: (x.dtype, x.weak_type), state) == jax.tree.map(
        lambda x: (x.dtype, x.weak_type), plateau.init()
    )


def test_a_value_may_differ_between_devices_of_a_shard_map():
    mesh = jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = jax.sharding.PartitionSpec("data")

    def found(values):
        return plateau.update(plateau.init(), values.sum(), 1)[1][None]

    assert not jax.jit(jax.shard_map(found, mesh=mesh, in_specs=spec, out_specs=spec))(jnp.ones(4)).any()
