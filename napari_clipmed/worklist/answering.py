"""The model's answer about every case of the worklist, in the background; it waits when a person needs it.

The next case is decoded while the model reads this one. A case that cannot be read costs that case only.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event, Lock
from typing import TYPE_CHECKING

from napari_clipmed.errors import Cancelled, ClipmedError, ModelError, WorkspaceError
from napari_clipmed.progress import Progress, Step
from napari_clipmed.records import Listed
from napari_clipmed.worklist.reading import read_study

if TYPE_CHECKING:
    from napari_clipmed.inference.engine import Engine
    from napari_clipmed.study import Study
    from napari_clipmed.worklist.keeping import Shelves

ANSWERING = "Classifying the worklist"
LOOK_S = 0.1
"""How often a held job looks whether it may go on or was cancelled."""


class Gate:
    """Holds a background job while somebody needs the machine; safe from any thread."""

    def __init__(self) -> None:
        self._open = Event()
        self._open.set()
        self._reasons: set[str] = set()
        self._at_work: Progress | None = None
        self._lock = Lock()

    @property
    def held(self) -> bool:
        """Whether the job waits."""
        return not self._open.is_set()

    def hold(self, reason: str) -> None:
        """Interrupt the job at its next safe point and keep it waiting."""
        with self._lock:
            self._reasons.add(reason)
            self._open.clear()
            if self._at_work is not None:
                self._at_work.cancel()

    def release(self, reason: str) -> None:
        """Take a reason to wait back; the job goes on when none is left."""
        with self._lock:
            self._reasons.discard(reason)
            if not self._reasons:
                self._open.set()

    def run(self, work: Callable[[Progress], None], progress: Progress, step: Step) -> None:
        """Run something that may be interrupted and begun anew, until it has been done once.

        Raises
        ------
        Cancelled
            When `progress` was.
        """
        while True:
            while not self._open.wait(LOOK_S):
                progress.step(step.what, step.done, step.total)
            inner = Progress(lambda _: progress.step(step.what, step.done, step.total))
            with self._lock:
                if self._reasons:
                    continue
                self._at_work = inner
            try:
                work(inner)
                return
            except Cancelled:
                if progress.cancelled:
                    raise
            finally:
                self._at_work = None


@dataclass(frozen=True)
class Answered:
    """What became of one entry: its case, or why it has no answer."""

    listed: Listed
    problem: str = ""


def answer_all(
    entries: Sequence[Listed],
    engine: Engine,
    shelves: Shelves,
    progress: Progress | None = None,
    gate: Gate | None = None,
) -> Iterator[Answered]:
    """Classify entries and keep what the model says.

    Parameters
    ----------
    entries : sequence of Listed
    engine : Engine
    shelves : Shelves
        Where the answers go.
    progress : Progress, optional
        A cancelled job stops within the case at work; answers given before are kept.
    gate : Gate, optional
        Lets a person go first.

    Yields
    ------
    Answered
        One an entry, in their order.

    Raises
    ------
    ModelError, WorkspaceError
        What concerns every case, such as a missing model or a full disk.
    """
    progress, gate = progress or Progress(), gate or Gate()
    ahead: deque[Future[Study]] = deque()
    waiting = iter(entries)

    with ThreadPoolExecutor(1, thread_name_prefix="clipmed worklist") as readers:

        def decode_next() -> None:
            entry = next(waiting, None)
            if entry is not None:
                ahead.append(readers.submit(read_study, entry, shelves.store, _child(progress)))

        try:
            decode_next()
            for number, entry in enumerate(entries):
                progress.step(ANSWERING, number, len(entries))
                decode_next()
                yield _answer(
                    entry,
                    ahead.popleft(),
                    engine,
                    shelves,
                    progress,
                    gate,
                    Step(ANSWERING, number, len(entries)),
                )
        finally:
            for future in ahead:
                future.cancel()
            readers.shutdown(wait=False, cancel_futures=True)


def _answer(
    entry: Listed,
    read: Future[Study],
    engine: Engine,
    shelves: Shelves,
    progress: Progress,
    gate: Gate,
    step: Step,
) -> Answered:
    try:
        study = read.result()
        cases: list[str] = []

        def ask(inner: Progress) -> None:
            diagnosis = engine.classify(study, inner)
            cases.append(shelves.keep(study, diagnosis))

        gate.run(ask, progress, step)
    except (Cancelled, ModelError, WorkspaceError):
        raise
    except ClipmedError as error:
        problem = f"{error.message} {error.hint}".strip()
        return Answered(shelves.store.learn_of_listed(entry, problem=problem), problem)
    except Exception as defect:  # noqa: BLE001 - boundary: one bad file, or a defect of ours, must not cost the others
        problem = f"Unexpected {type(defect).__name__}: {defect}"
        return Answered(shelves.store.learn_of_listed(entry, problem=problem), problem)
    return Answered(shelves.store.learn_of_listed(entry, cases[-1]))


def _child(progress: Progress) -> Progress:
    """Stops with its parent and tells nothing."""

    def look(step: Step) -> None:
        if progress.cancelled:
            raise Cancelled

    return Progress(look)
