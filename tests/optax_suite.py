"""Runs optax's own tests with our transforms in the place of its own, a line of JSON for each.

A process of its own, on eight devices: what is substituted is seen by all of optax, and what a test leaves set is left.
"""

import contextlib
import functools
import importlib
import io
import json
import re
import sys
import time
import types
import unittest
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from unittest import mock

import jax
import jax.numpy as jnp
import optax
from absl.testing import parameterized

from tricks import transforms

TESTS = Path(optax.__file__).parent


def _sgd(learning_rate, momentum=None, nesterov=False):
    return transforms.momentum(learning_rate, 0.0 if momentum is None else momentum, nesterov)


def _adamw(learning_rate, b1=0.9, b2=0.999, eps=1e-8, weight_decay=1e-4, mask=None):
    return transforms.adamw(learning_rate, b1, b2, eps, weight_decay, mask)


def _lamb(learning_rate, b1=0.9, b2=0.999, eps=1e-6, weight_decay=0.0, mask=None):
    return transforms.lamb(learning_rate, b1, b2, eps, weight_decay, mask, trust_mask=None)


# Ours decay weights alone where optax decays everything, so None for their masks.
OPTIMIZERS = {"sgd": _sgd, "adam": transforms.adam, "adamw": _adamw, "lamb": _lamb, "rmsprop": transforms.rmsprop}
CORES = {
    "trace": transforms.scale_by_momentum,
    "scale_by_adam": transforms.scale_by_adam,
    "scale_by_rms": transforms.scale_by_rmsprop,
    "scale_by_stddev": functools.partial(transforms.scale_by_rmsprop, centered=True),
    "scale_by_trust_ratio": functools.partial(transforms.scale_by_trust_ratio, None),
    "add_decayed_weights": lambda weight_decay, mask=None: transforms.add_l2_decay(weight_decay, mask),
}
_HOMES = ("", ".transforms", "._src.alias", "._src.transform", ".transforms._accumulation", ".transforms._adding")

_STATES = "asks for the names of optax's fields of states"
_TYPES = "mu_dtype and accumulator_dtype: in_dtype is for that"
_RMS = "bias correction and eps_in_sqrt of RMSProp are not part of the definition here"
_LONG = (
    "as long as all the rest; the tests of alias and of SAM do the same without schedule-free, mechanize and plateaus"
)
_STOCK = "fails with optax's own, too: JAX says it in other words now"
# By module and name of the test, why it does not apply. A pattern without a test that it matches fails.
EXCLUDED = {
    r"alias_test \w+\.test_explicit_dtype\d+": _TYPES,
    r"transform_test \w+\.test_rms_match_adam": _RMS,
    r"_common_test \w+\.test_(optimizers|state_shape_dtype_shard_stability)\d+": _LONG,
    r"_adding_test \w+\.test_none_argument": "gives a number for the state",
    r"_sam_test \w+\.test_optimization[12]": "opaque sgd and transparent adam, for time; the other two are run",
    r"_schedule_free_test \w+\.test_schedule_free_adamw": _RMS,
    r"_accumulation_test \w+\.test_multi_steps_mixed_precision[01]": f"{_TYPES}; the one without takes half a minute",
    r"float64_test \w+\.test_\w+_fromage": "fromage asks add_decayed_weights for a negative strength",
    r"combine_test \w+\.test_extra_args": "gives integers to Adam, which are refused: their updates would be zeros",
    r"_combining_test \w+\.test_extra_args": "gives integers to Adam, which are refused: their updates would be zeros",
    r"combine_test \w+\.test_labels_mismatch\d": "a trace with a decay of 1, which is refused",
    r"_combining_test \w+\.test_labels_mismatch\d": "a trace with a decay of 1, which is refused",
    r"_masking_test \w+\.test_masked_state_structure": _STATES,
    r"_freezing_test \w+\.test_selective_bad_structure": _STOCK,
    r"_state_utils_test \w+\.test_(adam|dict_based_optimizers|inject_hparams|map_(non_)?params_to_none)": _STATES,
    r"_state_utils_test \w+\.test_tree_(get|set|get_all_with_path)": _STATES,
}
# The modules, with a pattern where the tests of others would be run, too.
_SHARDING = "_src/sharding_test.py"
MODULES = {
    "_src/alias_test.py": "AliasTest",
    "_src/transform_test.py": "",
    "_src/float64_test.py": "",
    "_src/lookahead_test.py": "",
    "_src/combine_test.py": "",
    _SHARDING: f"_({'|'.join(OPTIMIZERS)})$",
    "contrib/_common_test.py": "",
    "contrib/_complex_valued_test.py": "",
    "contrib/_sam_test.py": "",
    "contrib/_schedule_free_test.py": "",
    "schedules/_inject_test.py": "",
    "transforms/_accumulation_test.py": "",
    "transforms/_adding_test.py": "",
    "transforms/_combining_test.py": "",
    "transforms/_conditionality_test.py": "",
    "transforms/_constraining_test.py": "",
    "transforms/_freezing_test.py": "",
    "transforms/_layouts_test.py": "",
    "transforms/_masking_test.py": "",
    "transforms/_monitoring_test.py": "",
    "tree_utils/_state_utils_test.py": "",
}
# Modules that name what we have, and why they are left out.
LEFT_OUT = {
    "contrib/_galore_test.py": _TYPES,
    "_src/linesearch_test.py": "about lengths of steps, for which sgd gives a direction",
    "experimental/_aggregating_test.py": "about means of gradients, which sgd follows afterwards",
}


def _few(dtypes: Iterable) -> list:
    return [dtype for dtype in dtypes if jnp.dtype(dtype) in (jnp.bfloat16, jnp.float32, jnp.complex64)]


def _about_us(product: Callable) -> Callable:
    """Of optax's tables of optimizers the rows of ours."""

    def is_ours(row):
        name, arguments = row.get("opt_name", "sgd"), row.get("opt_kwargs", {})
        if row.get("wrapper_name") == "mechanize" and arguments["learning_rate"] == 1.0:
            # One of many, which are all alike.
            return name == "adam"
        # The momentum of optax's rmsprop comes after its rate, and is none of ours.
        return name in OPTIMIZERS and not (name == "rmsprop" and "momentum" in arguments)

    def of_ours(*tables, **others):
        # The other types are those of tests/test_transforms_contract.py.
        kept = {name: _few(values) if name == "dtype" else values for name, values in others.items()}
        return product(*(tuple(filter(is_ours, table)) for table in tables), **kept)

    return of_ours


@contextlib.contextmanager
def _substituted(path: str, used: set[str]) -> Iterator[None]:
    """Ours in all of optax, which say that they were used."""
    # That module makes all optimizers of optax, which want their own cores.
    makers = OPTIMIZERS if path == _SHARDING else {**OPTIMIZERS, **CORES}

    def heard(name: str, make: Callable) -> Callable:
        @functools.wraps(make)
        def told(*args, **kwargs):
            used.add(name)
            return make(*args, **kwargs)

        return told

    homes = [importlib.import_module(f"optax{home}") for home in _HOMES]
    with contextlib.ExitStack() as stack:
        for name, make in makers.items():
            for home in homes:
                if hasattr(home, name):
                    stack.enter_context(mock.patch.object(home, name, heard(name, make)))
        yield


def _tests(module: types.ModuleType) -> Iterator[unittest.TestCase]:
    for suite in unittest.defaultTestLoader.loadTestsFromModule(module):
        yield from suite


def _module(path: str) -> types.ModuleType:
    """A module of tests, read again, since it takes what it tests when it is read."""
    module = types.ModuleType(Path(path).stem)
    sys.modules[module.__name__] = module
    exec(compile((TESTS / path).read_text(), TESTS / path, "exec"), module.__dict__)
    return module


def _outcome(test: unittest.TestCase) -> dict[str, str]:
    result = unittest.TestResult()
    with contextlib.redirect_stdout(io.StringIO()):
        test.run(result)
    trouble = [*result.failures, *result.errors]
    return {"skipped": result.skipped[0][1] if result.skipped else "", "failed": trouble[0][1] if trouble else ""}


def main(*paths: str) -> None:
    """Runs the modules, and prints what came of each test in which something of ours was used."""
    assert jax.device_count() == 8
    # It warns of its own arguments.
    warnings.filterwarnings("ignore", module="optax")
    used: set[str] = set()
    for path in paths or MODULES:
        # That of sharding compares versions as text, by which 0.10 is older than 0.7.
        newest = mock.patch.object(jax, "__version__", "9") if path == _SHARDING else contextlib.nullcontext()
        with (
            newest,
            _substituted(path, used),
            mock.patch.object(parameterized, "product", _about_us(parameterized.product)),
        ):
            module = _module(path)
            for test in _tests(module):
                _report(module.__name__, test, MODULES[path], used)


def _report(module: str, test: unittest.TestCase, about: str, used: set[str]) -> None:
    name = f"{module} {type(test).__name__}.{test._testMethodName}"
    excluded = [pattern for pattern in EXCLUDED if re.fullmatch(pattern, name)]
    if excluded:
        print(json.dumps({"test": name, "excluded": excluded[0]}))
    elif re.search(about, name):
        used.clear()
        start = time.perf_counter()
        outcome = _outcome(test)
        # Optimizers of the tests of sharding are made when those are read.
        if used or about:
            print(json.dumps({"test": name, "seconds": round(time.perf_counter() - start, 2), **outcome}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
