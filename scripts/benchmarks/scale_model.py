"""What a step costs on several devices: a model with few costs, fitted to measured steps, and the same of a cluster."""

import math
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.optimize import nnls

from benchmarks.scale_points import CLASSES, INPUTS, Point

TERMS = (
    "an operation (s)",
    "a number of the batch (s)",
    "a step (s)",
    "an update of a parameter (s)",
    "a byte of weights and averages beyond the cache (s)",
    "a device more in a process (s)",
    "a byte reduced in a process (s)",
    "a process more (s)",
    "a byte reduced between processes (s)",
)
_HELD = 16  # Bytes a parameter of Adam: the weight, its gradient and two averages.


def terms(point: Point, cores: int = os.cpu_count() or 1) -> np.ndarray:
    """What a step costs, as factors of the costs of `TERMS`.

    With P parameters, B examples of d numbers, n devices that share c cores and a cache of C bytes, of which
    m = min(n, c) compute at once,

        t = F B / c a + d B (n + c - 1) / (n c) x + b + P n / c u + n / m max(0, 16 P m - C) v
            + (n - 1) l + 4 P (n - 1) r                      in one process
            + (n - 1) l' + 4 P 2 (n - 1) / c r'              in several: a ring, whose ends share the cores

    where F = 2 (2 d w + 3 w w + 3 k w) operations an example of a network d-w-w-k; the first layer hands no gradient
    on. Devices of a CPU share its cores, so that compute does not get faster with n; one device divides its matrix
    products among all cores, and of what it does to each number of a batch only a part.

    Args:
        point: what is computed where.
        cores: of the machine.

    Returns:
        (terms,).
    """
    n, p, w = point.layout.total, point.parameters, point.width
    at_once = min(n, cores)
    operations = 2 * point.batch * (2 * INPUTS * w + 3 * w * w + 3 * CLASSES * w)
    within, between = ((n - 1, 4 * p * (n - 1)), (0, 0)), ((0, 0), (n - 1, 4 * p * 2 * (n - 1) / cores))
    return np.array(
        [
            operations / cores,
            INPUTS * point.batch * (n + cores - 1) / (n * cores),
            1,
            p * n / cores,
            n / at_once * max(0, _HELD * p * at_once - cache_bytes()),
            *np.ravel(within if point.layout.processes == 1 else between),
        ],
        np.float64,
    )


def cache_bytes() -> int:
    """Of the last level of a core's cache; 32 MiB where Linux does not say.

    >>> cache_bytes() > 0
    True
    """
    try:
        text = Path("/sys/devices/system/cpu/cpu0/cache/index3/size").read_text().strip()
        return int(text.rstrip("KM")) * {"K": 2**10, "M": 2**20}.get(text[-1], 1)
    except (OSError, ValueError):
        return 2**25


def fit(points: dict[Point, float], cores: int = os.cpu_count() or 1) -> np.ndarray:
    """Costs of which none is negative, by least squares of the relative errors.

    Args:
        points: seconds of a step.
        cores: of the machine.

    Returns:
        (terms,).
    """
    seconds = np.array(list(points.values()))
    rows = np.stack([terms(point, cores) for point in points]) / seconds[:, None]
    scale = np.maximum(np.abs(rows).max(0), 1e-300)
    found: np.ndarray = nnls(rows / scale[None], np.ones(len(seconds)))[0] / scale
    return found


def predicted(point: Point, costs: np.ndarray, cores: int = os.cpu_count() or 1) -> float:
    """Seconds of a step.

    Args:
        point: what is computed where.
        costs: as `fit` gives them.
        cores: of the machine.

    Returns:
        The sum of its terms.
    """
    return float(terms(point, cores) @ costs)


class Cluster(NamedTuple):
    """Accelerators of hosts; the defaults are the data sheet of NVIDIA's DGX H100, and 60 % of its peak."""

    operations: float = 0.6 * 989e12
    """A second, of one device, in bfloat16."""
    memory: float = 3.35e12
    """Bytes a second of a device's own."""
    step: float = 1e-4
    """Seconds that a step takes at the least."""
    of_host: int = 8
    within: float = 450e9
    """Bytes a second of a device to others of its host, one way."""
    between: float = 8 * 50e9
    """Bytes a second of a host to others, one way: eight ports of 400 Gb/s, of which a reduction uses all."""
    hop: float = 5e-6
    """Seconds that one message takes."""


class Work(NamedTuple):
    """A perceptron that is trained."""

    parameters: float
    batch: float
    """Examples of all devices."""
    layers: int
    batch_norm: bool = False


class Parts(NamedTuple):
    """Seconds of a step."""

    compute: float
    update: float
    reduce: float
    latency: float

    @property
    def total(self) -> float:
        """Of a step in which none hides another."""
        return sum(self)


def on_cluster(work: Work, devices: int, cluster: Cluster) -> Parts:
    """What the model says of a step on accelerators, from their data sheet instead of a fit.

        t = 6 P B / (n f) + max(b, 28 P / m) + 2 (n - 1) / n 4 P / r + k 2 log2(n) h

    with f operations and m bytes of memory a second, r bytes a second over the slower of the links that are used, h a
    message, k reductions one after another: one of gradients, and four a layer of batch normalization.

    Args:
        work: what is trained.
        devices: n.
        cluster: f, b, m, r and h.

    Returns:
        The terms.
    """
    link = cluster.within if devices <= cluster.of_host else min(cluster.within, cluster.between)
    reductions = 1 + 4 * (work.layers - 1) * work.batch_norm
    return Parts(
        6 * work.parameters * work.batch / devices / cluster.operations,
        max(cluster.step, 28 * work.parameters / cluster.memory),
        2 * (devices - 1) / devices * 4 * work.parameters / link,
        reductions * 2 * math.log2(devices) * cluster.hop,
    )
