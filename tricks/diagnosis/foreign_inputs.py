"""What somebody hands to `diagnose`, checked and brought into one form."""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tricks.data import Split

_FEWEST = 4
_MOST_CLASSES = 1000
_OTHER_NAMES = {"loss": "train_loss", "val_loss": "validation_loss", "accuracy": "train_accuracy"}
_OTHER_NAMES |= {"val_accuracy": "validation_accuracy", "train": "train_loss", "validation": "validation_loss"}

LossFn = Callable[[Any, Any], jax.Array]


class Parameters(NamedTuple):
    """A pytree, as those of its leaves that can be differentiated, and the way back."""

    numbers: Any
    """The same pytree with None for other leaves."""
    whole: Callable[[Any], Any]
    """`whole(numbers)` is the pytree again."""


def parameters_of(params: Any, name: str = "params") -> Parameters:
    """Takes the floating leaves of any pytree apart, as of an Equinox module.

    Args:
        params: any pytree.
        name: of the argument.

    Returns:
        `Parameters`.

    Raises:
        ValueError: there is no floating leaf.

    >>> found = parameters_of({"w": 1.5, "name": "layer"})
    >>> float(found.numbers["w"]), found.whole(found.numbers)["name"]
    (1.5, 'layer')
    """
    leaves, structure = jax.tree.flatten(params)
    moves = [_is_floating(leaf) for leaf in leaves]
    if not any(moves):
        raise ValueError(f"{name} has no floating arrays; give a pytree of the weights that were trained")
    arrays = [jnp.asarray(leaf) if moved else leaf for leaf, moved in zip(leaves, moves, strict=True)]
    numbers = [leaf if moved else None for leaf, moved in zip(arrays, moves, strict=True)]

    def whole(given: Any) -> Any:
        found = iter(jax.tree.leaves(given))
        return jax.tree.unflatten(
            structure, [next(found) if m else leaf for leaf, m in zip(arrays, moves, strict=True)]
        )

    return Parameters(jax.tree.unflatten(structure, numbers), whole)


def _is_floating(leaf: Any) -> bool:
    kind = getattr(leaf, "dtype", None)
    return isinstance(leaf, float) or (kind is not None and jnp.issubdtype(kind, jnp.floating))


def split_of(part: str, arrays: Any) -> Split:
    """Examples on the host.

    Args:
        part: name of the argument.
        arrays: a pair of features and targets.

    Returns:
        A `Split` whose targets have the type that they were given in.

    Raises:
        ValueError: it is no such pair.
    """
    if not isinstance(arrays, tuple | list) or len(arrays) != 2:
        raise ValueError(f"{part} is a {type(arrays).__name__}; give a pair of features and targets")
    features, targets = jax.tree.map(np.asarray, arrays[0]), np.asarray(arrays[1])
    leaves = [*jax.tree.leaves(features), targets]
    if any(leaf.ndim == 0 or leaf.dtype.kind in "OUS" for leaf in leaves):
        raise ValueError(f"{part} has leaves that are no arrays of numbers; give arrays with a row for each example")
    counts = sorted({len(leaf) for leaf in leaves})
    if len(counts) != 1 or counts[0] < _FEWEST:
        raise ValueError(
            f"{part} has arrays of {', '.join(map(str, counts))} examples; give equally many features and targets, "
            f"{_FEWEST} or more"
        )
    return Split(features, targets)


def with_classes(splits: Mapping[str, Split]) -> tuple[dict[str, Split], int | None]:
    """Targets as measurements take them: classes from 0 on, or numbers.

    Whole numbers are classes where there are few different ones for so many examples; else they are amounts. So are 0
    and 1 as floating-point numbers, and rows of them with a single 1.

    Args:
        splits: as they were given.

    Returns:
        The splits, and how many classes there are; None for numbers.

    >>> rows = np.zeros((6, 1))
    >>> found, classes = with_classes({"train": Split(rows, np.array([-1, 1, 1, -1, 1, -1]))})
    >>> found["train"].targets.tolist(), classes
    ([0, 1, 1, 0, 1, 0], 2)
    """
    if all(_is_one_hot(split.targets) for split in splits.values()):
        splits = {n: s._replace(targets=s.targets.argmax(axis=1)) for n, s in splits.items()}
    every = np.concatenate([split.targets.ravel() for split in splits.values()])
    values = np.unique(every)
    few = len(values) <= min(_MOST_CLASSES, max(len(every) // 3, 2))
    whole = (every.dtype.kind in "iub" and few) or values.tolist() == [0, 1]
    if not whole:
        return {n: s._replace(targets=s.targets.astype(np.float32)) for n, s in splits.items()}, None
    coded = {n: s._replace(targets=np.searchsorted(values, s.targets).astype(np.int32)) for n, s in splits.items()}
    return coded, len(values)


def _is_one_hot(targets: np.ndarray) -> bool:
    if targets.ndim != 2 or targets.shape[1] < 2 or targets.dtype.kind not in "iubf":
        return False
    return bool(np.isin(targets, (0, 1)).all() and (targets.sum(axis=1) == 1).all())


def alike(splits: Mapping[str, Split]) -> None:
    """Refuses parts whose examples have other shapes than those of training.

    Args:
        splits: by name, `train` among them.

    Raises:
        ValueError: names the part and the shapes.
    """
    shapes = {part: [leaf.shape[1:] for leaf in jax.tree.leaves(split)] for part, split in splits.items()}
    for part, found in shapes.items():
        if found != shapes["train"]:
            told = [" and ".join(map(str, one)) for one in (found, shapes["train"])]
            raise ValueError(f"{part} has examples of shapes {told[0]}; those of train have {told[1]}")


def checked_loss(loss_fn: LossFn, params: Parameters, batch: Any) -> tuple[LossFn, float]:
    """The loss as a function of the floating parameters.

    Args:
        loss_fn: as it was given.
        params: of the training.
        batch: some examples.

    Returns:
        The function, and the loss there; it need not be finite.

    Raises:
        ValueError: it gives no floating scalar, or cannot be differentiated.
    """

    def of_numbers(numbers: Any, batch: Any) -> jax.Array:
        return loss_fn(params.whole(numbers), batch)

    try:
        found: Any = of_numbers(params.numbers, batch)
    except Exception as error:  # Whatever it may raise.
        raise ValueError(
            f"loss_fn cannot be called with params and (features, targets): {_first_line(error)}"
        ) from error
    if not hasattr(found, "dtype"):
        raise ValueError(f"loss_fn gives {_article(found)}; give a mean loss, a floating scalar of JAX")
    if found.shape or not jnp.issubdtype(found.dtype, jnp.floating):
        raise ValueError(
            f"loss_fn gives an array of shape {found.shape} and {found.dtype}; give a mean loss, a floating scalar"
        )
    try:
        jax.eval_shape(jax.grad(of_numbers), params.numbers, batch)
    except Exception as error:
        raise ValueError(f"loss_fn cannot be differentiated by JAX: {_first_line(error)}") from error
    return of_numbers, float(found)


def checked_apply(apply: Callable[..., Any] | None, params: Any, split: Split) -> None:
    """Refuses outputs that are no array with a row for each example.

    Args:
        apply: as it was given.
        params: of the training.
        split: some examples.

    Raises:
        ValueError: tells what it gives.
    """
    if apply is None:
        return
    outputs = apply(params, split.features)
    if not hasattr(outputs, "shape"):
        raise ValueError(
            f"apply gives {_article(outputs)}; give the outputs alone, an array with a row for each example"
        )
    if not outputs.shape or outputs.shape[0] != len(split.targets):
        raise ValueError(
            f"apply gives outputs of shape {outputs.shape} for {len(split.targets)} examples; give a row for each"
        )


def rows_of_history(history: Any) -> list[dict[str, float]]:
    """Rows of epochs, whichever way they were given.

    Args:
        history: a list of rows, or a mapping of lists; Keras' names are known too.

    Returns:
        A row for each epoch, of finite numbers alone.

    Raises:
        ValueError: it is neither, or holds what is no number.

    >>> rows_of_history({"loss": [2.0, 1.0], "val_loss": [2.5, None]})
    [{'train_loss': 2.0, 'validation_loss': 2.5}, {'train_loss': 1.0}]
    """
    if isinstance(history, Mapping):
        columns = {name: list(column) for name, column in history.items()}
        length = max(map(len, columns.values()), default=0)
        history = [{name: column[i] for name, column in columns.items() if i < len(column)} for i in range(length)]
    if isinstance(history, str) or not isinstance(history, Sequence):
        history = None
    if history is None or not all(isinstance(row, Mapping) for row in history):
        raise ValueError("history is no list of rows; give one with train_loss and validation_loss for each epoch")
    return [
        {_OTHER_NAMES.get(n, n): value for n, given in row.items() if (value := _number(n, given)) is not None}
        for row in history
    ]


def _number(name: str, given: Any) -> float | None:
    try:
        value = math.nan if given is None else float(given)
    except (TypeError, ValueError) as error:
        raise ValueError(f"history has {given!r} as {name}; give numbers") from error
    return value if math.isfinite(value) else None


def keywords_of(train_fn: Callable[..., Any]) -> tuple[set[str], bool]:
    """The keywords that a function takes.

    Args:
        train_fn: as it was given.

    Returns:
        Their names, and whether it takes any others too.

    Raises:
        ValueError: it cannot be called without arguments.
    """
    if not callable(train_fn):
        raise ValueError(f"train_fn is {_article(train_fn)}; give a function that trains anew and returns two losses")
    parameters = inspect.signature(train_fn).parameters.values()
    for one in parameters:
        if one.default is one.empty and one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL):
            raise ValueError(f"train_fn needs {one.name}; give it the default that repeats the training")
    names = {one.name for one in parameters if one.kind in (one.KEYWORD_ONLY, one.POSITIONAL_OR_KEYWORD)}
    return names, any(one.kind is one.VAR_KEYWORD for one in parameters)


def losses_of(found: Any) -> tuple[float, float]:
    """The two losses that training anew has given.

    Raises:
        ValueError: it gave something else.
    """
    try:
        train, validation = (float(loss) for loss in found)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"train_fn gives {_article(found)}; give the mean losses of training and validation"
        ) from error
    return train, validation


def _article(value: Any) -> str:
    kind = type(value).__name__
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
