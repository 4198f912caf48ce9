"""Optax's own tests, run with our transforms in the place of its own: see optax_suite.py for what does not apply."""

import json
import re

import optax_suite
import pytest

from conftest import QUICKLY_COMPILED, run_python

_PARTS = {
    "alias": ["_src/alias_test.py"],
    "wrappers": [path for path in optax_suite.MODULES if path.startswith("contrib")],
    "others": [path for path in optax_suite.MODULES if not path.startswith(("contrib", "_src/alias"))],
}


@pytest.fixture(scope="module")
def seen():
    return set()


@pytest.mark.parametrize("part", _PARTS)
def test_optax_s_own_tests_pass_with_ours(part, seen):
    code = "import sys; sys.path.insert(0, 'tests'); import optax_suite; optax_suite.main(*sys.argv[1:])"
    done = run_python(
        "-c", code, *_PARTS[part], XLA_FLAGS=f"{QUICKLY_COMPILED} --xla_force_host_platform_device_count=8"
    )
    assert done.status == 0, done.error[-2000:]
    lines = [json.loads(line) for line in done.output.splitlines()]
    seen |= {line["excluded"] for line in lines if "excluded" in line}
    ran = [line for line in lines if "failed" in line and not line["skipped"]]
    failed = {line["test"]: line["failed"].strip().splitlines()[-1] for line in ran if line["failed"]}
    assert not failed
    assert len(ran) > 30, [line["test"] for line in ran]


def test_each_exclusion_is_of_a_test(seen):
    if len(seen) == 0:
        pytest.skip("the parts were run by other workers")
    idle = {*optax_suite.EXCLUDED} - seen
    assert not idle, f"take {idle} out of EXCLUDED"


def test_every_module_that_names_what_we_have_is_run_or_left_out_for_a_reason():
    names = "|".join([*optax_suite.OPTIMIZERS, *optax_suite.CORES])
    homes = r"\b(optax|alias|transforms?|_accumulation|_adding)\."
    naming = {
        str(path.relative_to(optax_suite.TESTS))
        for path in optax_suite.TESTS.rglob("*_test.py")
        if re.search(rf"{homes}({names})\b", path.read_text())
    }
    # These name them as text.
    naming |= {"contrib/_common_test.py", "contrib/_sam_test.py"}
    assert naming == {*optax_suite.MODULES, *optax_suite.LEFT_OUT}
    assert all(optax_suite.LEFT_OUT.values())
