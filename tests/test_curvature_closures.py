"""What a loss closes over counts as it is at each call, compiles nothing where only arrays changed, and is let go."""

import functools
import gc
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tricks import curvature

KEY = jax.random.key(0)
W = jnp.array([1.0, -2.0, 0.5])
holder = types.SimpleNamespace(value=None)


@pytest.fixture
def compiled():
    events = []

    def hear(event, seconds, **_):
        if "backend_compile" in event:
            events.append(event)

    jax.monitoring.register_event_duration_secs_listener(hear)
    yield events
    jax.monitoring.unregister_event_duration_listener(hear)


def from_global(w):
    return jnp.sum(holder.value * w**2)


def by_attribute(self, w):
    return jnp.sum(self.value * w**2)


def in_a_jitted_part(w):
    # New at every call, as a part that is itself kept by `jit` is constant by JAX's own rules.
    return jnp.sum(jax.jit(lambda x: holder.value * x)(w**2))


def beside_a_loop(w):
    """What does not move with w stays in the body of the loop, within a call."""

    def body(total, i):
        scale = jax.jit(lambda: holder.value * jnp.ones(3))()
        return total + jnp.sum(jnp.where(i == 0, scale, 0.0) * w**2), None

    return jax.lax.scan(body, 0.0, jnp.arange(2))[0]


def in_a_while_loop(w):
    scale = jax.lax.while_loop(
        lambda carry: carry[0] < 1,
        lambda carry: (carry[0] + 1, carry[1] + jax.jit(lambda: holder.value * jnp.ones(3))()),
        (0, jnp.zeros(3)),
    )[1]
    return jnp.sum(scale * w**2)


def in_a_branch(w):
    scale = jax.lax.cond(
        jax.lax.stop_gradient(w[0]) > 0, lambda: jax.jit(lambda: holder.value * jnp.ones(3))(), lambda: jnp.zeros(3)
    )
    return jnp.sum(scale * w**2)


def in_a_checkpoint(w):
    return jnp.sum(jax.checkpoint(lambda x: holder.value * x**2)(w))


@jax.custom_jvp
def halved(x, scale):
    return x * scale / 2


@halved.defjvp
def _doubled(primals, tangents):
    return halved(*primals), holder.value * tangents[0]


def in_a_rule(w):
    return jnp.sum(halved(w**2, 1.0))


LOSSES = {
    "global": lambda: from_global,
    "closure": lambda: (lambda value: lambda w: jnp.sum(value * w**2))(holder.value),
    "partial": lambda: functools.partial(lambda value, w: jnp.sum(value * w**2), holder.value),
    "method": lambda: types.MethodType(by_attribute, holder),
    "jit": lambda: in_a_jitted_part,
    "scan": lambda: beside_a_loop,
    "while": lambda: in_a_while_loop,
    "cond": lambda: in_a_branch,
    "checkpoint": lambda: in_a_checkpoint,
    "rule": lambda: in_a_rule,
}
every_loss = pytest.mark.parametrize("make", LOSSES.values(), ids=LOSSES)


@every_loss
@pytest.mark.parametrize("kind", [float, np.float32, np.asarray, jnp.float32, lambda c: np.full(3, c, np.float32)])
def test_what_a_loss_closes_over_counts_as_it_is_now(make, kind):
    for value in (1.0, 3.0):
        holder.value = kind(value)
        loss_fn = make()
        expected = jax.jvp(jax.grad(lambda w, f=loss_fn: f(w)), (W,), (jnp.ones(3),))[1]
        np.testing.assert_allclose(curvature.hessian(loss_fn, W)(jnp.ones(3)), expected, rtol=1e-6)
        assert expected[0] == 2 * value


@every_loss
def test_arrays_that_changed_compile_nothing(make, compiled):
    counts = []
    for value in (1.0, 3.0, 5.0):
        holder.value = jnp.full(3, value)
        operator = curvature.hessian(make(), W)
        before = len(compiled)
        found = curvature.eigenpairs(operator, which="largest", key=KEY)
        jax.block_until_ready((found, operator(W)))
        counts.append(len(compiled) - before)
        np.testing.assert_allclose(found.values[0], 2 * value, rtol=1e-5)
    assert counts[1:] == [0, 0]


def test_every_function_sees_a_number_that_changed():
    seen = []
    for value in (1.0, 3.0):
        holder.value = value
        bowl = lambda w: from_global(w) - 10.0  # noqa: E731
        seen.append(
            [
                float(curvature.hvp(bowl, W, jnp.ones(3))[0]) / 2,
                float(curvature.gauss_newton(lambda w: jnp.sqrt(holder.value) * w, lambda z: jnp.sum(z**2), W)(W)[0])
                / 2,
                curvature.classify(bowl, 0 * W, key=KEY).largest / 2,
                float(curvature.escape(lambda w: -from_global(w), 0 * W, key=KEY, max_products=20)[1].eigenvalue) / -2,
                float(curvature.error_surface(from_global, 0 * W, (W / W, 0 * W), points=3).losses[0, 0]) / 3,
                curvature.keskar_sharpness(from_global, 0 * W, key=KEY, iterations=50).value / 3e-4,
            ]
        )
    np.testing.assert_allclose(seen, [[1.0] * 6, [3.0] * 6], rtol=1e-4)


def test_other_batches_and_another_object_compile_nothing(compiled):
    def made(shift, count):
        batches = [(jnp.ones((n, 3)), jnp.full(n, shift)) for n in (4, 4, count)]
        loss_fn = lambda w, batch: jnp.mean((batch[0] @ w - batch[1] - shift) ** 2)  # noqa: E731
        new, found = curvature.escape(loss_fn, W, batches, held_out=batches[:1], key=KEY)
        operator = curvature.hessian(loss_fn, W, batches)
        return operator.loss, operator(W), new, found

    shift = jnp.float32(1.0)
    jax.block_until_ready(made(shift, 2))
    before = len(compiled)
    jax.block_until_ready(made(shift + 1, 2))
    # The sum above.
    assert len(compiled) - before <= 1
    jax.block_until_ready(made(shift, 1))
    assert len(compiled) > before + 1


def _live():
    gc.collect()
    return sum(array.nbytes for array in jax.live_arrays())


@pytest.mark.parametrize("nested", [False, True])
def test_nothing_outlives_the_references_of_the_caller(nested):
    def used(value):
        data = jnp.full(2**20, value)
        inner = jax.jit(lambda: data.sum()) if nested else lambda: data.sum()
        loss_fn = lambda w: jnp.sum(w**2) + 0 * inner()  # noqa: E731
        operator = curvature.hessian(loss_fn, W)
        curvature.eigenpairs(operator, key=KEY)
        curvature.escape(loss_fn, W, key=KEY)
        curvature.classify(loss_fn, W, key=KEY)
        curvature.error_surface(loss_fn, W, (W, W), points=2)
        curvature.keskar_sharpness(loss_fn, W, key=KEY)
        return float(operator.loss)

    used(0.0)
    before = _live()
    used(1.0)
    used(2.0)
    assert _live() - before < 2**20


def test_inside_a_trace_closures_may_hold_what_is_traced():
    @jax.jit
    def largest(scale, w):
        return curvature.eigenpairs(
            curvature.hessian(lambda v: jnp.sum(scale * v**2), w), which="largest", key=KEY
        ).values[0]

    assert [round(float(largest(scale, W)), 3) for scale in (1.0, 3.0)] == [2, 6]
    slope = jax.grad(lambda scale: jnp.sum(curvature.hessian(lambda v: jnp.sum(scale * v**2), W).apply(W)))(1.0)
    np.testing.assert_allclose(slope, 2 * W.sum(), rtol=1e-6)


def test_a_part_of_the_parameters_may_be_fixed_integers():
    params = {"w": W, "steps": jnp.int32(3)}
    operator = curvature.hessian(lambda p: p["steps"] * jnp.sum(p["w"] ** 2), params, mask={"w": True, "steps": False})
    assert operator({"w": jnp.ones(3), "steps": None})["w"].tolist() == [6, 6, 6]


@pytest.mark.parametrize("inside", [False, True])
def test_how_random_bits_are_made_is_a_part_of_the_function(inside):
    key = jax.random.key(7)
    found = []
    for flag in (True, False, True):

        def loss_fn(w, flag=flag):
            with jax.threefry_partitionable(flag if inside else jax.config.jax_threefry_partitionable):
                return jnp.sum(jnp.where(jax.random.bernoulli(key, 0.5, (8,)), w**2, 0.0))

        with jax.threefry_partitionable(flag):
            found.append(curvature.hessian(loss_fn, jnp.ones(8))(jnp.ones(8)).tolist())
            assert found[-1] == curvature.hvp(loss_fn, jnp.ones(8), jnp.ones(8)).tolist()
    assert found[0] == found[2] != found[1]


@pytest.mark.parametrize("recompute", [False, True])
def test_complex_numbers_inside_a_loss_are_taken(recompute):
    def loss_fn(w):
        return jnp.sum(jnp.abs(jnp.fft.fft(w**2)) ** 2)

    expected = jax.jvp(jax.grad(loss_fn), (W,), (jnp.ones(3),))[1]
    operator = curvature.hessian(loss_fn, W, recompute=recompute)
    np.testing.assert_allclose(operator(jnp.ones(3)), expected, rtol=1e-5)


def test_an_operator_is_its_function_as_it_was_when_it_was_made(compiled):
    def scaled(v):
        return holder.value * v

    holder.value = 2.0
    first = curvature.Operator(scaled, W)
    assert first(W).tolist() == [2, -4, 1]
    np.testing.assert_allclose(curvature.eigenpairs(first, key=KEY).values, [2], rtol=1e-5)
    holder.value = 3.0
    assert first(W).tolist() == [2, -4, 1]
    np.testing.assert_allclose(curvature.eigenpairs(curvature.Operator(scaled, W), key=KEY).values, [3], rtol=1e-5)
    compilations = []
    for value in (3.0, 5.0):
        holder.value = jnp.full(3, value)
        compiled.clear()
        operator = curvature.Operator(scaled, W)
        np.testing.assert_allclose(curvature.trace(operator, key=KEY, probes=4).mean, 3 * value, rtol=1e-5)
        np.testing.assert_allclose(curvature.dense(operator), value * np.eye(3), rtol=1e-6)
        compilations.append(len(compiled))
    assert compilations[1] == 0 < compilations[0]


def test_an_operator_keeps_nothing_of_its_function():
    def used(number):
        data = jnp.full(2**20, float(number))
        operator = curvature.Operator(lambda v: 2 * v + 0 * jnp.sum(data), W)
        operator(W)
        curvature.dense(operator)

    used(0)
    gc.collect()
    before = sum(array.nbytes for array in jax.live_arrays())
    for number in range(3):
        used(number)
    gc.collect()
    assert sum(array.nbytes for array in jax.live_arrays()) - before < 2**20
