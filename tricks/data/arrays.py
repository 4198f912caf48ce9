"""Examples from arrays by name: the members of a file, or what a function returns."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from tricks.data import labels, splits
from tricks.data.raw import Raw
from tricks.data.roles import assign, chosen, listed
from tricks.errors import UserError

_FEATURES = ("features", "x", "X", "x_train", "X_train")
_TARGETS = ("targets", "y", "y_train")
_BLOCK = 2**20


def named(returned: Any) -> dict[str, Any]:
    """What a function returned, by names.

    Args:
        returned: a dict of arrays; `(features, targets)`; or `((features, targets), (test_features, test_targets))`.
            Features may be any pytree of arrays.

    Returns:
        Features and targets by name, arrays of whatever kind.

    Raises:
        UserError: it is something else.

    >>> sorted(named(((1, 2), (3, 4))))
    ['features', 'targets', 'test_features', 'test_targets']
    """
    if isinstance(returned, Mapping):
        return dict(returned)
    if isinstance(returned, tuple) and len(returned) == 2:
        if all(isinstance(part, tuple) and len(part) == 2 for part in returned):
            (features, targets), (test_features, test_targets) = returned
            return {
                "features": features,
                "targets": targets,
                "test_features": test_features,
                "test_targets": test_targets,
            }
        return {"features": returned[0], "targets": returned[1]}
    raise UserError(
        f"the function of the data returned {_described(returned)}; allowed: a dict of arrays, (features, targets), or "
        f"((features, targets), (test_features, test_targets))"
    )


def assemble(
    found: Mapping[str, Any],
    *,
    target: str = "",
    task: str | None = None,
    ignore: str = "",
    split_column: str = "",
    group_column: str = "",
) -> Raw:
    """Finds features and targets among arrays by name, checks them, and makes classes of the targets.

    Without `target` the names tell: `features` and `targets`, or `x` (`X`) and `y`; for the test `test_features` and
    `test_targets`, or `x_test` and `y_test` beside `x_train` and `y_train`. With it all other arrays are features: one
    as the array, several as a dict; those named `test_…` or `…_test` in the same way are the test part.

    Integers are tokens, kept as they are, but for uint8 of three dimensions or more, which are pixels; bool is 0 and 1.

    Args:
        found: arrays by name; the features may be pytrees of them.
        target: name of the targets.
        task: what the loss needs, `classes` or `numbers`; None to go by the targets.
        ignore: names to leave out, with commas between.
        split_column: name of the array that tells the part of each example.
        group_column: name of the array of groups.

    Returns:
        The examples.

    Raises:
        UserError: an array is missing, of a wrong type or length, empty, or not finite.

    >>> raw = assemble({"image": np.zeros((4, 8, 8), np.uint8), "age": np.ones(4), "sick": np.arange(4) % 2 == 0},
    ...                target="sick")
    >>> sorted(raw.features), raw.kinds["image"], raw.class_names
    (['age', 'image'], 'pixels', ('false', 'true'))
    """
    left_out = chosen(list(found), "data.ignore", ignore, "arrays")
    found = {name: value for name, value in found.items() if name not in left_out}
    target, features = _roles(found, target, split_column, group_column)
    twins = {name: twin for name in (target, *features) if (twin := _twin(name, found))}
    if twins and len(twins) < 1 + len(features):
        alone = next(name for name in (target, *features) if name not in twins)
        raise UserError(f"there is {next(iter(twins.values()))!r} for the test, but no test_{alone}; give both")
    trees = {name: _arrays(name, found[name]) for name in features}
    inputs = trees[features[0]] if len(features) == 1 else trees
    targets = _array(target, found[target])
    count = len(targets)
    _check_lengths({target: targets, **trees})
    test_inputs, test_targets = None, None
    if twins:
        test_trees = {name: _arrays(twins[name], found[twins[name]]) for name in features}
        test_inputs = test_trees[features[0]] if len(features) == 1 else test_trees
        test_targets = _array(twins[target], found[twins[target]])
        _check_lengths({twins[target]: test_targets, **{twins[name]: tree for name, tree in test_trees.items()}})
        _check_alike(target, {"": targets}, {"": test_targets}, of_type=False)
        for name in features:
            _check_alike(name, trees[name], test_trees[name], of_type=True)
    named_targets = {target: targets} | ({} if test_targets is None else {twins[target]: test_targets})
    labelled = labels.label(named_targets, task)
    parts = groups = None
    if split_column:
        texts, codes = np.unique(_column(split_column, found, count).astype(str), return_inverse=True)
        parts = splits.parse_parts(f"data.split_column is {split_column!r}", texts.tolist())[codes]
    if group_column:
        groups = np.unique(_column(group_column, found, count), return_inverse=True)[1]
    return Raw(
        inputs,
        labelled.values[0],
        labelled.classes,
        jax.tree.map(_kind, inputs),
        test_inputs,
        labelled.values[1] if twins else None,
        class_names=labelled.class_names,
        parts=parts,
        groups=groups,
    )


def _roles(found: Mapping[str, Any], target: str, split: str, group: str) -> tuple[str, tuple[str, ...]]:
    names = list(found)
    if target:
        roles = assign(names, target=target, split_column=split, group_column=group, of="arrays")
        if len(roles.targets) > 1:
            raise UserError(f"data.target is {target!r}; of arrays allowed: one of {listed(names)}")
        known = {roles.targets[0], *roles.features}
        tests = {twin for name in known if (twin := _twin(name, found))}
        features = tuple(name for name in roles.features if name not in tests)
        if not features:
            raise UserError(f"data.target is {target!r}; there is no other array, so no features")
        return roles.targets[0], features
    chosen(names, "data.split_column", split, "arrays")
    chosen(names, "data.group_column", group, "arrays")
    target, inputs = _only(found, _TARGETS), _only(found, _FEATURES)
    used = {target, inputs, _twin(target, found), _twin(inputs, found), split, group}
    others = [name for name in names if name not in used]
    if others:
        raise UserError(
            f"there is an array {others[0]!r} beside {inputs!r} and {target!r}; leave it out with data.ignore, "
            f"or name the targets with data.target, so that all others are features"
        )
    return target, (inputs,)


def _only(found: Mapping[str, Any], names: tuple[str, ...]) -> str:
    there = [name for name in names if name in found]
    if len(there) > 1:
        raise UserError(f"there are both {there[0]!r} and {there[1]!r}; leave one out with data.ignore")
    if not there:
        raise UserError(
            f"there is no array {names[0]!r} (or {', '.join(names[1:])}) among {listed(list(found)) or 'none'}; "
            f"name the targets with data.target, so that all others are features"
        )
    return there[0]


def _twin(name: str, found: Mapping[str, Any]) -> str | None:
    twins = (f"test_{name}", f"{name}_test", f"{name.removesuffix('_train')}_test")
    return next((twin for twin in twins if twin in found and twin != name), None)


def _arrays(name: str, tree: Any) -> Any:
    leaves, structure = jax.tree_util.tree_flatten_with_path(tree)
    if not leaves:
        raise UserError(f"{name} is {_described(tree)}; allowed: an array, or a pytree of arrays")
    checked = [_feature(name + jax.tree_util.keystr(path), _array(name, leaf)) for path, leaf in leaves]
    return jax.tree.unflatten(structure, checked)


def _array(name: str, value: Any) -> np.ndarray:
    try:
        # Of torch and of pandas too.
        array = np.asarray(value)
    except (ValueError, TypeError) as error:
        raise UserError(f"{name} is {_described(value)}, which is no array: {error}") from error
    if array.ndim == 0:
        raise UserError(f"{name} is {_described(value)}; allowed: arrays with an example in each row")
    if array.size == 0:
        raise UserError(f"{name} of shape {array.shape} is empty; allowed: arrays with an example in each row")
    return array


def _described(value: Any) -> str:
    return f"of type {type(value).__name__}"


def _feature(name: str, array: np.ndarray) -> np.ndarray:
    if array.dtype.name == "bfloat16":
        array = array.astype(np.float32)
    if array.dtype.kind not in "biuf":
        raise UserError(f"{name} is of type {array.dtype}; allowed for features: numbers and bool")
    values = max(1, array[0].size)
    for start in range(0, len(array), max(1, _BLOCK // values)):
        block = array[start : start + max(1, _BLOCK // values)]
        if array.dtype.kind == "f":
            with np.errstate(over="ignore"):
                bad = ~np.isfinite(block.astype(np.float32, copy=False))
        elif array.dtype.kind in "iu" and array.dtype.itemsize >= 4 and array.dtype != np.int32:
            limits = np.iinfo(np.int32)
            bad = (block > limits.max) | (block < limits.min) if array.dtype.kind == "i" else block > limits.max
        else:
            return array
        if bad.any():
            place = np.unravel_index(bad.argmax(), block.shape)
            where = ", ".join(map(str, (start + place[0], *place[1:])))
            allowed = "finite numbers of float32" if array.dtype.kind == "f" else "integers of int32"
            raise UserError(f"{name}[{where}] is {block[place]}; allowed: {allowed}")
    return array


def _kind(array: np.ndarray) -> str:
    if array.dtype == np.uint8 and array.ndim >= 3:
        return "pixels"
    return "tokens" if array.dtype.kind in "iu" else "numbers"


def _column(name: str, found: Mapping[str, Any], count: int) -> np.ndarray:
    array = _array(name, found[name])
    if array.shape != (count,):
        raise UserError(f"{name} is of shape {array.shape}; allowed: ({count},), a value for each example")
    if array.dtype.kind == "S":
        array = np.char.decode(array, "utf-8", "replace")
    if array.dtype.kind not in "OUbiuf":
        raise UserError(f"{name} is of type {array.dtype}; allowed: text and numbers")
    return array.astype(str) if array.dtype.kind == "O" else array


def _check_lengths(trees: Mapping[str, Any]) -> None:
    counts = {name: len(leaf) for name, tree in trees.items() for leaf in jax.tree.leaves(tree)}
    for name, tree in trees.items():
        for leaf in jax.tree.leaves(tree):
            first, count = next(iter(counts.items()))
            if len(leaf) != count:
                raise UserError(
                    f"{first} has {count} examples and {name} has {len(leaf)}; allowed: as many, "
                    f"or leave it out with data.ignore"
                )


def _check_alike(name: str, tree: Any, other: Any, *, of_type: bool) -> None:
    structure, of_other = str(jax.tree.structure(tree)), str(jax.tree.structure(other))
    if structure != of_other:
        raise UserError(f"{name} is {structure}, for the test {of_other}; allowed: the same")
    for one, two in zip(jax.tree.leaves(tree), jax.tree.leaves(other), strict=True):
        if one.shape[1:] != two.shape[1:]:
            raise UserError(f"{name} has examples of shape {one.shape[1:]}, for the test of {two.shape[1:]}")
        if of_type and _kind(one) != _kind(two):
            raise UserError(f"{name} is of type {one.dtype}, for the test of {two.dtype}; allowed: the same")
