"""The same cases on a Dask cluster: a worker may die, and nothing is lost and nothing is counted twice.

Workers are told plain values and give plain values back; they read the files under the same paths and have
the same models. A case whose worker died is given to another one by Dask. Results are collected here, one for
each case, whichever worker answered.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

from napari_clipmed.batch.case import SKIPPED, CaseJob, CaseResult, failed_record, run_case
from napari_clipmed.batch.sources import source_hash
from napari_clipmed.errors import ClipmedError, UnreadableFileError
from napari_clipmed.progress import Progress

IN_FLIGHT = 8
"""Cases a worker that are known to the scheduler; the others wait here, so that it stays small."""

CONNECT_SECONDS = 10
TRIES = 3
"""How often a case is given to another worker."""


def cluster_cases(
    jobs: Iterable[CaseJob],
    address: str,
    done: Callable[[str], bool] | None = None,
    progress: Progress | None = None,
) -> Iterator[CaseResult]:
    """Answer cases on a cluster, in the order in which they finish.

    Parameters
    ----------
    jobs : iterable of CaseJob
    address : str
        Of the scheduler, such as ``tcp://host:8786``.
    done : callable, optional
        Whether the answer of a key is known already; the files are hashed here to ask.
    progress : Progress, optional
        Asked after every case.

    Yields
    ------
    CaseResult
        Exactly one a job.

    Raises
    ------
    ClipmedError
        When Dask is not installed, or the scheduler does not answer.
    """
    progress = progress or Progress()
    client, as_completed = _connect(address)
    at_once = IN_FLIGHT * max(len(client.scheduler_info()["workers"]), 1)
    waiting = iter(jobs)
    asked: dict[str, CaseJob] = {}
    finished = as_completed(loop=client.loop)
    try:
        while True:
            while len(asked) < at_once and (job := next(waiting, None)) is not None:
                if done is not None and _is_done(job, done):
                    yield SKIPPED
                    continue
                key = _task_name(job)
                asked[key] = job
                finished.add(client.submit(run_case, job, key=key, retries=TRIES))
            if not asked:
                return
            progress.step("Waiting for the cluster")
            future = next(finished)
            yield _result_of(future, asked.pop(future.key))
            future.release()
    finally:
        client.close()


def _task_name(job: CaseJob) -> str:
    """The same case is the same task: asked twice, Dask computes it once."""
    return f"clipmed-case-{job.number}-{sha256(json.dumps(asdict(job)).encode()).hexdigest()}"


def _result_of(future: Any, job: CaseJob) -> CaseResult:
    """What a worker answered, or a record that it never did."""
    error = future.exception()
    if error is None:
        result: CaseResult = future.result()
        return result
    lost = ClipmedError(
        f"The workers died over this case ({type(error).__name__}).",
        "Look at their logs; it may need more memory than they have. Run again with --resume.",
    )
    return CaseResult(failed_record(job, "", lost))


def _is_done(job: CaseJob, done: Callable[[str], bool]) -> bool:
    try:
        return not job.problem and done(job.question.key(source_hash(map(Path, job.paths))))
    except UnreadableFileError:
        return False  # the worker will say so


def _connect(address: str) -> tuple[Any, Any]:
    try:
        from distributed import Client, as_completed
    except ImportError as missing:
        raise ClipmedError(
            "A cluster needs the package distributed.",
            'Install it with `pip install "napari-clipmed[cluster]"`.',
        ) from missing
    try:
        return Client(address, timeout=CONNECT_SECONDS, set_as_default=False), as_completed
    except (OSError, TimeoutError, ValueError) as error:
        raise ClipmedError(
            f"No Dask scheduler answers at {address}.",
            "Start one with `dask scheduler`, workers with `dask worker ADDRESS`, and check the address.",
        ) from error
