"""Decode, encode and write at the same time, with little in memory.

Threads decode the next cases while the model answers this one and another thread draws and writes the last
ones. The queues between them are short, so that a folder of any size needs the memory of a few studies.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from napari_clipmed.batch.case import (
    SKIPPED,
    CaseJob,
    CaseResult,
    ReadCase,
    answer_case,
    dress_case,
    engine_for,
    read_case,
)
from napari_clipmed.progress import Progress

READERS = 2
"""Threads that decode; more only take the processor from the model."""

AHEAD = 3
"""Cases that wait decoded, and cases that wait to be written."""


def stream_cases(
    jobs: Iterable[CaseJob],
    done: Callable[[str], bool] = lambda key: False,
    progress: Progress | None = None,
    ahead: int = AHEAD,
) -> Iterator[CaseResult]:
    """Answer cases in their order on this machine.

    Parameters
    ----------
    jobs : iterable of CaseJob
        Taken only as fast as they are worked on.
    done : callable
        Whether the answer of a key is known already; such a case gives `SKIPPED`.
    progress : Progress, optional
        Asked between cases and within them; a cancelled batch stops there.
    ahead : int
        Length of the queues.

    Yields
    ------
    CaseResult
        One a job.
    """
    progress = progress or Progress()
    reading: deque[Future[ReadCase | None]] = deque()
    dressing: deque[Future[CaseResult]] = deque()
    with ThreadPoolExecutor(READERS) as readers, ThreadPoolExecutor(1) as dressers:

        def answer_next() -> None:
            read = reading.popleft().result()
            dressing.append(dressers.submit(_finish(read, progress)))

        try:
            for job in jobs:
                reading.append(readers.submit(read_case, job, done))
                if len(reading) > ahead:
                    answer_next()
                while dressing and (len(dressing) > ahead or dressing[0].done()):
                    yield dressing.popleft().result()
            while reading:
                answer_next()
                while dressing and (len(dressing) > ahead or dressing[0].done()):
                    yield dressing.popleft().result()
            while dressing:
                yield dressing.popleft().result()
        finally:
            readers.shutdown(wait=False, cancel_futures=True)
            dressers.shutdown(wait=False, cancel_futures=True)


def one_after_another(jobs: Iterable[CaseJob]) -> Iterator[CaseResult]:
    """The plain loop, for comparison: nothing is decoded or drawn while the model computes."""
    for job in jobs:
        read = read_case(job)
        yield _finish(read, Progress())()


def _finish(read: ReadCase | None, progress: Progress) -> Callable[[], CaseResult]:
    """Answer a case now; what is left to do without the model is returned."""
    if read is None:
        return lambda: SKIPPED
    failed = read.failed
    if failed is not None:
        return lambda: CaseResult(failed)
    answered = answer_case(read, engine_for(read.job.question), progress)
    return lambda: dress_case(answered)
