"""Data with a known answer for the experiments on critical points."""

_SADDLE = {
    "gradient": [0.0, 0.0],
    "hessian": [[0.0, -2.0], [-2.0, 0.0]],
    "verdict": "saddle",
    "loss": 1.0,
    "loss_both_ways": [0.5625, 0.5625],
    "loss_other_ways": [1.5625, 1.5625],
    "escaped_to": [1.0, 1.0],
    "products": 2,
    "side": [-1.0, 0.0, 1.0],
    "losses": [[0.0, 1.0, 4.0], [1.0, 1.0, 1.0], [4.0, 1.0, 0.0]],
}

KNOWN = {
    "toy_saddle": {
        "supported": _SADDLE,
        # As the notes with the erratum have it: [1, 1] with the eigenvalue 2.
        "refuted": {**_SADDLE, "hessian": [[0.0, 2.0], [2.0, 0.0]]},
    },
}
