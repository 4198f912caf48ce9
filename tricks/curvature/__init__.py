"""What the loss looks like around a point: products, and the ends of the spectrum. Needs jax and optax only."""

from tricks.curvature.critical_point import CriticalPoint, classify, classify_operator
from tricks.curvature.dense import dense
from tricks.curvature.density import SpectralDensity, spectral_density
from tricks.curvature.eigenpairs import eigenpairs
from tricks.curvature.lanczos import Eigenpairs
from tricks.curvature.products import Operator, gauss_newton, hessian, hvp
from tricks.curvature.trace import Estimate, trace

__all__ = [
    "CriticalPoint",
    "Eigenpairs",
    "Estimate",
    "Operator",
    "SpectralDensity",
    "classify",
    "classify_operator",
    "dense",
    "eigenpairs",
    "gauss_newton",
    "hessian",
    "hvp",
    "spectral_density",
    "trace",
]
