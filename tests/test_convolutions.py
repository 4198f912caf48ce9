"""Convolutions with their axes in another order are the same ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from conftest import run_python

_CODE = """
import jax, jax.numpy as jnp, numpy as np, sys
from jax import lax
from tricks.cli import convolutions
sys.path.insert(0, "tests")
from test_convolutions import CASES, gradients
before = [gradients(case) for case in CASES]
convolutions.enable()
convolutions.enable()
jax.clear_caches()
after = [gradients(case) for case in CASES]
for case, one, other in zip(CASES, before, after):
    for a, b in zip(one, other):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5, err_msg=str(case))
kernel = jax.grad(lambda k, x: jnp.sum(lax.conv_general_dilated(x, k, (1, 1), "SAME", dimension_numbers=CASES[0][0])))
text = jax.jit(kernel).lower(jnp.ones((3, 3, 2, 4)), jnp.ones((2, 6, 6, 2))).as_text()
assert "[b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]" in text, text
print("same")
"""
# Order of axes, strides, padding, dilations of both sides, groups of features.
CASES = [
    (("NHWC", "HWIO", "NHWC"), (1, 1), "SAME", ((1, 1), (1, 1)), 1),
    (("NCHW", "OIHW", "NCHW"), (2, 1), "VALID", ((1, 1), (1, 2)), 1),
    (("HWNC", "IHWO", "CHNW"), (1, 2), ((2, 1), (0, 3)), ((2, 1), (1, 1)), 1),
    (("NCHW", "HWIO", "NHWC"), (1, 1), "SAME", ((1, 1), (1, 1)), 2),
]


def gradients(case):
    """Of a convolution and of its gradient, by its input and its kernel."""
    order, strides, padding, (lhs_dilation, rhs_dilation), groups = case
    sizes = {"N": 2, "H": 7, "W": 6, "C": 4, "O": 6, "I": 4 // groups}
    x = jnp.sin(jnp.arange(2 * 7 * 6 * 4.0)).reshape([sizes[axis] for axis in order[0]])
    of_kernel = {**sizes, "H": 3, "W": 2}
    k = jnp.cos(jnp.arange(3 * 2 * 6 * 4.0 / groups)).reshape([of_kernel[axis] for axis in order[1]])

    def value(x, k):
        out = lax.conv_general_dilated(
            x,
            k,
            strides,
            padding,
            lhs_dilation=lhs_dilation,
            rhs_dilation=rhs_dilation,
            dimension_numbers=order,
            feature_group_count=groups,
        )
        return jnp.sum(jnp.sin(out * jnp.arange(out.size).reshape(out.shape) / out.size))

    # In a loop, as the steps of a chunk are.
    def looped(x, k):
        return lax.fori_loop(0, 1, lambda i, _: jax.grad(value, argnums=(0, 1))(x, k), (x, k))

    second = jax.grad(lambda x, k: sum(jnp.sum(jnp.sin(g)) for g in jax.grad(value, argnums=(0, 1))(x, k)), (0, 1))
    return [np.asarray(a) for a in (*jax.jit(looped)(x, k), *jax.jit(second)(x, k))]


def test_all_orders_give_the_same_gradients():
    done = run_python("-c", _CODE)
    assert done.status == 0, done.error
    assert done.output.strip() == "same"


@pytest.mark.parametrize("missing", ["_platform_specific_lowerings", "_lowerings"])
def test_without_a_place_for_it_in_jax_nothing_changes(missing):
    code = (
        "from jax.interpreters import mlir\nfrom tricks.cli import convolutions\n"
        f"del mlir.{missing}\nconvolutions.enable()\n"
        "import jax\nprint(jax.lax.conv(jax.numpy.ones((1, 1, 3)), jax.numpy.ones((1, 1, 3)), (1,), 'VALID'))"
    )
    done = run_python("-c", code)
    assert done.status == 0, done.error
    assert "3." in done.output
