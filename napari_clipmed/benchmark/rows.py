"""What a measurement says: its rows, their ratios and spreads, and how a cost grows with a size. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Timing:
    """Repeats of one job.

    Parameters
    ----------
    seconds : tuple of float
        Wall clock of each repeat, at least one.
    peak_bytes : int
        Most memory beyond what was in use before, over all repeats.
    """

    seconds: tuple[float, ...]
    peak_bytes: int = 0

    @property
    def median(self) -> float:
        """Median in seconds."""
        return median(self.seconds)

    @property
    def spread(self) -> float:
        """Largest less smallest, over the median; 0 for a single repeat."""
        return (max(self.seconds) - min(self.seconds)) / self.median if self.median > 0 else 0.0

    def times(self, factor: float) -> Timing:
        """The same job so many times over, by multiplication rather than measurement."""
        return Timing(tuple(factor * s for s in self.seconds), self.peak_bytes)


@dataclass(frozen=True)
class Row:
    """One job, ours and the baseline's.

    Parameters
    ----------
    name : str
        Of `latency.NAMES`.
    what, baseline : str
        What is timed, exactly, on either side.
    ours, plain : Timing
    flops, bytes_moved : int
        Floating-point operations of our side, and bytes that its operators read and write in the plain form;
        0: not counted.
    in_bytes : bool
        The operations are done on bytes.
    """

    name: str
    what: str
    baseline: str
    ours: Timing
    plain: Timing
    flops: int = 0
    bytes_moved: int = 0
    in_bytes: bool = False

    @property
    def ratio(self) -> float:
        """How many times faster ours is, by the medians."""
        return self.plain.median / self.ours.median

    def to_json(self, ceilings: Ceilings | None = None) -> dict[str, Any]:
        """Plain values for a JSON document; shares of the ceilings where they are given."""
        shares = {} if ceilings is None else ceilings.shares(self)
        return {
            "name": self.name,
            "seconds": self.ours.median,
            "baseline_seconds": self.plain.median,
            "ratio": self.ratio,
            "spread": self.ours.spread,
            "baseline_spread": self.plain.spread,
            "repeats": len(self.ours.seconds),
            "baseline_repeats": len(self.plain.seconds),
            "peak_mb": self.ours.peak_bytes / 2**20,
            "baseline_peak_mb": self.plain.peak_bytes / 2**20,
            "what": self.what,
            "baseline": self.baseline,
            **shares,
        }


@dataclass(frozen=True)
class Ceilings:
    """What this machine reaches on the simplest of programs.

    Parameters
    ----------
    flops : float
        Operations a second of a large matrix product, in the number format of the image path.
    bandwidth : float
        Bytes a second read and written by a copy that does not fit into a cache.
    byte_flops : float
        Operations a second of a large product of bytes; 0 where nothing is computed in bytes.
    """

    flops: float
    bandwidth: float
    byte_flops: float = 0.0

    def shares(self, row: Row) -> dict[str, float]:
        """Operations and bytes of a row in a second, as shares of the ceilings; empty where not counted."""
        if not row.flops:
            return {}
        seconds, flops = row.ours.median, self.byte_flops if row.in_bytes else self.flops
        return {
            "gflop": row.flops / 1e9,
            "gbytes": row.bytes_moved / 1e9,
            "share_of_matrix_ceiling": row.flops / seconds / flops,
            "share_of_memory_ceiling": row.bytes_moved / seconds / self.bandwidth,
        }


@dataclass(frozen=True)
class Growth:
    """How the time of a job grows with one size.

    Parameters
    ----------
    name, what, unit : str
        Title of the table, what is timed, and what the sizes count.
    sizes : tuple of float
    timings : tuple of Timing
        One for each size.
    """

    name: str
    what: str
    unit: str
    sizes: tuple[float, ...]
    timings: tuple[Timing, ...]

    @property
    def exponent(self) -> float:
        """Slope of the least-squares line through log time over log size: 1 is proportional, 0 constant."""
        return fit_exponent(self.sizes, [timing.median for timing in self.timings])

    def to_json(self) -> dict[str, Any]:
        """Plain values for a JSON document."""
        return {
            "name": self.name,
            "what": self.what,
            "unit": self.unit,
            "exponent": self.exponent,
            "rows": [
                {"size": size, "seconds": timing.median, "spread": timing.spread}
                for size, timing in zip(self.sizes, self.timings, strict=True)
            ],
        }


def fit_exponent(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """Exponent b of the least-squares fit of seconds = a · size^b, in logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])
