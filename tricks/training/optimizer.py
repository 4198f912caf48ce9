"""Chooses and composes the transforms that a run asks for."""

import optax

from tricks import transforms


def make(
    name: str,
    learning_rate: optax.ScalarOrSchedule,
    *,
    momentum: float = 0.9,
    second_moment_decay: float = 0.999,
    epsilon: float = 1e-8,
    nesterov: bool = False,
    weight_decay: float = 0.01,
    l1: float = 0.0,
    l2: float = 0.0,
) -> optax.GradientTransformation:
    """Decay first, as part of the gradient, then the optimizer.

    Args:
        name: `momentum`, `root_mean_square`, `rmsprop`, `adam`, `adamw` or `lamb`.
        learning_rate: a number or a schedule.
        momentum: decay of the gradient average (momentum, Adam, AdamW, LAMB).
        second_moment_decay: decay of the squared-gradient average (RMSProp, Adam, AdamW, LAMB).
        epsilon: added to sigma (all but momentum).
        nesterov: for momentum.
        weight_decay: strength of the decay that does not pass through the averages (AdamW, LAMB).
        l1: strength of the decay towards zero by sign.
        l2: strength of the decay towards zero by size.

    Returns:
        An optax transformation.

    Raises:
        ValueError: for an unknown name.

    >>> tx = make("momentum", 0.1, l2=1e-4)
    """
    optimizers = {
        "momentum": lambda: transforms.momentum(learning_rate, momentum, nesterov),
        "root_mean_square": lambda: transforms.root_mean_square(learning_rate, epsilon),
        "rmsprop": lambda: transforms.rmsprop(learning_rate, second_moment_decay, epsilon),
        "adam": lambda: transforms.adam(learning_rate, momentum, second_moment_decay, epsilon),
        "adamw": lambda: transforms.adamw(learning_rate, momentum, second_moment_decay, epsilon, weight_decay),
        "lamb": lambda: transforms.lamb(learning_rate, momentum, second_moment_decay, epsilon, weight_decay),
    }
    if name not in optimizers:
        raise ValueError(f"name is {name!r}; allowed: {', '.join(optimizers)}")
    decays = [transforms.add_l1_decay(l1)] * bool(l1) + [transforms.add_l2_decay(l2)] * bool(l2)
    return optax.chain(*decays, optimizers[name]())
