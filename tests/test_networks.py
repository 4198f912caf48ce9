"""Anybody's networks against their own libraries: outputs, statistics, gradients and draws."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tricks import models

KEY, OTHER = jax.random.key(0), jax.random.key(1)
RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.normal(1.0, 2.0, (6, 4)), jnp.float32)
IMAGES = jnp.asarray(RNG.normal(1.0, 2.0, (3, 4, 4, 1)), jnp.float32)
WORDS = jnp.asarray(RNG.normal(0.0, 1.0, (2, 3, 4)), jnp.float32)


class Dense(nnx.Module):
    def __init__(self, rngs):
        self.first = nnx.Linear(4, 8, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.last = nnx.Linear(8, 2, rngs=rngs)

    def __call__(self, x):
        return self.last(self.dropout(nnx.relu(self.first(x))))


class Convolutions(nnx.Module):
    def __init__(self, rngs):
        self.conv = nnx.Conv(1, 3, kernel_size=(3, 3), use_bias=False, rngs=rngs)
        self.norm = nnx.BatchNorm(3, momentum=0.9, rngs=rngs)
        self.dropout = nnx.Dropout(0.25, rngs=rngs)
        self.head = nnx.Linear(3, 2, rngs=rngs)

    def __call__(self, x):
        x = nnx.relu(self.norm(self.conv(x)))
        return self.head(self.dropout(x.mean(axis=(1, 2))))


class Attention(nnx.Module):
    def __init__(self, rngs):
        # Its switch is None until somebody sets it.
        self.attention = nnx.MultiHeadAttention(2, 4, 4, dropout_rate=0.5, decode=False, rngs=rngs)
        self.norm = nnx.LayerNorm(4, rngs=rngs)

    def __call__(self, x):
        return self.norm(x + self.attention(x))


class Tied(nnx.Module):
    def __init__(self, rngs):
        self.there = nnx.Linear(4, 4, rngs=rngs)
        self.back = self.there
        self.again = nnx.Linear(4, 4, rngs=rngs)
        self.again.kernel = self.there.kernel

    def __call__(self, x):
        return self.again(nnx.tanh(self.back(nnx.tanh(self.there(x)))))


class InLists(nnx.Module):
    def __init__(self, rngs):
        self.layers = nnx.List([nnx.Linear(4, 4, rngs=rngs) for _ in range(11)])
        self.named = nnx.Dict({"a": nnx.Linear(4, 2, rngs=rngs)})

    def __call__(self, x):
        for layer in self.layers:
            x = nnx.tanh(layer(x))
        return self.named["a"](x)


class Stack(nnx.Module):
    def __init__(self, rngs):
        @nnx.split_rngs(splits=3)
        @nnx.vmap(in_axes=0, out_axes=0)
        def make(rngs):
            return Block(rngs)

        self.blocks = make(rngs)

    def __call__(self, x):
        @nnx.scan(in_axes=(0, nnx.Carry), out_axes=nnx.Carry)
        def forward(block, x):
            return block(x)

        return forward(self.blocks, x)


class Block(nnx.Module):
    def __init__(self, rngs):
        self.linear = nnx.Linear(4, 4, rngs=rngs)
        self.norm = nnx.BatchNorm(4, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x):
        return x + self.dropout(nnx.tanh(self.norm(self.linear(x))))


class Calls(nnx.Variable):
    pass


class Custom(nnx.Module):
    """Variables, streams and attributes of its own; what it sows is not of this project."""

    def __init__(self, rngs):
        self.frequencies = rngs.params.normal((4, 3))
        self.pair = nnx.Param({"w": rngs.params.normal((6, 2)), "b": jnp.zeros(2)})
        self.calls = Calls(jnp.zeros((), jnp.int32))
        self.noise = nnx.RngStream(rngs.noise(), tag="noise")
        self.deterministic = False

    def __call__(self, x):
        self.calls[...] += 1
        if not self.deterministic:
            x = x + 0.1 * self.noise.normal(x.shape)
        x = x @ self.frequencies
        self.sow(nnx.Intermediate, "before", x)
        pair = self.pair.get_value()
        return jnp.concatenate([jnp.sin(x), jnp.cos(x)], axis=-1) @ pair["w"] + pair["b"][None]


class Dictionary(nnx.Module):
    def __init__(self, rngs):
        self.embed = nnx.Embed(5, 4, rngs=rngs)
        self.norm = nnx.SpectralNorm(nnx.Linear(8, 2, rngs=rngs), rngs=rngs)

    def __call__(self, x):
        return self.norm(jnp.concatenate([self.embed(x["kind"]), x["values"]], axis=-1))


class Recurrent(nnx.Module):
    def __init__(self, rngs):
        # It asks its stream for a key at every call, for a carry that is zero.
        self.rnn = nnx.RNN(nnx.GRUCell(4, 3, rngs=rngs), rngs=rngs)

    def __call__(self, x):
        return self.rnn(x)[:, -1]


def _sequence(rngs):
    return nnx.Sequential(nnx.Linear(4, 3, rngs=rngs), nnx.relu, nnx.LoRALinear(3, 2, lora_rank=1, rngs=rngs))


KINDS = {
    "dense": (Dense, X),
    "convolutions": (Convolutions, IMAGES),
    "attention": (Attention, WORDS),
    "shared": (Tied, X),
    "lists": (InLists, X),
    "sequence": (_sequence, X),
    "stack": (Stack, X),
    "custom": (Custom, X),
    "dictionary": (Dictionary, {"values": X, "kind": jnp.arange(6) % 5}),
    "recurrent": (Recurrent, WORDS),
}
kinds = pytest.mark.parametrize("kind", KINDS)


@functools.cache
def _network(kind):
    network = models.from_nnx(KINDS[kind][0])
    return network, *network.init(KEY)


@functools.cache
def _own(kind):
    """The module as Flax makes it, in its two modes, with the keys that a step would give its streams."""
    module = KINDS[kind][0](nnx.Rngs(KEY))
    for place, (_, key) in enumerate(nnx.to_flat_state(nnx.state(module, nnx.RngKey))):
        planted = jax.random.fold_in(OTHER, place)
        key.set_value(jax.random.split(planted, key.shape) if key.shape else planted)
    for _, count in nnx.to_flat_state(nnx.state(module, nnx.RngCount)):
        count.set_value(jnp.zeros_like(count.get_value()))
    module.eval()
    evaluated = nnx.split(module)
    module.train()
    return evaluated, nnx.split(module)


@kinds
def test_outputs_state_and_gradients_are_those_of_the_module_itself(kind):
    network, params, state = _network(kind)
    x = KINDS[kind][1]

    def squared(outputs):
        return jnp.mean(outputs**2)

    @jax.jit
    def ours(params, state):
        evaluated, same = network.apply(params, state, x)

        def loss(params):
            outputs, new_state = network.apply(params, state, x, rng=OTHER)
            return squared(outputs), (outputs, new_state)

        gradients, (trained, new_state) = jax.grad(loss, has_aux=True)(params)
        return evaluated, trained, _sorted(same), _sorted(new_state), _sorted(gradients)

    @jax.jit
    def own(at_rest, in_training):
        evaluated = _silently(nnx.merge(graphs[0], at_rest), x)
        module = nnx.merge(graphs[1], in_training)
        state = _state(module)

        def loss(module):
            outputs = _silently(module, x)
            return squared(outputs), outputs

        gradients, trained = nnx.grad(loss, has_aux=True)(module)
        return evaluated, trained, state, _state(module), jax.tree.leaves(nnx.to_pure_dict(gradients))

    graphs, states = zip(*_own(kind), strict=True)
    for mine, theirs in zip(ours(params, state), own(*states), strict=True):
        jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=2e-5, atol=2e-6), mine, theirs)
    assert network.apply(params, state, x)[1] is state


def _silently(module, x):
    """The module applied, with what it sows caught as Flax wants it."""
    return nnx.capture(module, nnx.Intermediate)(x)[0] if isinstance(module, Custom) else module(x)


def _state(module):
    others = nnx.state(module, nnx.Not(nnx.Any(nnx.Param, nnx.RngState, nnx.Intermediate)))
    return jax.tree.leaves(nnx.to_pure_dict(others))


def _sorted(tree):
    """Leaves with the places in lists in order of their numbers, as Flax has them."""
    if not isinstance(tree, dict):
        return jax.tree.leaves(tree)
    keys = sorted(tree, key=lambda key: (int(key) if key.isdigit() else -1, key))
    return [leaf for key in keys for leaf in _sorted(tree[key])]
