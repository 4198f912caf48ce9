"""Networks from modules of Flax Linen and from pairs of functions against those themselves."""

import functools
import re

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

from conftest import ROOT
from tricks import models

KEY, OTHER = jax.random.key(0), jax.random.key(1)
X = jnp.asarray(np.random.default_rng(0).normal(1.0, 2.0, (6, 4)), jnp.float32)
equal = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)


class Together(linen.Module):
    """One switch for all, as most examples of Linen have it."""

    @linen.compact
    def __call__(self, x, train):
        x = linen.BatchNorm(use_running_average=not train, momentum=0.9)(linen.Dense(4)(x))
        return linen.Dense(2)(linen.Dropout(0.5)(linen.tanh(x), deterministic=not train))


class Apart(linen.Module):
    @linen.compact
    def __call__(self, x, *, deterministic, use_running_average):
        x = linen.BatchNorm(use_running_average=use_running_average, momentum=0.9)(linen.Dense(4)(x))
        return linen.Dense(2)(linen.Dropout(0.5)(linen.tanh(x), deterministic=deterministic))


class AsField(linen.Module):
    train: bool = False

    @linen.compact
    def __call__(self, x):
        x = linen.BatchNorm(use_running_average=not self.train, momentum=0.9)(linen.Dense(4)(x))
        return linen.Dense(2)(linen.Dropout(0.5, deterministic=not self.train)(linen.tanh(x)))


class Plain(linen.Module):
    @linen.compact
    def __call__(self, x):
        x = linen.Dense(2)(jnp.concatenate([x["a"], linen.Embed(3, 2)(x["b"])], axis=-1))
        self.sow("intermediates", "outputs", x)
        return x


class Noisy(linen.Module):
    @linen.compact
    def __call__(self, x, training=False):
        noise = jax.random.normal(self.make_rng("noise"), x.shape) if training else 0.0
        return linen.Dropout(0.5, deterministic=not training)(linen.Dense(2)(x + noise))


@pytest.mark.parametrize("module", [Together(), Apart(), AsField()], ids=["together", "apart", "as field"])
@pytest.mark.parametrize("rng", [None, OTHER])
@pytest.mark.parametrize("batch_statistics", [None, False, True])
def test_linen_modules_give_what_they_give_themselves(module, rng, batch_statistics):
    network = models.from_linen(module, jax.ShapeDtypeStruct(X.shape, X.dtype))
    params, state = network.init(KEY)
    if isinstance(module, Together):
        own = module.init(KEY, X, train=False)
        jax.tree.map(equal, {"params": params, **state}, own)
    outputs, new_state = network.apply(params, state, X, rng=rng, batch_statistics=batch_statistics)
    statistics = rng is not None if batch_statistics is None else batch_statistics
    expected, changed = Apart().apply(
        {"params": params, **state},
        X,
        deterministic=rng is None,
        use_running_average=not statistics,
        rngs={"dropout": jax.random.fold_in(OTHER, 0)},
        mutable=["batch_stats"],
    )
    equal(outputs, expected)
    jax.tree.map(equal, new_state, changed or state)
    assert (new_state is state) == (rng is None and not statistics)


def test_linen_modules_without_switches_take_dictionaries_and_keep_nothing_that_they_sow():
    x = {"a": X, "b": jnp.arange(6) % 3}
    network = models.from_linen(Plain(), x)
    params, state = network.init(KEY)
    assert state == {}
    outputs, state = network.apply(params, state, x, rng=OTHER)
    assert state == {}
    equal(outputs, Plain().apply({"params": params}, x))
    traced = jax.eval_shape(network.init, KEY)
    assert jax.tree.structure(traced) == jax.tree.structure((params, state))


def test_streams_of_linen_are_named():
    network = models.from_linen(Noisy(), X, streams=("dropout", "noise"))
    params, state = network.init(KEY)
    outputs, _ = network.apply(params, state, X, rng=OTHER)
    keys = {name: jax.random.fold_in(OTHER, place) for place, name in enumerate(("dropout", "noise"))}
    equal(outputs, Noisy().apply({"params": params}, X, training=True, rngs=keys))
    without = models.from_linen(Noisy(), X)
    with pytest.raises(ValueError, match=r"streams are \('dropout',\); allowed: all that the module draws from"):
        without.apply(params, state, X, rng=OTHER)


class Unheeding(linen.Module):
    @linen.compact
    def __call__(self, x):
        return linen.Dropout(0.5, deterministic=False)(linen.Dense(2)(x))


def test_draws_of_linen_in_evaluation_are_refused():
    network = models.from_linen(Unheeding(), X)
    params, state = network.init(KEY)
    assert network.apply(params, state, X, rng=OTHER)[0].shape == (6, 2)
    with pytest.raises(ValueError, match="draws in evaluation mode"):
        network.apply(params, state, X)


class Empty(linen.Module):
    def __call__(self, x):
        return x


@pytest.mark.parametrize(
    ("module", "message"), [(Empty(), "has no parameters"), (Empty, "module is <class"), (3, "module is 3")]
)
def test_linen_modules_that_are_none(module, message):
    with pytest.raises(ValueError, match=message):
        models.from_linen(module, X).init(KEY)


def _equinox():
    def make(key):
        return eqx.partition(
            eqx.nn.Sequential([eqx.nn.Linear(4, 8, key=key), eqx.nn.Dropout(0.5), eqx.nn.Linear(8, 2, key=key)]),
            eqx.is_array,
        )

    _, static = make(KEY)

    def apply(params, model_state, x, *, rng):
        model = eqx.nn.inference_mode(eqx.combine(params, static), rng is None)
        keys = None if rng is None else jax.random.split(rng, len(x))
        return jax.vmap(lambda x, key: model(x, key=key), in_axes=(0, None if rng is None else 0))(x, keys), model_state

    return lambda key: (make(key)[0], {}), apply


def test_equinox_modules_become_dicts_and_give_what_they_give_themselves():
    init, apply = _equinox()
    network = models.from_functions(init, apply)
    params, state = network.init(KEY)
    assert params["layers"]["0"]["weight"].shape == (8, 4)
    for rng in (None, OTHER):
        equal(network.apply(params, state, X, rng=rng)[0], apply(init(KEY)[0], {}, X, rng=rng)[0])
    gradients = jax.grad(lambda params: jnp.sum(network.apply(params, state, X)[0] ** 2))(params)
    own = jax.grad(lambda model: jnp.sum(apply(model, {}, X, rng=None)[0] ** 2))(init(KEY)[0])
    for place, name in (("0", "weight"), ("0", "bias"), ("2", "weight"), ("2", "bias")):
        equal(gradients["layers"][place][name], getattr(own.layers[int(place)], name))


def _init(key):
    return {"w": jax.random.normal(key, (4, 2))}, [jnp.zeros(())]


def _apply(params, model_state, x, *, rng, batch_statistics):
    (calls,) = model_state
    return x @ params["w"] * (2.0 if batch_statistics else 1.0), [calls + 1]


def test_plain_dicts_stay_as_they_are_and_evaluation_leaves_the_state():
    seen = []

    def apply(params, *args, **kwargs):
        seen.append(params)
        return _apply(params, *args, **kwargs)

    network = models.from_functions(_init, apply)
    params, state = network.init(KEY)
    assert state == {"0": 0.0}
    assert network.apply(params, state, X)[1] is state
    assert seen[-1] is params
    outputs, new_state = network.apply(params, state, X, batch_statistics=True)
    equal(outputs, 2 * X @ params["w"])
    assert new_state == {"0": 1.0}
    outputs, _ = network.apply(params, state, X, rng=OTHER, batch_statistics=False)
    equal(outputs, X @ params["w"])


def _without(params, model_state, x, *, rng):
    return x @ params["w"], model_state


@pytest.mark.parametrize(
    ("init", "apply", "message"),
    [
        (lambda key: {"w": jnp.ones(2)}, _apply, r"init gave a dict; allowed: \(params, model_state\)"),
        (lambda key: ({"f": max}, {}), _apply, "params have <built-in function max> at 'f'; .* eqx.partition"),
        (lambda key: ({"w": jnp.arange(2)}, {}), _apply, "parameter 'w' is of int32"),
        (lambda key: ({}, {}), _apply, "has no parameters"),
        (_init, lambda params, x: x, r"apply takes \(params, x\); allowed: apply\(params"),
        (_init, lambda params, state, x, *, rng: x @ params["w"], "apply gave a .*; allowed: .outputs, model_state"),
        (_init, lambda params, state, x, *, rng: (x, {}), "model_state are of structure"),
        (_init, lambda params, state, x, *, rng: (x, [jnp.ones(3)]), "'0' was float32.. and is float32.3."),
        (
            lambda key: (_init(key)[0], {"n": 0}),
            lambda params, state, x, *, rng: (x, {"n": 0.5}),
            "'n' was int32.. and",
        ),
    ],
)
def test_functions_that_are_not_as_agreed_are_named(init, apply, message):
    with pytest.raises(ValueError, match=message):
        _train_once(init, apply)


def _train_once(init, apply):
    network = models.from_functions(init, apply)
    return network.apply(*network.init(KEY), X, rng=OTHER)


def test_statistics_that_cannot_be_chosen_apart_are_refused():
    network = models.from_functions(_init, _without)
    params, state = network.init(KEY)
    with pytest.raises(ValueError, match="apply takes no batch_statistics to tell it from dropout"):
        network.apply(params, state, X, batch_statistics=True)
    stateless = models.from_functions(lambda key: (_init(key)[0], {}), _without)
    equal(stateless.apply(params, {}, X, batch_statistics=True)[0], X @ params["w"])


EXAMPLES = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "networks.md").read_text(), re.S)


@pytest.mark.parametrize(
    ("example", "printed"),
    list(
        zip(
            EXAMPLES,
            [
                "(32, 10) ['conv', 'head', 'norm'] ['norm']\n",
                "(32, 10) ['BatchNorm_0', 'Conv_0', 'Dense_0'] ['batch_stats']\n",
                "(32, 10) ['0', '3'] []\n",
            ],
            strict=True,
        )
    ),
    ids=["nnx", "linen", "equinox"],
)
def test_examples_of_the_page_run_as_written(example, printed, capsys):
    # As a module of its own, in whose names Linen looks for its annotations.
    exec(compile(example, "docs/networks.md", "exec"), {"__name__": "example"})
    assert capsys.readouterr().out == printed
