"""Small runs for the reader's tests."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def run_frames(count: int = 6, bits: int = 12, seed: int = 0) -> NDArray[np.uint16]:
    """A small run of odd size: a smooth ground, noise, and a dark vessel that comes and goes."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:33, :41]
    ground = 0.5 + 0.3 * np.sin(rows / 9) * np.cos(columns / 7)
    flow = np.sin(np.linspace(0, np.pi, count))[:, None, None]
    vessel = np.exp(-((columns - 20) ** 2) / 8)[None] * flow * 0.3
    values = (ground - vessel + rng.normal(0, 0.01, (count, 33, 41))) * (2**bits - 1)
    return np.clip(values, 0, 2**bits - 1).astype(np.uint8 if bits == 8 else np.uint16)
