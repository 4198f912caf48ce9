"""Networks as pure functions over plain dicts: the one that is built in, and anybody's own.

The only package that imports Flax.
"""

from tricks.models.functions import from_functions
from tricks.models.linen_modules import from_linen
from tricks.models.multilayer import ACTIVATIONS, INITIALIZERS, build, multilayer_perceptron, perceptron
from tricks.models.network import Apply, ModelState, Network, Params
from tricks.models.nnx_modules import from_nnx

__all__ = [
    "ACTIVATIONS",
    "INITIALIZERS",
    "Apply",
    "ModelState",
    "Network",
    "Params",
    "build",
    "from_functions",
    "from_linen",
    "from_nnx",
    "multilayer_perceptron",
    "perceptron",
]
