"""Networks from modules of Flax NNX against the modules themselves: outputs, statistics, gradients and draws."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tricks import curvature, losses, masks, models
from tricks.losses import Batch

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
        self.limit = nnx.Variable(3.0)
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


@pytest.mark.parametrize("kind", ["convolutions", "lists", "stack", "custom"])
def test_params_and_state_are_plain_dicts_of_arrays_that_a_trace_draws_too(kind):
    network, *drawn = _network(kind)
    nodes = [*drawn]
    while nodes:
        node = nodes.pop()
        if isinstance(node, dict):
            assert type(node) is dict
            assert all(isinstance(key, str) for key in node)
            nodes.extend(node.values())
        else:
            assert isinstance(node, jax.Array)
            assert not node.weak_type
            assert not jnp.issubdtype(node.dtype, jax.dtypes.prng_key)
    traced = jax.eval_shape(network.init, KEY)
    assert jax.tree.map(_kind, traced) == jax.tree.map(_kind, tuple(drawn))


def _kind(leaf):
    return leaf.shape, leaf.dtype


def test_names_are_those_of_attributes_and_places():
    _, params, state = _network("custom")
    assert set(params["pair"]) == {"w", "b"}
    assert set(state) == {"calls", "frequencies", "limit"}
    _, params, _ = _network("lists")
    assert set(params["layers"]) == {str(i) for i in range(11)}
    marks = masks.weights_only(params)
    assert marks["layers"]["10"] == {"kernel": True, "bias": False}


def test_shared_parameters_are_there_once():
    _, params, _ = _network("shared")
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 16 + 4 + 4


def test_params_and_state_that_were_stored_go_on_as_they_were():
    network, params, state = _network("convolutions")
    _, state = network.apply(params, state, IMAGES, rng=OTHER)
    stored = jax.tree.map(np.asarray, (params, state))
    again = models.from_nnx(Convolutions)
    for rng in (None, OTHER):
        before, after = network.apply(params, state, IMAGES, rng=rng), again.apply(*stored, IMAGES, rng=rng)
        jax.tree.map(np.testing.assert_array_equal, before, after)


class Twice(nnx.Module):
    def __init__(self, rngs):
        self.weight = nnx.Param(jnp.ones(()))
        self.first, self.second = nnx.Dropout(0.5, rngs=rngs), nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x):
        return self.first(self.weight * x), self.second(x)


def test_draws_follow_the_key_and_differ_between_streams():
    network = models.from_nnx(Twice)
    params, state = network.init(KEY)
    ones = jnp.ones((64, 64))
    (a, b), _ = network.apply(params, state, ones, rng=KEY)
    (again, _), _ = network.apply(params, state, ones, rng=KEY)
    (c, _), _ = network.apply(params, state, ones, rng=OTHER)
    (older, _), _ = network.apply(params, state, ones, rng=jax.random.key_data(KEY))
    np.testing.assert_array_equal(a, again)
    np.testing.assert_array_equal(a, older)
    for other in (b, c):
        assert abs(float(jnp.mean((a > 0) == (other > 0))) - 0.5) < 6 * 0.5 / 64
    assert state == {}


def test_batch_statistics_and_dropout_are_chosen_apart():
    network, params, state = _network("convolutions")
    kernel = np.asarray(params["conv"]["kernel"])[:, :, 0]
    padded = np.pad(np.asarray(IMAGES), ((0, 0), (1, 1), (1, 1), (0, 0)))
    z = sum(padded[:, i : i + 4, j : j + 4] @ kernel[i, j][None] for i in range(3) for j in range(3))
    mean, var = z.mean(axis=(0, 1, 2)), z.var(axis=(0, 1, 2))

    def rest(mean, var):
        hidden = np.maximum((z - mean) / np.sqrt(var + 1e-5), 0).mean(axis=(1, 2))
        return hidden @ np.asarray(params["head"]["kernel"]) + np.asarray(params["head"]["bias"])

    outputs, new_state = network.apply(params, state, IMAGES, batch_statistics=True)
    np.testing.assert_allclose(outputs, rest(mean, var), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(new_state["norm"]["mean"], 0.1 * mean, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(new_state["norm"]["var"], 0.9 + 0.1 * var, rtol=1e-4)

    @jax.jit
    @jax.vmap
    def drop(key):
        return network.apply(params, state, IMAGES, rng=key, batch_statistics=False)

    outputs, unmoved = drop(jax.random.split(KEY, 2000))
    for name, value in state["norm"].items():
        np.testing.assert_array_equal(unmoved["norm"][name], np.broadcast_to(value, (2000, 3)))
    # The head is linear, so the mean over masks is the output without dropout.
    deviation = outputs.std(axis=0)
    assert (deviation > 0).all()
    assert (abs(outputs.mean(axis=0) - rest(0.0, 1.0)) < 5 * deviation / np.sqrt(2000)).all()


def test_apply_goes_through_hessians_and_scans():
    network, params, state = _network("convolutions")
    batch = Batch(IMAGES, jnp.arange(3) % 2)
    loss_fn = losses.objective(network.apply, losses.cross_entropy, state, batch_statistics=True)
    product = curvature.hvp(loss_fn, params, jax.tree.map(jnp.ones_like, params), [batch])
    module = Convolutions(nnx.Rngs(KEY))
    module.set_attributes(deterministic=True, use_running_average=False)
    graph, own, rest = nnx.split(module, nnx.Param, ...)
    rest = nnx.to_pure_dict(rest)

    def own_loss(own):
        return jnp.mean(losses.cross_entropy(nnx.merge(graph, own, rest)(IMAGES), batch.targets)["loss"])

    _, expected = jax.jit(lambda v: jax.jvp(jax.grad(own_loss), (own,), (v,)))(jax.tree.map(jnp.ones_like, own))
    for mine, theirs in zip(_sorted(product), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5)

    def train(state, number):
        _, state = network.apply(params, state, IMAGES, rng=jax.random.fold_in(KEY, number))
        return state, None

    scanned, _ = jax.lax.scan(train, state, jnp.arange(3))
    one_by_one = functools.reduce(lambda state, number: train(state, number)[0], range(3), state)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), scanned, one_by_one)


class Noisy(nnx.Module):
    """Noise whatever the mode."""

    def __init__(self, rngs):
        self.linear = nnx.Linear(4, 2, rngs=rngs)
        self.noise = rngs.fork()

    def __call__(self, x):
        return self.linear(x) + self.noise.normal((2,))[None]


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit])
def test_draws_in_evaluation_are_refused(wrap):
    network = models.from_nnx(Noisy)
    params, state = network.init(KEY)
    with pytest.raises(ValueError, match=r"draws from its random stream 'noise.default' in evaluation mode"):
        wrap(network.apply)(params, state, X)
    assert network.apply(params, state, X, rng=KEY)[0].shape == (6, 2)


class Switched(nnx.Module):
    """Switches and streams as arguments of the call."""

    def __init__(self, rngs, normalizes=False):
        self.linear = nnx.Linear(4, 4, rngs=rngs)
        self.norm = nnx.BatchNorm(4, rngs=rngs) if normalizes else None

    def __call__(self, x, train, *, rngs):
        x = self.linear(x)
        if self.norm is not None:
            x = self.norm(x, use_running_average=not train)
        return nnx.Dropout(0.5)(x, deterministic=not train, rngs=rngs)


def test_switches_and_streams_are_passed_to_calls_that_take_them():
    network = models.from_nnx(Switched)
    params, state = network.init(KEY)
    at_rest, _ = network.apply(params, state, X)
    np.testing.assert_allclose(at_rest, nnx.Linear(4, 4, rngs=nnx.Rngs(KEY))(X), rtol=1e-6)
    dropped, _ = network.apply(params, state, X, rng=KEY)
    kept = np.asarray(dropped) != 0
    assert 0 < kept.sum() < kept.size
    np.testing.assert_allclose(dropped[kept], 2 * at_rest[kept], rtol=1e-5)
    np.testing.assert_array_equal(network.apply(params, state, X, batch_statistics=True)[0], at_rest)
    both = models.from_nnx(functools.partial(Switched, normalizes=True))
    with pytest.raises(ValueError, match="one argument 'train' for both"):
        both.apply(*both.init(KEY), X, batch_statistics=True)


def test_a_cache_of_a_decoder_is_model_state():
    def make(rngs):
        attention = nnx.MultiHeadAttention(1, 4, 4, decode=True, rngs=rngs)
        attention.init_cache((2, 3, 4))
        return attention

    network = models.from_nnx(make)
    params, state = network.init(KEY)
    assert set(state) == {"cached_key", "cached_value", "cache_index"}
    _, state = network.apply(params, state, WORDS[:, :1], rng=KEY)
    assert int(state["cache_index"]) == 1


def _holding(**attributes):
    class Holder(nnx.Module):
        def __init__(self, rngs):
            for name, make in attributes.items():
                setattr(self, name, make())

        def __call__(self, x):
            return x

    return Holder


class Growing(Dense):
    def __call__(self, x):
        self.seen = nnx.Variable(x)
        return super().__call__(x)


class Widening(Dense):
    def __init__(self, rngs):
        super().__init__(rngs)
        self.seen = nnx.Variable(jnp.zeros(()))

    def __call__(self, x):
        self.seen.set_value(x)
        return super().__call__(x)


@pytest.mark.parametrize(
    ("make_module", "message"),
    [
        (_holding(table=lambda: nnx.Param(jnp.arange(3))), "parameter 'table' is of int32"),
        (_holding(table=lambda: nnx.Variable(jnp.ones(3))), "has no parameters"),
        (_holding(w=lambda: nnx.Param(jnp.ones(3)), k=lambda: nnx.Variable(KEY)), "random key at 'k'"),
        (_holding(w=lambda: nnx.Param(jnp.ones(3)), f=lambda: nnx.Variable(max)), "state have <built-in .* at 'f'"),
        (lambda rngs: 3, "make_module gave 3"),
        (3, "make_module is a int"),
        (Dense(nnx.Rngs(0)), "make_module is a Dense"),
        (Growing, "made or lost the variable 'seen'"),
        (Widening, r"model state 'seen' was float32\[\] and is float32\[6,4\]"),
    ],
)
def test_what_cannot_be_trained_is_named(make_module, message):
    with pytest.raises(ValueError, match=message):
        _train_once(make_module)


def _train_once(make_module):
    network = models.from_nnx(make_module)
    return network.apply(*network.init(KEY), X, rng=KEY)


def test_parameters_of_another_network_are_refused():
    network, params, state = _network("dense")
    with pytest.raises(ValueError, match="params have no 'first/bias'"):
        network.apply({"last": params["last"]}, state, X)
