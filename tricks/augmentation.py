"""Training examples made anew at every step: moved, turned, resized, noisy, partly erased, mixed."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates

from tricks.arguments import require_decay, require_key, require_not_negative
from tricks.losses import Batch, Mix
from tricks.random_words import random_words

__all__ = ["Strength", "augment"]

Strength = float | jax.Array
# The key of each operation, so that what one draws does not depend on which others are on. Never renumbered: runs that
# are resumed draw on.
_SHIFT, _ROTATION, _SCALE, _NOISE, _CUTOUT, _FEATURE_DROPOUT, _MIXUP = range(7)


def augment(
    key: jax.Array,
    batch: Batch,
    *,
    shift: Strength = 0.0,
    rotation: Strength = 0.0,
    scale: Strength = 0.0,
    noise: Strength = 0.0,
    cutout: Strength = 0.0,
    feature_dropout: Strength = 0.0,
    mixup: Strength = 0.0,
) -> Batch:
    """Other examples with the same targets, drawn anew for every key.

    In this order, each example with draws of its own, u uniform in [-1, 1]::

        mixup                     x <- w x + (1 - w) x', with x' the example before and w the larger part of
                                  Beta(mixup, mixup); the loss is mixed likewise
        shift, rotation, scale    pixel p <- pixel q of the image, p - c = t + R diag(s) (q - c), with the centre c,
                                  t = shift (u_1, u_2), R the turn by rotation u_3, s = 1 + scale (u_4, u_5)
        noise                     x <- x + noise z, z nearly Gaussian: the sum of four uniform bytes, standardized
        cutout                    x <- 0 in the square of that side around a point that is uniform in the image
        feature_dropout           x <- 0 with that probability, each feature by itself

    What lies between pixels is interpolated (bilinear), once for the three. Outside of the image is its nearest border
    pixel. Both are taken of the features as they come. Where these are (x - m) / d with a mean of each pixel's own, the
    trace of the mean image moves with the picture.

    0 is the mean of normalized features. What is dropped is not made up for by scaling the rest: the other features of
    the example stay what they are. In a batch of random order the larger part w >= 1/2 gives the same pairs with the
    same weights as w itself, and nothing is changed where `mixup` is 0.

    A strength is a number, traced or not, so that `jax.vmap` may map over it; the number 0 leaves its operation out of
    the program. Each operation draws from a key of its own: what it draws does not depend on the others.

    Args:
        key: a JAX random key, which alone decides what is drawn.
        batch: the examples. Features are a pytree of (batch, ...). Images are the floating leaves of shape (batch,
            height, width, channels), all of which get the same geometry and the same square; noise and feature dropout
            are for all floating leaves; integers stay as they are.
        shift: the largest, in pixels, along each axis.
        rotation: the largest angle, in degrees.
        scale: the largest relative change of height and of width, each by itself; below 1.
        noise: standard deviation, in units of the features.
        cutout: side of the square, in pixels; the border may cut it.
        feature_dropout: probability, below 1.
        mixup: of the Beta distribution, both its parameters.

    Returns:
        A batch of the same shapes and types, with `mix` where `mixup` is on.

    Raises:
        ValueError: for a strength out of its range, or features without a leaf that the operation is for; with
            `mixup`, for features that are not all floating, or a batch that is mixed already.

    >>> batch = Batch(jnp.eye(4).reshape(1, 4, 4, 1), jnp.array([3]))
    >>> augment(jax.random.key(0), batch, shift=2, rotation=10).features.shape
    (1, 4, 4, 1)
    >>> augment(jax.random.key(0), Batch(jnp.eye(4), jnp.arange(4)), mixup=0.4).mix.targets.tolist()
    [3, 0, 1, 2]

    Source: cutout: DeVries and Taylor, arXiv 1708.04552; mixup: Zhang et al., arXiv 1710.09412, its weight by Devroye
    1996, Random variate generation in one line of code; noise: Bishop 1995, Training with noise is equivalent to
    Tikhonov regularization.
    """
    require_key("key", key)
    batch = jax.tree.map(jnp.asarray, batch)
    for name, strength in {"scale": scale, "feature_dropout": feature_dropout}.items():
        require_decay(name, strength)
    for name, strength in {"shift": shift, "rotation": rotation, "noise": noise, "cutout": cutout}.items():
        require_not_negative(name, strength)
    require_not_negative("mixup", mixup)
    for name, strength in {"shift": shift, "rotation": rotation, "scale": scale, "cutout": cutout}.items():
        _require_leaf(name, strength, batch.features, _is_image, "floating features (batch, height, width, channels)")
    for name, strength in {"noise": noise, "feature_dropout": feature_dropout}.items():
        _require_leaf(name, strength, batch.features, _is_floating, "floating features")

    def changed(number: int, leaf: jax.Array) -> jax.Array:
        if _is_image(leaf):
            leaf = _move(key, leaf, shift, rotation, scale)
        if _is_on(noise) and _is_floating(leaf):
            leaf = _disturb(_key(key, _NOISE, number), leaf, noise)
        if _is_on(cutout) and _is_image(leaf):
            leaf = _cut_out(_key(key, _CUTOUT), leaf, cutout)
        if _is_on(feature_dropout) and _is_floating(leaf):
            leaf = _drop(_key(key, _FEATURE_DROPOUT, number), leaf, feature_dropout)
        return leaf

    # First, because what comes before it would be computed once for the example and once for the one it goes into.
    if _is_on(mixup):
        batch = _mixed_up(_key(key, _MIXUP), batch, mixup)
    leaves, structure = jax.tree.flatten(batch.features)
    leaves = [changed(number, leaf) for number, leaf in enumerate(leaves)]
    return batch._replace(features=jax.tree.unflatten(structure, leaves))


def _move(key: jax.Array, images: jax.Array, shift: Strength, rotation: Strength, scale: Strength) -> jax.Array:
    if not any(map(_is_on, (shift, rotation, scale))):
        return images
    count, height, width, _ = images.shape
    dtype = jnp.promote_types(images.dtype, jnp.float32)

    def drawn(operation: int, strength: Strength, numbers: int) -> list[jax.Array]:
        if not _is_on(strength):
            return [jnp.zeros(count, dtype)] * numbers
        uniform = 2 * _uniform(_key(key, operation), (numbers, count), dtype) - 1
        return list(jnp.asarray(strength, dtype) * uniform)

    down, right = drawn(_SHIFT, shift, 2)
    (angle,) = drawn(_ROTATION, rotation, 1)
    taller, wider = drawn(_SCALE, scale, 2)
    cosine, sine = jnp.cos(jnp.deg2rad(angle)), jnp.sin(jnp.deg2rad(angle))
    # From the pixel that is made to the place that it is taken from.
    matrix = ((cosine / (1 + taller), sine / (1 + taller)), (-sine / (1 + wider), cosine / (1 + wider)))
    middle, center = (height - 1) / 2, (width - 1) / 2
    above, left = (row[0] * (middle + down) + row[1] * (center + right) for row in matrix)
    return _warp(images, matrix, (middle - above, center - left))


def _warp(images: jax.Array, matrix: Any, offset: Any) -> jax.Array:
    """Pixel p of the result is what lies at matrix p + offset, a map for each example: numbers are (batch,)."""
    _, height, width, _ = images.shape
    dtype = jnp.promote_types(images.dtype, jnp.float32)
    down, right = jnp.arange(height, dtype=dtype)[:, None], jnp.arange(width, dtype=dtype)[None, :]

    def warp(image: jax.Array, matrix: Any, offset: Any) -> jax.Array:
        places = [row[0] * down + row[1] * right + start for row, start in zip(matrix, offset, strict=True)]
        return map_coordinates(image, places, order=1, mode="nearest")

    of_channels = jax.vmap(warp, in_axes=(-1, None, None), out_axes=-1)
    return jax.vmap(of_channels)(images.astype(dtype), matrix, offset).astype(images.dtype)


def _disturb(key: jax.Array, x: jax.Array, deviation: Strength) -> jax.Array:
    # jax.random.normal takes twenty times as long, a third of a small step.
    words = _words(key, x.shape)
    total = sum(words >> place & 0xFF for place in (0, 8, 16, 24))
    centered = jnp.asarray(total, jnp.promote_types(x.dtype, jnp.float32)) - 2 * 255
    return x + (deviation / math.sqrt((2**16 - 1) / 3) * centered).astype(x.dtype)


def _cut_out(key: jax.Array, images: jax.Array, side: Strength) -> jax.Array:
    count, height, width, _ = images.shape
    dtype = jnp.promote_types(images.dtype, jnp.float32)

    def within(place: jax.Array, size: int) -> jax.Array:
        return jnp.abs(jnp.arange(size, dtype=dtype)[None, :] + 0.5 - size * place[:, None]) < side / 2

    down, right = _uniform(key, (2, count), dtype)
    square = within(down, height)[:, :, None] & within(right, width)[:, None, :]
    return jnp.where(square[..., None], 0, images)


def _drop(key: jax.Array, x: jax.Array, rate: Strength) -> jax.Array:
    return jnp.where(_uniform(key, x.shape, jnp.float32) < rate, 0, x)


def _mixed_up(key: jax.Array, batch: Batch, alpha: Strength) -> Batch:
    leaves = jax.tree.leaves(batch.features)
    if not all(map(_is_floating, leaves)):
        raise ValueError(f"mixup is {alpha}; integers cannot be mixed, and features are {_described(leaves)}: choose 0")
    if batch.mix is not None:
        raise ValueError(f"mixup is {alpha}; the batch is mixed already: choose 0")
    count, dtype = len(leaves[0]), jnp.promote_types(jnp.float32, jnp.result_type(*leaves))
    weight = _larger_part(_uniform(key, (2, count), dtype), alpha)

    def mixed(x: jax.Array) -> jax.Array:
        own = weight.reshape(count, *(1,) * (x.ndim - 1))
        return (own * x + (1 - own) * _of_previous(x)).astype(x.dtype)

    return Batch(
        jax.tree.map(mixed, batch.features), batch.targets, Mix(jax.tree.map(_of_previous, batch.targets), weight)
    )


def _larger_part(uniform: jax.Array, alpha: Strength) -> jax.Array:
    """max(b, 1 - b) of b from Beta(alpha, alpha), of two uniform numbers each; 1 where alpha is 0."""
    tail = jnp.expm1(-jnp.log(uniform[0]) / alpha) * jnp.cos(2 * jnp.pi * uniform[1]) ** 2
    return (1 + 1 / jnp.sqrt(1 + 1 / tail)) / 2


def _of_previous(x: jax.Array) -> jax.Array:
    # jnp.roll on CPUs keeps what follows from reading where it needs to: 0.1 ms of a small step.
    return x[(jnp.arange(len(x)) - 1) % len(x)]


def _key(key: jax.Array, *numbers: int) -> jax.Array:
    for number in numbers:
        key = jax.random.fold_in(key, number)
    return key


def _uniform(key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
    return (_words(key, shape) >> 8).astype(dtype) * 2**-24


def _words(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    first, second = jax.random.bits(key, (2,), jnp.uint32)
    return random_words(first, second, shape)


def _is_on(strength: Strength) -> bool:
    return isinstance(strength, jax.Array) or strength > 0


def _is_floating(leaf: jax.Array) -> bool:
    return jnp.issubdtype(leaf.dtype, jnp.floating)


def _is_image(leaf: jax.Array) -> bool:
    return _is_floating(leaf) and leaf.ndim == 4


def _require_leaf(name: str, strength: Strength, features: Any, fits: Callable[[jax.Array], bool], wanted: str) -> None:
    leaves = jax.tree.leaves(features)
    if _is_on(strength) and not any(map(fits, leaves)):
        raise ValueError(f"{name} is {strength}; it is for {wanted}, and these are {_described(leaves)}: choose 0")


def _described(leaves: list[jax.Array]) -> str:
    return ", ".join(f"{leaf.dtype.name} {leaf.shape}" for leaf in leaves) or "none"
