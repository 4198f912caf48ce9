"""No two streams draw alike, and each is the same at every call."""

import itertools

import jax
import numpy as np

from tricks import streams

_NAMES = ("curvature", "escape", "spectrum", "features", "labels", "duplicates", "shift", "diagnosis")


def _all_of(seed):
    orders = {f"order {epoch}": streams.order(seed, epoch) for epoch in range(40)}
    samples = {f"sample {name}": streams.sample(seed, name) for name in _NAMES}
    # What a split leaves for training is what an order permutes: both begin alike for epoch 0, of other lengths.
    held_out = {"split": streams.split(seed), "training subset": streams.training_subset(seed)}
    return {name: generator.permutation(500) for name, generator in {**orders, **samples, **held_out}.items()}


def test_no_two_draw_alike():
    drawn = {(seed, name): rows for seed in range(4) for name, rows in _all_of(seed).items()}
    for (one, a), (other, b) in itertools.combinations(drawn.items(), 2):
        if one[0] == other[0] and {one[1], other[1]} == {"split", "order 0"}:
            continue
        assert (a == b).mean() < 0.05, (one, other)
    keys = [jax.random.key_data(streams.vectors(seed, name)).tolist() for seed in range(4) for name in _NAMES]
    keys += [jax.random.key_data(key).tolist() for s in range(4) for key in streams.training_keys(jax.random.key(s))]
    assert len({tuple(key) for key in keys}) == len(keys)


def test_each_is_the_same_at_every_call():
    for name, rows in _all_of(5).items():
        np.testing.assert_array_equal(rows, _all_of(5)[name], err_msg=name)


def test_samples_are_no_batches_of_an_epoch():
    # The sample of curvature once was the first thousand examples of the second epoch.
    for name in _NAMES:
        chosen = set(streams.sample(0, name).permutation(1000)[:100])
        for epoch in range(20):
            batch = streams.order(0, epoch).permutation(1000)[:100]
            assert len(chosen & set(batch)) < 40
