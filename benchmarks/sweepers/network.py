"""A network small enough to train a hundred times: rings and blobs in noise, told apart in numpy.

Its learning curves are real ones: a rate too low is seen to be behind after a few epochs, one too high never learns.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

SIDE, HIDDEN, EPOCHS = 16, 64, 25
N_TRAIN, N_VALIDATE = 4096, 4096
NOISE = 1.3

Array = NDArray[np.float32]


def train(lr: float, weight_decay: float, dropout: float, batch_size: int) -> Iterator[float]:
    """Train two layers with momentum; gives the validation AUROC after each epoch."""
    rng = np.random.default_rng(7)
    images, labels = stamps(N_TRAIN, rng)
    held_out = stamps(N_VALIDATE, rng)
    weights = [_drawn(rng, SIDE * SIDE, HIDDEN), np.zeros(HIDDEN, np.float32), _drawn(rng, HIDDEN, 1)]
    speeds = [np.zeros_like(weight) for weight in weights]
    for _ in range(EPOCHS):
        for rows in np.split(rng.permutation(N_TRAIN), range(batch_size, N_TRAIN, batch_size)):
            kept = (rng.random((len(rows), HIDDEN)) >= dropout).astype(np.float32) / np.float32(1 - dropout)
            for weight, speed, slope in zip(
                weights, speeds, _slopes(images[rows], labels[rows], weights, kept), strict=True
            ):
                speed *= 0.9
                speed -= lr * slope
                weight *= 1 - lr * weight_decay
                weight += speed
        yield auroc(_logits(held_out[0], weights), held_out[1])


def stamps(n: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Flat images (n, 256), half of them with a ring of some radius and the others with a blob; labels (n,)."""
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    radius = np.hypot(x, y)
    labels = (np.arange(n) % 2).astype(np.float32)
    size = rng.uniform(2.0, 5.0, n)[:, None, None]
    ring = np.exp(-0.5 * ((radius - size) / 0.8) ** 2)
    blob = np.exp(-0.5 * (radius / size) ** 2)
    shapes = np.where(labels[:, None, None] == 1, ring, blob)
    shapes *= np.sqrt(SIDE) / np.linalg.norm(shapes, axis=(1, 2), keepdims=True)
    return (shapes + NOISE * rng.standard_normal(shapes.shape)).reshape(n, -1).astype(np.float32), labels


def auroc(logits: Array, labels: Array) -> float:
    """The share of pairs in the right order; 0.5 where the network has nothing finite to say."""
    if not np.isfinite(logits).all():
        return 0.5
    ranks = np.empty(len(logits))
    ranks[np.argsort(logits)] = np.arange(1, len(logits) + 1)
    n_lenses = int(labels.sum())
    n_pairs = n_lenses * (len(labels) - n_lenses)
    return float((ranks[labels == 1].sum() - n_lenses * (n_lenses + 1) / 2) / n_pairs)


def _logits(images: Array, weights: list[Array]) -> Array:
    return np.asarray(np.maximum(images @ weights[0] + weights[1], 0) @ weights[2])[:, 0]


def _slopes(images: Array, labels: Array, weights: list[Array], kept: Array) -> list[Array]:
    """Gradients of the mean binary cross-entropy."""
    hidden = np.maximum(images @ weights[0] + weights[1], 0) * kept
    wrong = (1 / (1 + np.exp(-(hidden @ weights[2])[:, 0])) - labels)[:, None] / len(labels)
    back = (wrong @ weights[2].T) * kept * (hidden > 0)
    return [images.T @ back, back.sum(axis=0), hidden.T @ wrong]


def _drawn(rng: np.random.Generator, n_in: int, n_out: int) -> Array:
    return (rng.standard_normal((n_in, n_out)) * np.sqrt(2 / n_in)).astype(np.float32)
