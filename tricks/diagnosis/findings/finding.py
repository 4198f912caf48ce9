"""What a finding is, the names there are, and what the lectures say of each."""

import math
from typing import NamedTuple


class Finding(NamedTuple):
    """One answer to why a training does not behave."""

    name: str
    """One of `LECTURE`."""
    strength: float
    """From 0 to 1, how far the evidence goes: one half where it just suffices."""
    evidence: tuple[str, ...]
    """Sentences with their numbers."""
    before_training: bool = False
    """Whether it was there before the first step, and so is no consequence of the training."""


LECTURE = {
    "healthy": "Where nothing that is tried does better on new examples, a training is done.",
    "model_bias": "The model is too simple: make it more flexible, with more features, layers or units.",
    "overfitting": "Training loss small, test loss large: more data, augmentation, or a model with less freedom.",
    "mismatch": "Training and test examples come from different distributions: more training does not help.",
    "label_noise": "What the labels contradict cannot be learned, only memorized.",
    "leakage": "A validation that holds training examples tells nothing of new ones.",
    "class_imbalance": "A mean over all examples says little of classes that are rare.",
    "undertrained": "The loss still falls: what looks like a bad model may only need more updates.",
    "rate_too_large": "Too large a learning rate makes the loss jump from wall to wall of a valley, or up.",
    "rate_too_small": "With too small a learning rate the loss falls, and never arrives.",
    "saddle": "At a saddle the gradient vanishes, and directions of negative curvature lead down.",
    "degenerate_plateau": "Where first and second derivatives vanish, only a disturbance of the weights leads away.",
    "minimum": "At a minimum the gradient vanishes and every direction leads up: another start or model is needed.",
    "stuck_not_critical": "The loss stands still, and the gradient does not vanish: it is no critical point.",
    "unlucky_start": "Where other starts of the same network do better, it is optimization, not the model.",
    "vanishing_gradients": "With saturating activations the gradient shrinks from layer to layer.",
    "exploding_gradients": "Where each layer makes the gradient larger, no learning rate suits all of them.",
    "dead_units": "A unit that is 0 for every example has no gradient, and learns nothing any more.",
    "saturated_units": "On the flat parts of an activation the gradient is almost 0.",
    "bad_initialization": "The first weights decide on what path the descent begins.",
    "unscaled_features": "Features of different scales make an error surface that is steep one way and flat another.",
    "saturated_loss": "With the squared error after a softmax, the gradient is small where the answer is quite wrong.",
    "over_regularized": "A constraint that is too strong gives a large training loss: model bias by regularization.",
    "batch_too_large": "Large batches take few updates in an epoch, and their gradients lack the noise that helps.",
    "non_finite": "A value that is not finite spreads to all weights in one update.",
}


def graded(value: float | None, threshold: float, full: float) -> float:
    """How far a positive measurement goes, on a logarithmic scale: one half at the threshold, 1 where it is full.

    >>> graded(2.0, 1.0, 4.0), graded(1.0, 1.0, 4.0), graded(None, 1.0, 4.0)
    (0.75, 0.5, 0.0)
    """
    if value is None or value <= 0:
        return 0.0
    if math.isinf(value):
        return 1.0
    return min(max(0.5 + 0.5 * math.log(value / threshold) / math.log(full / threshold), 0.0), 1.0)
