"""Pipeline against the plain loop, on the same cases, in one process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from napari_clipmed.batch.case import CaseJob, CaseResult, engine_for
from napari_clipmed.batch.pipeline import one_after_another, stream_cases
from napari_clipmed.errors import ClipmedError
from napari_clipmed.progress import Progress


@dataclass(frozen=True)
class Throughput:
    """Seconds for all cases, one value a round.

    Parameters
    ----------
    cases : int
    streamed, plain : tuple of float
        With all stages busy, and one case after the other.
    """

    cases: int
    streamed: tuple[float, ...]
    plain: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """How many times faster the pipeline is: medians of the rounds."""
        return median(self.plain) / median(self.streamed)


def compare_throughput(
    jobs: Sequence[CaseJob], rounds: int = 3, progress: Progress | None = None
) -> Throughput:
    """Answer the same cases by both ways in turns; features are forgotten before each.

    Raises
    ------
    ClipmedError
        When a case fails, since failures cost no time.
    Cancelled
    """
    progress = progress or Progress()
    if not jobs or jobs[0].problem:
        raise ClipmedError("There is no case to measure with.", "Give a folder of studies.")
    engine = engine_for(jobs[0].question)
    ways: dict[str, Callable[[], Iterable[CaseResult]]] = {
        "streamed": lambda: stream_cases(jobs),
        "plain": lambda: one_after_another(jobs),
    }
    for result in one_after_another(jobs[:1]):  # the model is loaded, the files are in the system's cache
        _check(result)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds):
        for name, way in ways.items():
            progress.step("Answering cases", turn, rounds)
            engine.cache.clear()
            began = time.perf_counter()
            for result in way():
                _check(result)
            seconds[name].append(time.perf_counter() - began)
    return Throughput(len(jobs), tuple(seconds["streamed"]), tuple(seconds["plain"]))


def _check(result: CaseResult) -> None:
    if result.record["status"] != "ok":
        raise ClipmedError(f"A case failed: {result.record['error']}", "Leave it out.")
