"""Findings, confidence and numbers in words that a page and a terminal share."""

from typing import Any

NO_FINDING = "Not enough evidence for a finding"
TITLES = {
    "healthy": "Nothing is wrong with this run",
    "model_bias": "The model is too simple for the data",
    "overfitting": "The model knows its training examples by heart",
    "mismatch": "Training and test examples are of different kinds",
    "label_noise": "Many labels are wrong",
    "leakage": "The same examples are in training and in test",
    "class_imbalance": "Some classes have far fewer examples than others",
    "undertrained": "The training stopped too early",
    "rate_too_large": "The learning rate is too large",
    "rate_too_small": "The learning rate is too small",
    "saddle": "The training stands at a saddle",
    "degenerate_plateau": "The training stands on a flat plateau",
    "minimum": "The training stands in a minimum with a large loss",
    "stuck_not_critical": "The training is stuck, though the gradient is not zero",
    "unlucky_start": "This start was unlucky: others reach a lower loss",
    "vanishing_gradients": "The gradient vanishes on its way to the first layers",
    "exploding_gradients": "The gradient explodes on its way to the first layers",
    "dead_units": "Many units are dead",
    "saturated_units": "Many units are saturated",
    "bad_initialization": "The first weights are a bad start",
    "unscaled_features": "The features are of very different scales",
    "saturated_loss": "The loss is flat where the model is most wrong",
    "over_regularized": "The regularization is too strong",
    "batch_too_large": "The batch is too large for so few epochs",
    "non_finite": "The numbers are no longer finite",
}
"""A plain sentence for each name that a finding may have."""


def title(name: str) -> str:
    """The sentence for a finding.

    Args:
        name: of the finding.

    Returns:
        That of `TITLES`, else the name itself as words.

    >>> title("saddle"), title("cold_feet")
    ('The training stands at a saddle', 'Cold feet')
    """
    return TITLES.get(name) or spaced(name).capitalize()


def spaced(name: str) -> str:
    """A name of the report as words.

    >>> spaced("train_loss")
    'train loss'
    """
    return name.replace("_", " ")


def sentence(parts: list[str]) -> str:
    """Parts as one sentence, whose names keep their letters.

    >>> sentence(["at most 3 of Dense_1", "none of Dense_2"])
    'At most 3 of Dense_1; none of Dense_2.'
    """
    text = "; ".join(parts)
    return f"{text[:1].upper()}{text[1:]}."


def confidence(value: float | None) -> str:
    """A probability as a word and a number.

    Args:
        value: from 0 to 1; None where it is unknown.

    Returns:
        Such as `likely, 80 %`.

    >>> [confidence(value) for value in (0.97, 0.8, 0.5, 0.2, None)]
    ['almost certain, 97 %', 'likely, 80 %', 'possible, 50 %', 'doubtful, 20 %', 'confidence unknown']
    """
    if value is None:
        return "confidence unknown"
    # An estimate is never sure: 0.999 is not printed as 100 %.
    percent = min(max(round(100 * value), 1), 99)
    word = next(
        word
        for least, word in ((90, "almost certain"), (70, "likely"), (40, "possible"), (0, "doubtful"))
        if percent >= least
    )
    return f"{word}, {percent} %"


def number(value: Any) -> str:
    """A value of a measurement as a person reads it.

    >>> [number(value) for value in (1294, 0.0312345, 1e-9, True, None, "adam", [1.5, 2])]
    ['1,294', '0.03123', '1e-09', 'yes', 'none', 'adam', '1.5, 2']
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "none"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return ", ".join(f"({number(part)})" if isinstance(part, list) else number(part) for part in value)
    return str(value)
