"""The cache keeps to its budget, forgets the oldest, and survives many threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from napari_clipmed.inference.cache import FeatureCache, size_of
from napari_clipmed.inference.preprocess import Preprocessing, prepare_run

MIB = 2**20


def block(mib: float) -> torch.Tensor:
    return torch.zeros(int(mib * MIB), dtype=torch.uint8)


def test_the_least_recently_used_is_forgotten_first() -> None:
    cache = FeatureCache(budget_mb=3)
    for name in "abc":
        cache.put(name, block(1))
    assert cache.get("a") is not None
    cache.put("d", block(1))
    assert cache.get("b") is None
    assert cache.get("a") is not None
    assert cache.use.used_bytes == 3 * MIB


def test_a_value_larger_than_the_budget_is_kept_alone() -> None:
    cache = FeatureCache(budget_mb=1)
    cache.put("small", block(0.5))
    cache.put("huge", block(5))
    assert cache.get("huge") is not None
    assert cache.get("small") is None


def test_replacing_a_value_counts_its_bytes_once() -> None:
    cache = FeatureCache(budget_mb=10)
    cache.put("a", block(4))
    cache.put("a", block(1))
    assert cache.use.used_bytes == MIB
    cache.clear()
    assert cache.use.used_bytes == 0
    assert cache.use.entries == 0


def test_a_value_is_made_once() -> None:
    cache, made = FeatureCache(), []
    for _ in range(3):
        cache.get_or_make("key", lambda: made.append(1) or "value")
    assert len(made) == 1
    assert (cache.use.hits, cache.use.misses) == (2, 1)


def test_the_bytes_inside_objects_and_containers_are_counted() -> None:
    prepared = prepare_run(np.zeros((4, 32, 32), np.uint8), Preprocessing(size=32))
    assert size_of((prepared, torch.zeros(10))) >= 4 * 32 * 32 * 4 + 40


def test_many_threads_leave_the_bookkeeping_right() -> None:
    cache = FeatureCache(budget_mb=2)

    def work(seed: int) -> None:
        for key in np.random.default_rng(seed).integers(0, 20, 200):
            if cache.get(int(key)) is None:
                cache.put(int(key), block(0.25))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    use = cache.use
    assert use.used_bytes == use.entries * MIB // 4 <= 2 * MIB
