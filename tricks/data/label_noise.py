"""Wrong classes among the training examples, to see what a network makes of them."""

from tricks import streams
from tricks.data.dataset import Dataset
from tricks.errors import UserError


def with_label_noise(data: Dataset, fraction: float, seed: int) -> Dataset:
    """Gives a share of the training examples another class, each of the others being as likely.

    The examples of a smaller share are among those of a larger one, with the same wrong classes. Features, and the
    other parts, are left as they are.

    Args:
        data: of classes.
        fraction: of the training examples, from 0 to 1.
        seed: of the draw.

    Returns:
        The data set with other targets for training.

    Raises:
        UserError: the targets are numbers.

    >>> from tricks.data import load
    >>> digits = load("digits")
    >>> noisy = with_label_noise(digits, 0.5, seed=0)
    >>> float((noisy.train.targets != digits.train.targets).mean())
    0.5
    """
    if fraction == 0:
        return data
    if data.classes is None:
        raise UserError(f"data.label_noise is {fraction:g}; {data.name} has no classes, but numbers: leave it at 0")
    generator, targets = streams.label_noise(seed), data.train.targets
    order = generator.permutation(len(targets))
    others = (targets + generator.integers(1, data.classes, targets.shape)) % data.classes
    noisy = targets.copy()
    chosen = order[: round(fraction * len(targets))]
    noisy[chosen] = others[chosen]
    return data._replace(train=data.train._replace(targets=noisy))
