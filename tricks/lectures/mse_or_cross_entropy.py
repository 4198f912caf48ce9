"""Squared error is flat where a classifier is most wrong, and gradient descent stays there; cross-entropy is steep."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from tricks import data as data_sets
from tricks.lectures.common import figures, starts, statistics
from tricks.lectures.common.experiment import Claim, Data, Effort, Judgement
from tricks.lectures.common.lanes import side_by_side
from tricks.losses import cross_entropy, softmax_squared_error
from tricks.models import multilayer_perceptron
from tricks.transforms import adam, momentum

_LOSSES = {"cross-entropy": cross_entropy, "squared error": softmax_squared_error}
_OPTIMIZERS: dict[str, tuple[Callable[[Any], Any], tuple[float, float]]] = {
    "gradient descent": (lambda rate: momentum(rate, 0.0), (-2.0, 2.0)),
    "Adam": (adam, (-4.0, -0.5)),
}
_GAPS = (0.0, 10.0, 20.0)
_UPDATES, _BATCH, _HIDDEN = 1000, 64, 64
_GAIN, _MORE, _STEEPER = 0.2, 0.1, 1000.0

CLAIM = Claim(
    title="Squared error is flat where a classifier is most wrong, so gradient descent is stuck; cross-entropy is not",
    idea="Both losses of softmax outputs are least at the right answer. Where a wrong class is far ahead, squared "
    "error is large and flat: a training that begins there gets no gradient. Cross-entropy is steep there and leads "
    "out. So the choice of the loss changes how hard the optimization is.",
    lecture="Classification: the error surfaces over y₁ and y₂, both from −10 to 10, with y₃ = −1000.",
    rule=f"A network begins with a wrong class ahead by {_GAPS[-1]:g} for nine tenths of the examples, and takes "
    f"{_UPDATES} updates of plain gradient descent, at the rate of half decades that is best by validation for its "
    f"loss and start. Supported if cross-entropy ends at a test accuracy higher by more than {_GAIN:g}, which is by "
    f"more than {_MORE:g} more than what it gains from an ordinary start, and if at (−10, 10) of the lecture's picture "
    f"its gradient is more than {_STEEPER:g} times as long. Refuted if one of these is not so.",
    source="Golik, Doetsch and Ney, Interspeech 2013; Glorot and Bengio 2010.",
)


def surfaces(points: int) -> dict[str, Any]:
    """Both losses over y1 and y2, class 1 being right and y3 = -1000; and their gradients' norms at (-10, 10)."""
    with jax.enable_x64(True):
        side = jnp.linspace(-10.0, 10.0, points)

        def of(loss: Any) -> Callable[[jax.Array, jax.Array], jax.Array]:
            right = jnp.zeros(1, jnp.int32)
            return lambda y1, y2: loss(jnp.stack([y1, y2, jnp.full_like(y1, -1000.0)])[None], right)["loss"][0]

        found: dict[str, Any] = {"side": np.asarray(side).tolist()}
        for name, loss in _LOSSES.items():
            values = jax.vmap(lambda y2, loss=loss: jax.vmap(lambda y1: of(loss)(y1, y2))(side))(side)
            corner = jnp.stack(jax.grad(of(loss), (0, 1))(jnp.float64(-10), jnp.float64(10)))
            found[name] = {"losses": np.asarray(values).tolist(), "gradient": float(jnp.linalg.norm(corner))}
    return found


def run(effort: Effort, note: Callable[[str], None]) -> dict[str, Any]:
    """Draws the surfaces; trains for every loss, optimizer, start, rate and seed."""
    seeds = effort.pick(range(5), range(2))
    updates, spacing = effort.pick(_UPDATES, 60), effort.pick(0.5, 1.0)
    loaded = data_sets.load(effort.images)
    train = starts.flat(loaded.train, 20_000)
    network = multilayer_perceptron(input_size=train.features.shape[1], output_size=10, hidden_sizes=(_HIDDEN,))
    begun, _ = starts.weights(network, seeds)
    rows = jnp.asarray(starts.batches(seeds, len(train.targets), _BATCH, updates))
    x, y = map(jnp.asarray, train)
    held_out = [starts.flat(split, 2000) for split in (loaded.validation, loaded.test)]

    def accuracy(params: Any, split: Any) -> jax.Array:
        outputs, _ = network.apply(params, {}, jnp.asarray(split.features))
        return jnp.mean(jnp.argmax(outputs, -1) == jnp.asarray(split.targets))

    def trained(make: Callable[[Any], Any]) -> Callable[..., Any]:
        def lane(which: jax.Array, gap: jax.Array, rate: jax.Array, seed: jax.Array) -> Any:
            optimizer = make(rate)
            params = jax.tree.map(lambda leaf: leaf[seed], begun)
            ahead = gap * jax.nn.one_hot(jnp.asarray(seeds)[seed] % 10, 10)
            params = {**params, "linear_1": {**params["linear_1"], "bias": params["linear_1"]["bias"] + ahead}}

            def loss_fn(params: Any, batch: jax.Array) -> jax.Array:
                outputs, _ = network.apply(params, {}, x[batch])
                of = [lambda o, t, loss=loss: jnp.mean(loss(o, t)["loss"]) for loss in _LOSSES.values()]
                return jax.lax.switch(which, of, outputs, y[batch])

            def step(carry: Any, batch: jax.Array) -> tuple[Any, None]:
                params, state = carry
                change, state = optimizer.update(jax.grad(loss_fn)(params, batch), state, params)
                return (optax.apply_updates(params, change), state), None

            (params, _), _ = jax.lax.scan(step, (params, optimizer.init(params)), rows[seed])
            return tuple(accuracy(params, split) for split in held_out)

        return lane

    found: dict[str, Any] = {}
    for name, (make, (low, high)) in _OPTIMIZERS.items():
        note(name)
        rates = 10 ** np.arange(low, high + spacing / 2, spacing)
        sizes = (len(_LOSSES), len(_GAPS), len(rates), len(seeds))
        which, gaps, places, of_seeds = np.indices(sizes, dtype=np.int32).reshape(4, -1)
        lanes = (which, np.asarray(_GAPS, np.float32)[gaps], rates.astype(np.float32)[places], of_seeds)
        validation, test = (part.reshape(sizes) for part in side_by_side(trained(make), *lanes, batched=False))
        best = validation.mean(-1).argmax(-1)
        found[name] = {
            loss: {
                "rates": rates[best[i]].tolist(),
                "accuracy": [test[i, gap, best[i, gap]].tolist() for gap in range(len(_GAPS))],
            }
            for i, loss in enumerate(_LOSSES)
        }
    return {
        "seeds": list(seeds),
        "examples": f"{len(train.targets)} of {effort.images}",
        "updates": updates,
        "gaps": list(_GAPS),
        "surfaces": surfaces(effort.pick(81, 21)),
        "trained": found,
    }


def _judge_gain(data: Data, optimizer: str, gap: int) -> list[float]:
    of = data["trained"][optimizer]
    return np.subtract(of["cross-entropy"]["accuracy"][gap], of["squared error"]["accuracy"][gap]).tolist()


def judge(data: Data) -> Judgement:
    """Compares what both losses reach from the bad start, with what they reach from an ordinary one."""
    bad, ordinary = _judge_gain(data, "gradient descent", -1), _judge_gain(data, "gradient descent", 0)
    gain = statistics.mean(bad)
    steep, flat = (data["surfaces"][loss]["gradient"] for loss in _LOSSES)
    verdict = statistics.all_of(
        [
            statistics.decide(gain, _GAIN),
            statistics.decide(statistics.difference(bad, ordinary), _MORE),
            statistics.decide(statistics.Estimate(*[steep / flat] * 3), _STEEPER),
        ]
    )
    reached = {
        (optimizer, loss): [float(np.mean(values)) for values in of["accuracy"]]
        for optimizer, both in data["trained"].items()
        for loss, of in both.items()
    }
    said = "; ".join(
        f"{optimizer} {reached[optimizer, 'cross-entropy'][-1]:.1%} with cross-entropy and "
        f"{reached[optimizer, 'squared error'][-1]:.1%} with squared error"
        for optimizer in _OPTIMIZERS
    )
    plain = "; ".join(
        f"ahead by {gap:g}, " + " against ".join(f"{reached['gradient descent', loss][i]:.1%}" for loss in _LOSSES)
        for i, gap in enumerate(data["gaps"][:-1])
    )
    return Judgement(
        verdict,
        gain.value,
        gain.interval,
        f"test accuracy of cross-entropy less that of squared error: gradient descent, wrong class ahead by "
        f"{data['gaps'][-1]:g}",
        f"At (−10, 10) the gradient is {steep:.2g} long with cross-entropy and {flat:.2g} with squared error. With a "
        f"wrong class ahead by {data['gaps'][-1]:g}, {data['updates']} updates reach: {said}. With less of a "
        f"lead gradient descent reaches: {plain}.",
        {
            "gradient_ratio": steep / flat,
            "gain_by_gap": {name: [_judge_gain(data, name, gap) for gap in range(3)] for name in data["trained"]},
            "rates": {name: {loss: of["rates"] for loss, of in both.items()} for name, both in data["trained"].items()},
        },
    )


def draw(data: Data) -> Any:
    """Both surfaces under one title, and the accuracies from each start."""
    from matplotlib.colors import LogNorm

    figure, axes = figures.new(3, width=15.5, height=5.6, gridspec_kw={"width_ratios": [1, 1, 1.35]})
    side = data["surfaces"]["side"]
    for axis, loss in zip(axes, _LOSSES, strict=False):
        of = data["surfaces"][loss]
        drawn = axis.pcolormesh(
            side, side, np.clip(of["losses"], 1e-8, None), norm=LogNorm(1e-8, 20), cmap="cividis", rasterized=True
        )
        axis.plot(-10, 10, "o", color="white", markeredgecolor="black", markersize=13, clip_on=False)
        title = f"{loss}\ngradient at the corner: {of['gradient']:.2g}"
        axis.set(xlabel="output y₁ (right class)", ylabel="output y₂", title=title)
        axis.grid(False)
    figure.colorbar(drawn, ax=axes[1], label="loss (below 1e-8 as 1e-8)")
    last = axes[2]
    kinds = [(optimizer, loss) for optimizer in _OPTIMIZERS for loss in _LOSSES]
    for kind, (optimizer, loss) in enumerate(kinds):
        for gap, values in enumerate(data["trained"][optimizer][loss]["accuracy"]):
            label = f"{optimizer}, {loss}" if gap == 0 else None
            figures.seeds(last, 2 * gap + 0.45 * (kind - 1.5), np.multiply(values, 100), kind, label)
    last.set(xlabel="wrong class ahead by", ylabel="test accuracy (%)", ylim=(0, 102))
    last.set_title(f"after {data['updates']} updates, best rates")
    last.set_xticks(range(0, 2 * len(data["gaps"]), 2), [f"{gap:g}" for gap in data["gaps"]])
    last.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), ncol=2, fontsize=11)
    return figure
