"""What the loss looks like around a point: products, and the ends of the spectrum. Needs jax and optax only."""

from tricks.curvature.attempt import Escape
from tricks.curvature.critical_point import CriticalPoint, classify, classify_operator
from tricks.curvature.dense import dense
from tricks.curvature.density import SpectralDensity, spectral_density
from tricks.curvature.eigenpairs import eigenpairs
from tricks.curvature.escape import escape
from tricks.curvature.lanczos import Eigenpairs
from tricks.curvature.products import Operator, gauss_newton, hessian, hvp
from tricks.curvature.sharpness import Sharpness, keskar_sharpness, relative_sharpness
from tricks.curvature.surface import Surface, error_surface, filter_normalized_direction
from tricks.curvature.trace import Estimate, trace

__all__ = [
    "CriticalPoint",
    "Eigenpairs",
    "Escape",
    "Estimate",
    "Operator",
    "Sharpness",
    "SpectralDensity",
    "Surface",
    "classify",
    "classify_operator",
    "dense",
    "eigenpairs",
    "error_surface",
    "escape",
    "filter_normalized_direction",
    "gauss_newton",
    "hessian",
    "hvp",
    "keskar_sharpness",
    "relative_sharpness",
    "spectral_density",
    "trace",
]
