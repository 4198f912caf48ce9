"""Verdicts on more than a thousand planted points, none of them wrong; their evidence; held-out batches; networks."""

import dataclasses
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tricks import curvature, models
from tricks.curvature import spectrum_ends

KINDS = ("minimum", "maximum", "saddle", "degenerate", "flat maximum", "flat saddle", "not critical")
TRUTH = {"flat maximum": "degenerate", "flat saddle": "saddle"}


def quadratic(point, batch):
    matrix, center = batch
    away = point - center[0]
    return away @ (matrix[0] @ away) / 2


def _planted(kind, n, rng):
    """A quadratic's matrix, its center, a point, and the eigenvalues; scales over many orders of magnitude."""
    magnitudes = np.exp(rng.uniform(rng.uniform(-5.7, 0), 0, n))
    magnitudes[0] = 1
    signs = np.where(rng.permutation(n) < rng.integers(1, n), -1, 1)
    if kind in ("minimum", "degenerate"):
        signs = np.ones(n)
    if kind in ("maximum", "flat maximum"):
        signs = -np.ones(n)
    values = magnitudes * signs
    if kind in ("degenerate", "flat maximum", "flat saddle"):
        values[1 + rng.permutation(n - 1)[: rng.integers(1, n - 2)]] = 0
    if kind == "flat saddle":
        values[:3] = 1, -0.5, 0
    values *= 10.0 ** rng.uniform(-4, 4)
    q, _ = np.linalg.qr(rng.normal(size=(n, n)))
    matrix = (q * values) @ q.T
    center = (10.0 ** rng.uniform(-2, 2) * rng.normal(size=n)).astype(np.float32)
    point = center.copy()
    if kind == "not critical":
        point = point + 10.0 ** rng.uniform(-2, 1) * (1 + np.linalg.norm(center)) * rng.normal(size=n) / n**0.5
    return (matrix + matrix.T) / 2, center, point, values


def _classify(matrix, center, point, dtype, **options):
    batch = jnp.asarray(matrix[None], dtype), jnp.asarray(center[None], dtype)
    return curvature.classify(quadratic, jnp.asarray(point, dtype), [batch], **options)


@pytest.mark.parametrize(
    ("n", "cases", "dense_up_to", "dtype"),
    [(24, 560, 1024, np.float32), (24, 350, 0, np.float32), (24, 70, 0, np.float64), (24, 70, 1024, np.float64)],
)
def test_no_verdict_on_a_planted_point_is_wrong(n, cases, dense_up_to, dtype):
    rng = np.random.default_rng(cases)
    found, wrong = Counter(), []
    with jax.enable_x64(dtype == np.float64):
        for case in range(cases):
            kind = KINDS[case % len(KINDS)]
            matrix, center, point, values = _planted(kind, n, rng)
            key = jax.random.key(case)
            result = _classify(matrix, center, point, dtype, key=key, dense_up_to=dense_up_to)
            truth = TRUTH.get(kind, kind)
            found[result.verdict == "undecided", truth == "degenerate"] += 1
            if result.verdict not in (truth, "undecided"):
                wrong.append((kind, result.verdict, result.reason, np.sort(values)))
    assert not wrong, wrong[:3]
    assert found[True, False] <= 0.1 * (found[True, False] + found[False, False])


def _is_right(result, values):
    """Whether a verdict holds at the tolerance that it names."""
    if result.verdict == "saddle":
        return values.min() < 0 < values.max()
    if result.verdict == "minimum":
        return values.min() > 0
    if result.verdict == "maximum":
        return values.max() < 0
    both = values.min() < -result.tolerance and values.max() > result.tolerance
    return result.verdict == "degenerate" and abs(values).min() <= result.tolerance and not both


@pytest.mark.parametrize(("n", "dense_up_to", "cases"), [(24, 1024, 150), (24, 0, 60), (150, 0, 40)])
def test_spectra_over_eight_orders_of_magnitude(n, dense_up_to, cases):
    rng = np.random.default_rng(n + dense_up_to)
    held, undecided = Counter(), 0
    for case in range(cases):
        magnitudes = 10.0 ** rng.uniform(-8, 0, n)
        values = magnitudes * [np.ones(n), -np.ones(n), rng.choice([-1, 1], n), 1 - 2 * np.eye(n)[3]][case % 4]
        values[0] = 1 if case % 4 != 1 else -1
        q, _ = np.linalg.qr(rng.normal(size=(n, n)))
        matrix = ((q * values) @ q.T).astype(np.float32)
        matrix = (matrix + matrix.T) / 2
        values = np.linalg.eigvalsh(matrix.astype(np.float64))
        center = rng.normal(size=n)
        result = _classify(matrix, center, center, np.float32, key=jax.random.key(case), dense_up_to=dense_up_to)
        undecided += result.verdict == "undecided"
        assert result.verdict == "undecided" or _is_right(result, values), (result.verdict, result.reason, values)
        assert result.bounds[0] <= values[0] + 1e-6 <= result.bounds[1] + 2e-6
        positive, negative = np.sum(values > result.tolerance), np.sum(values < -result.tolerance)
        truths = {
            "positive": positive,
            "negative": negative,
            "zero": n - positive - negative,
            "minimum_ratio": np.mean(values > 0),
            "significant_minimum_ratio": positive / (positive + negative),
        }
        for name, truth in truths.items():
            interval = getattr(result, name)
            held[name] += interval.lower - 1e-5 * n <= truth <= interval.upper + 1e-5 * n
    # 95 % of them, but for three standard deviations of that count.
    assert min(held.values()) >= 0.95 * cases - 3 * (0.95 * 0.05 * cases) ** 0.5, held
    assert undecided <= 0.15 * cases


def mirrored(point, batch):
    # A reflection makes the eigenvectors dense at the cost of a few vectors.
    values, mirror = (leaf[0] for leaf in batch)
    turned = point - 2 * mirror * jnp.dot(mirror, point)
    return jnp.sum(values * turned**2) / 2


@pytest.mark.parametrize(("low", "verdict"), [(0.02, "minimum"), (-0.01, "saddle"), (0.0, "degenerate")])
def test_five_thousand_parameters(low, verdict):
    values = np.concatenate([[low], np.linspace(0.05, 1, 4999)]).astype(np.float32)
    mirror = np.random.default_rng(0).normal(size=5000).astype(np.float32)
    mirror /= np.linalg.norm(mirror)
    batch = jnp.asarray(values[None]), jnp.asarray(mirror[None])
    result = curvature.classify(mirrored, jnp.zeros(5000), [batch], key=jax.random.key(0))
    assert result.verdict == verdict
    assert result.smallest == pytest.approx(low, abs=1e-3)
    assert result.largest == pytest.approx(1, abs=1e-3)
    assert result.confidence == 1 if verdict == "saddle" else 0.99 <= result.confidence < 1
    assert result.positive.lower <= 4999 + (low > 0) <= result.positive.upper + 1e-2


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    ("values", "further", "tolerances"),
    [
        (np.linspace(-1, 1, 60), -1, [1e-3]),
        (np.linspace(-1, 1, 60), -1.5, [1e-3, 1e-5]),
        # A sign that none of those found has, a tenth of its size beside the largest.
        (np.linspace(0.001, 1, 60), -5e-5, [1e-3, 5e-6]),
        (np.linspace(-1e-3, 1, 60), -1e-3, [1e-3]),
    ],
)
def test_a_search_is_repeated_only_where_something_else_was_seen(monkeypatch, sign, values, further, tolerances):
    asked = []

    def watched(*arguments, tol, **options):
        asked.append(tol)
        return curvature.eigenpairs(*arguments, tol=tol, **options)

    monkeypatch.setattr(spectrum_ends, "eigenpairs", watched)
    diagonal = jnp.asarray(sign * values, jnp.float32)
    operator = curvature.Operator(jax.tree_util.Partial(jnp.multiply, diagonal), jnp.zeros(60))
    seen = np.sort(sign * np.array([further, *values]))
    found = spectrum_ends._search(operator, jax.random.key(0), seen, 1e-3)
    assert asked == pytest.approx(tolerances)
    np.testing.assert_allclose(found.values, [diagonal.min(), diagonal.max()], atol=2e-3)


@pytest.mark.parametrize("seed", range(5))
def test_a_best_fit_at_zero_is_critical_though_its_sums_are_rounded(seed):
    rng = np.random.default_rng(seed)
    scales = 10 ** rng.uniform(-2, 2, 2)
    x = scales[0] * np.column_stack([rng.normal(size=(2000, 6)), np.ones(2000)])
    basis, _ = np.linalg.qr(x)
    y = rng.normal(size=2000)
    x, y = jnp.float32(x), jnp.float32(scales[1] * (y - basis @ (basis.T @ y)))

    def loss_fn(w):
        return jnp.mean((x @ w - y) ** 2)

    assert jnp.linalg.norm(jax.grad(loss_fn)(jnp.zeros(7))) > 0
    assert curvature.classify(loss_fn, jnp.zeros(7), key=jax.random.key(seed)).verdict == "minimum"
    # A slope that is worth more than the last digits of the loss is one.
    tilt = 1e-3 * float(jnp.sqrt(loss_fn(jnp.zeros(7)))) * scales[0]
    tilted = curvature.classify(lambda w: loss_fn(w) + tilt * w[0], jnp.zeros(7), key=jax.random.key(seed))
    assert tilted.verdict == "not critical"


def test_where_the_gradient_decides_a_dozen_products_are_enough():
    mirror = np.random.default_rng(0).normal(size=5000)
    batch = jnp.linspace(-0.5, 2, 5000)[None], jnp.asarray(mirror / np.linalg.norm(mirror), jnp.float32)[None]
    options = {"key": jax.random.key(0), "gradient_tolerance": None}
    brief, whole = (
        curvature.classify(mirrored, 3 * jnp.ones(5000), [batch], spectrum=spectrum, **options)
        for spectrum in (False, True)
    )
    assert brief.verdict == whole.verdict == "not critical"
    assert brief.products <= 15 < whole.products
    assert brief.confidence == 1
    assert brief.spectrum is None
    assert whole.spectrum is not None
    assert np.isnan(brief.positive.value)
    assert brief.positive[1:] == (0, 5000)
    assert brief.minimum_ratio[1:] == (0, 1)
    assert brief.bounds == (-np.inf, np.inf)
    assert whole.smallest - 1e-3 <= brief.smallest < -0.3
    assert whole.largest + 1e-3 >= brief.largest > 1.8
    # A gradient near its tolerance is compared with the norm itself, and what the glimpse took is counted.
    near = curvature.classify(mirrored, 3 * jnp.ones(5000), [batch], **{**options, "gradient_tolerance": 1e3})
    assert near.verdict == "saddle"
    assert near.products == whole.products + brief.products
    slight = 1e-5 * jnp.ones(5000) + 3
    tolerance = curvature.classify(mirrored, slight, [batch], **{**options, "gradient_tolerance": 0.0})
    assert tolerance.verdict == "not critical"
    # Of the size of the parameters beside which it is small.
    far = {"center": 1e4 * jnp.ones(2000)}
    point = curvature.classify(lambda p: jnp.sum((p["center"] - 1e4 - 0.01) ** 2), far, key=jax.random.key(1))
    assert point.verdict == "minimum"
    assert point.spectrum is not None


@pytest.mark.parametrize("sign", [1, -1])
def test_small_eigenvalues_of_the_other_sign_beside_a_few_large_ones_are_not_missed(sign):
    rng = np.random.default_rng(1)
    values = jnp.asarray(np.r_[sign * 1e-2 * rng.normal(size=4995), [1, 2, 3, 4, 100]], jnp.float32)
    batch = sign * values[None], jnp.zeros((1, 5000))
    result = curvature.classify(mirrored, jnp.zeros(5000), [batch], key=jax.random.key(0))
    assert result.verdict == "saddle", result.reason
    other = result.smallest if sign > 0 else -result.largest
    assert other == pytest.approx(float(values.min()), rel=0.1)


@pytest.mark.parametrize("dense_up_to", [0, 1024])
def test_the_lectures_example(dense_up_to):
    result = curvature.classify(
        lambda w: (1 - w[0] * w[1]) ** 2, jnp.zeros(2), key=jax.random.key(0), dense_up_to=dense_up_to
    )
    assert result.verdict == "saddle"
    assert (result.loss, result.gradient_norm) == (1, 0)
    np.testing.assert_allclose([result.smallest, result.largest], [-2, 2], rtol=1e-6)
    # The way out is along (1, 1).
    np.testing.assert_allclose(abs(result.smallest_vector[0] + result.smallest_vector[1]), 2**0.5, rtol=1e-5)
    assert result.minimum_ratio.lower <= 0.5 <= result.minimum_ratio.upper
    assert result.confidence == 1


TEXTBOOK = [
    (lambda w: w[0] * w[1] * w[2], [0, 0, 0], "degenerate"),
    (lambda w: w[0] ** 3 - 3 * w[0] * w[1] ** 2, [0, 0, 0], "degenerate"),
    (lambda w: (1 - w[0] * w[1]) ** 2 + w[2] ** 2, [2, 0.5, 0], "degenerate"),
    (lambda w: (1 - w[0] * w[1]) ** 2 + w[2] ** 2, [1, -1, 0], "not critical"),
    (lambda w: w[0] + 0 * w[1], [1, 1, 1], "not critical"),
    (lambda w: jnp.sum(jnp.cos(w)), [0, 0, 0], "maximum"),
    (lambda w: jnp.sum(jnp.linspace(1, 2, 3) * w**2), [0, 0, 0], "minimum"),
    # On the way down a narrow valley, and on slopes beside which the curvature elsewhere is large.
    (lambda w: (1 - w[0]) ** 2 + 100 * (w[1] - w[0] ** 2) ** 2 + w[2] ** 2, [0.9, 0.81, 0], "not critical"),
    (lambda w: 5e3 * w[0] ** 2 - w[1] + w[2] ** 2, [0, 0, 0], "not critical"),
    (lambda w: jnp.sum((1e5 * w - 1) ** 2), [0, 0, 0], "not critical"),
    (lambda w: 1e-20 * jnp.sum((w - 1) ** 2), [0, 0, 0], "not critical"),
    (lambda w: 0 * jnp.sum(w), [1, 2, 3], "degenerate"),
]


def textbook(point, which):
    # One function, so that it is compiled for once.
    return jax.lax.switch(which[0], [loss for loss, _, _ in TEXTBOOK], point)


@pytest.mark.parametrize("which", range(len(TEXTBOOK)))
@pytest.mark.parametrize("dense_up_to", [0, 1024])
def test_textbook_points(which, dense_up_to):
    _, point, verdict = TEXTBOOK[which]
    point, batches = jnp.array(point, jnp.float32), [jnp.array([which])]
    result = curvature.classify(textbook, point, batches, key=jax.random.key(0), dense_up_to=dense_up_to)
    assert result.verdict == verdict, result.reason
    assert result.reason
    _assert_probabilities(result, 3)


def _assert_probabilities(result, n):
    assert 0.99 <= result.confidence <= 1
    for interval in (result.positive, result.zero, result.negative):
        assert 0 <= interval.lower <= interval.upper <= n


@pytest.mark.parametrize("n", [1, 24, 150])
def test_confidence_of_a_small_problem_that_is_searched_is_a_probability(n):
    values, zero = np.diag(np.linspace(1, 2, n)), np.zeros(n)
    result = _classify(values, zero, zero, np.float32, key=jax.random.key(0), dense_up_to=0)
    assert result.verdict == "minimum"
    _assert_probabilities(result, n)


def test_bfloat16_parameters_are_searched():
    found = curvature.eigenpairs(
        curvature.hessian(lambda w: jnp.sum(w**2), jnp.zeros(64, jnp.bfloat16)), key=jax.random.key(0)
    )
    assert float(found.values[0]) == pytest.approx(2, rel=1e-2)


def test_a_minimum_that_held_out_batches_deny_is_none():
    def loss(w, batch):
        return jnp.mean(batch[:, 0]) * w[0] ** 2 + jnp.mean(batch[:, 1]) * w[1] ** 2

    result = curvature.classify(
        loss,
        jnp.zeros(2),
        [jnp.array([[2.0, 1.0]])],
        held_out=[jnp.array([[2.0, -1.0]])],
        key=jax.random.key(0),
    )
    assert result.verdict == "undecided"


def test_a_loss_that_cannot_be_hashed_is_taken():
    @dataclasses.dataclass
    class Loss:
        scale: jax.Array

        def __call__(self, w):
            return self.scale * jnp.sum(w**2)

    assert curvature.classify(Loss(jnp.ones(())), jnp.zeros(3), key=jax.random.key(0)).verdict == "minimum"


def _noisy(w, batch):
    # In expectation the minimum |w|^2; the curvature of a batch has noise.
    return jnp.sum(w**2) * 0.05 + jnp.mean(batch @ (w**2))


@pytest.mark.parametrize("seed", range(3))
def test_a_curvature_that_only_the_batch_has_is_no_saddle(seed):
    noise = jax.random.normal(jax.random.key(seed), (8, 20))
    others = jax.random.normal(jax.random.key(seed + 10), (4000, 20))
    options = {"key": jax.random.key(0)}
    alone = curvature.classify(_noisy, jnp.zeros(20), [noise], **options)
    checked = curvature.classify(_noisy, jnp.zeros(20), [noise], held_out=[others], **options)
    assert alone.verdict == "saddle"
    assert checked.verdict == "undecided"
    assert checked.held_out_curvature > checked.smallest / 2
    assert "held-out" in checked.reason
    shared = jnp.concatenate([noise, noise])
    assert curvature.classify(_noisy, jnp.zeros(20), [noise], held_out=[shared], **options).verdict == "saddle"


def test_identical_units_are_a_saddle_with_a_way_out():
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(200, 4)), jnp.float32)
    labels = jnp.argmax(x[:, :3], axis=1)
    apply, params, state = models.build(
        input_size=4,
        output_size=3,
        hidden_sizes=(6,),
        activation="tanh",
        initializer="identical",
        key=jax.random.key(1),
    )

    def loss(params):
        outputs, _ = apply(params, state, x)
        return optax.softmax_cross_entropy_with_integer_labels(outputs, labels).mean()

    # To the bottom of the manifold in which the units stay alike, where only a saddle can be.
    solver = optax.sgd(0.1, momentum=0.9)

    def step(carry, _):
        params, opt_state = carry
        updates, opt_state = solver.update(jax.grad(loss)(params), opt_state)
        return (optax.apply_updates(params, updates), opt_state), None

    (params, _), _ = jax.lax.scan(step, (params, solver.init(params)), length=2000)
    result = curvature.classify(loss, params, key=jax.random.key(0), gradient_tolerance=1e-2)
    assert result.verdict == "saddle", result
    for sign in (0.3, -0.3):
        moved = jax.tree.map(lambda p, u, sign=sign: p + sign * u, params, result.smallest_vector)
        assert loss(moved) < result.loss


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tolerance": 0.0}, "tolerance is 0.0; allowed: a number between 0 and 1"),
        ({"confidence": 1.0}, "confidence is 1.0; allowed: a number between 0 and 1"),
        ({"gradient_tolerance": -1.0}, "gradient_tolerance is -1.0"),
        ({"dense_up_to": 9000}, "dense_up_to is 9000; allowed: 0 to 8192"),
        ({"dense_up_to": -1}, "dense_up_to is -1; allowed: an integer, 0 or more"),
    ],
)
def test_wrong_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        curvature.classify(lambda w: jnp.sum(w**2), jnp.ones(3), key=jax.random.key(0), **options)


def test_held_out_batches_without_batches_are_refused():
    with pytest.raises(ValueError, match="held_out is given without batches"):
        curvature.classify(lambda w: jnp.sum(w**2), jnp.ones(3), held_out=[jnp.ones(2)], key=jax.random.key(0))


def test_an_operator_without_a_gradient_is_refused():
    with pytest.raises(ValueError, match="operator has no gradient"):
        curvature.classify_operator(curvature.Operator(lambda v: v, jnp.ones(2)), jnp.ones(2), key=jax.random.key(0))
