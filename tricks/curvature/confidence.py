"""How sure one may be that Lanczos from a random start has not missed the end of a spectrum."""

import math


def missed(size: int, steps: int, share: float) -> float:
    """Bound on the probability that an end lies further out than the Ritz value by a share of the whole spread.

    P(lambda_max - theta > share (lambda_max - lambda_min)) <= 1.648 sqrt(n) exp(-sqrt(share) (2 k - 1)), for any
    spectrum, over random starts.

    Args:
        size: n.
        steps: k, products from one random start without a restart.
        share: of lambda_max - lambda_min, above 0.

    Returns:
        A probability.

    >>> missed(100_000, 200, 1e-3) < 0.01 < missed(100_000, 150, 1e-3)
    True

    Source: Kuczynski and Wozniakowski 1992, theorem 4.2.
    """
    return min(1.0, 1.648 * math.sqrt(size) * math.exp(-math.sqrt(share) * (2 * steps - 1)))


def steps_needed(size: int, share: float, failure: float) -> int:
    """Fewest products after which `missed` is at most `failure`.

    >>> k = steps_needed(100_000, 1e-3, 0.01)
    >>> missed(100_000, k, 1e-3) <= 0.01 < missed(100_000, k - 1, 1e-3)
    True
    """
    return max(1, math.ceil((math.log(1.648 * math.sqrt(size) / failure) / math.sqrt(share) + 1) / 2))
