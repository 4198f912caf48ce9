"""Examples from arrays by name: the members of a file, or what a function returns."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from tricks.data import array_checks, labels, splits
from tricks.data.raw import Raw
from tricks.data.roles import assign, chosen, listed
from tricks.errors import UserError

_FEATURES = ("features", "x", "X", "x_train", "X_train")
_TARGETS = ("targets", "y", "y_train")


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
    if isinstance(returned, Mapping) and all(isinstance(name, str) for name in returned):
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
        f"the function of the data returns what is {array_checks.described(returned)}; allowed: a dict of arrays by "
        f"name, (features, targets), or ((features, targets), (test_features, test_targets))"
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
        there, twin = next(iter(twins.items()))
        other = f"test_{alone}" if twin == f"test_{there}" else f"{alone.removesuffix('_train')}_test"
        raise UserError(f"there is {twin!r} for the test, but no {other!r}; give both")
    inputs, targets = _part(found, target, features, {name: name for name in (target, *features)})
    test_inputs, test_targets = _part(found, target, features, twins) if twins else (None, None)
    if test_targets is not None:
        name = features[0] if len(features) == 1 else "features"
        array_checks.alike(name, inputs, test_inputs, of_kind=True)
        array_checks.alike(target, targets, test_targets, of_kind=False)
    named_targets = {target: targets} | ({} if test_targets is None else {twins[target]: test_targets})
    labelled = labels.label(named_targets, task)
    parts = groups = None
    if split_column:
        texts, codes = np.unique(
            array_checks.column(split_column, found[split_column], len(targets)).astype(str), return_inverse=True
        )
        parts = splits.parse_parts(f"data.split_column is {split_column!r}", texts.tolist())[codes]
    if group_column:
        groups = np.unique(array_checks.column(group_column, found[group_column], len(targets)), return_inverse=True)[1]
    return Raw(
        inputs,
        labelled.values[0],
        labelled.classes,
        jax.tree.map(array_checks.kind, inputs),
        test_inputs,
        labelled.values[1] if twins else None,
        class_names=labelled.class_names,
        parts=parts,
        groups=groups,
    )


def _part(
    found: Mapping[str, Any], target: str, features: Sequence[str], names: Mapping[str, str]
) -> tuple[Any, np.ndarray]:
    """Features and targets of training, or of the test, which has names of its own."""
    trees = {name: array_checks.features(names[name], found[names[name]]) for name in features}
    targets = array_checks.array(names[target], found[names[target]])
    array_checks.as_many({names[target]: targets, **{names[name]: tree for name, tree in trees.items()}})
    return trees[features[0]] if len(features) == 1 else trees, targets


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
