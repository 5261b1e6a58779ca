"""What `classify` and `segment` share when they answer many cases."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_clipmed.cli._common import progress_line, writing_to

if TYPE_CHECKING:
    from napari_clipmed.batch.case import CaseJob, CaseResult, Question
    from napari_clipmed.progress import Progress

Results = Annotated[
    Path | None, typer.Option(help="One file for all answers: .jsonl, or .parquet (needs pyarrow).")
]
Resume = Annotated[
    bool,
    typer.Option("--resume", help="Skip what --results answers already."),
]
WithPaths = Annotated[
    bool, typer.Option("--with-paths", help="Keep source paths in --results; they may name the patient.")
]
Scheduler = Annotated[
    str, typer.Option(help="Let a Dask cluster answer, by the address of its scheduler: tcp://host:8786.")
]


@dataclass
class Tally:
    """What became of a batch."""

    answered: int = 0
    failed: int = 0
    skipped: int = 0
    records: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class BatchOptions:
    """Where a batch runs and what it leaves."""

    out: Path
    results: Path | None = None
    resume: bool = False
    with_paths: bool = False
    scheduler: str = ""
    force: bool = False


def answer_all(
    paths: Sequence[Path],
    question: Question,
    options: BatchOptions,
    show: Callable[[dict[str, Any]], None] | None,
) -> Tally:
    """Answer every study among the paths; write its files and its record as soon as they are there.

    Parameters
    ----------
    show : callable or None
        Receives each record for the screen; where None the records are kept in the tally.
    """
    from napari_clipmed.batch.results import ResultsFile
    from napari_clipmed.whole_files import whole_file

    tally = Tally()
    with ExitStack() as open_files:
        open_files.enter_context(writing_to(options.out))
        options.out.mkdir(parents=True, exist_ok=True)
        file: ResultsFile | None = None
        if options.results is not None:
            file = open_files.enter_context(
                ResultsFile(options.results, options.resume, options.force, options.with_paths)
            )
        done = set(file.done) if file is not None and options.resume else set()
        progress = open_files.enter_context(progress_line("Reading headers"))
        for result in _stream(paths, question, options, done, progress):
            if result.skipped:
                tally.skipped += 1
                continue
            for name, content in result.files.items():
                with whole_file(options.out / name, replace=True) as unfinished:
                    unfinished.write_bytes(content)
            if file is not None:
                file.append(result.record)
            tally.answered += result.record["status"] == "ok"
            tally.failed += result.record["status"] == "failed"
            if show is None:
                tally.records.append(result.record)
            else:
                show(result.record)
            progress.step("Cases answered", tally.answered + tally.failed + tally.skipped)
    tally.records.sort(key=lambda record: record["number"])
    return tally


def measure(paths: Sequence[Path], question: Question) -> dict[str, Any]:
    """Seconds of the pipeline and of the plain loop over the same cases, in turns; nothing is written."""
    from statistics import median

    from napari_clipmed.batch.throughput import compare_throughput

    with progress_line("Reading headers") as progress:
        found = compare_throughput(list(_jobs(paths, question, progress)), progress=progress)
    return {
        "cases": found.cases,
        "seconds": median(found.streamed),
        "baseline_seconds": median(found.plain),
        "ratio": found.ratio,
        "rounds": {"streamed": list(found.streamed), "one_after_another": list(found.plain)},
    }


def _stream(
    paths: Sequence[Path], question: Question, options: BatchOptions, done: set[str], progress: Progress
) -> Iterator[CaseResult]:
    jobs = _jobs(paths, question, progress)
    if options.scheduler:
        from napari_clipmed.batch.cluster import cluster_cases

        return cluster_cases(jobs, options.scheduler, done.__contains__ if done else None, progress)
    from napari_clipmed.batch.pipeline import stream_cases

    return stream_cases(jobs, done.__contains__, progress)


def _jobs(paths: Sequence[Path], question: Question, progress: Progress) -> Iterator[CaseJob]:
    from napari_clipmed.batch.case import CaseJob
    from napari_clipmed.batch.sources import find_sources

    for number, source in enumerate(find_sources(paths, progress), start=1):
        problem = source.problem
        yield CaseJob(
            number,
            tuple(str(path.resolve()) for path in source.paths),
            question,
            problem.message if problem is not None else "",
            problem.hint if problem is not None else "",
        )
