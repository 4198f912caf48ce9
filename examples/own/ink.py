"""Where the ink of a digit lies: pictures of digits, and the place of the mean of their ink, two numbers."""

import numpy as np

from tricks import data


def load(noise=0.0):
    """Pictures (n, 8, 8, 1) with noise, and the row and the column of the mean of their ink."""
    digits = data.load("digits", normalization="none")
    pictures = np.concatenate([digits.train.features, digits.validation.features, digits.test.features])
    pictures = pictures.reshape(-1, 8, 8, 1)
    ink = pictures[..., 0] / pictures.sum(axis=(1, 2))[..., 0][:, None, None]
    places = np.arange(8, dtype=np.float32)
    targets = np.stack([ink.sum(axis=2) @ places, ink.sum(axis=1) @ places], axis=1)
    drawn = np.random.default_rng(0).normal(0, noise, pictures.shape)
    return {"features": (pictures + drawn).astype(np.float32), "targets": targets}
