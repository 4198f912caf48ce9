"""Training tricks for neural networks, in JAX.

`tricks.transforms` and `tricks.schedules` need jax and optax only; everything else comes with the extra `train`.
"""

__version__ = "0.1.0"
