"""The fuzzer of the reader: ``python tests/fuzz/fuzz.py --n 5000 --seed 1``, or ``make fuzz``.

Every case is read in a process of its own, forked from one that has everything loaded, with a limit on its
time and address space. A study or a `ClipmedError` with a full sentence is an answer; a traceback, a hang, a
signal or more memory than the bound is a failure, and its number gives the same bytes again (``--only``).
"""

from __future__ import annotations

import argparse
import faulthandler
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from mutations import damaged
from seeds import make_seeds

from napari_clipmed.errors import ClipmedError
from napari_clipmed.io import open_study

SECONDS = 20
MEMORY = 768 * 2**20
"""The bound on what reading one damaged file may take, beyond the program itself: the largest deflated data
set or frame that is believed (64 MiB) in all the copies that the grey pipeline makes of it."""

ADDRESS_SPACE = 4 * 2**30
"""Room for the arenas of the threads of codecs; what is really used is measured against `MEMORY`."""


@dataclass(frozen=True)
class Verdict:
    """What became of a case: "study", "sentence", or a failure with its details."""

    outcome: str
    details: str = ""

    @property
    def failed(self) -> bool:
        """Whether the reader broke its promise."""
        return self.outcome not in ("study", "sentence")


def read_everything(path: Path) -> Verdict:
    """Open a file and touch everything that a window would."""
    try:
        study = open_study(path)
        for view in study.views:
            frames = np.asarray(view.pixels)
            if frames.ndim != 3 or len(view.timing.times_ms) != len(frames):
                return Verdict("wrong", f"{frames.shape} frames, {len(view.timing.times_ms)} times")
            if not np.isfinite([view.window.low, view.window.high]).all():
                return Verdict("wrong", f"window {view.window}")
            _ = view.pixel_hash, [overlay.over(1) for overlay in view.overlays]
    except ClipmedError as error:
        if isinstance(error.__cause__, MemoryError):
            return Verdict("memory", "MemoryError")
        if not (error.message.endswith(".") and error.hint.endswith(".")):
            return Verdict("no sentence", str(error))
        return Verdict("sentence")
    except MemoryError:
        return Verdict("memory", traceback.format_exc(limit=-3))
    except BaseException:  # noqa: BLE001 - whatever it is, it is a defect
        return Verdict("traceback", traceback.format_exc(limit=-9))
    return Verdict("study")


def guarded(path: Path) -> Verdict:
    """Read a file in a child that cannot hang, eat the memory or take us with it."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover - coverage does not see the child
        os.close(reading)
        tempfile.tempdir = str(path.parent)  # a child that is killed cannot tidy up; its parent does
        _behave()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        verdict = read_everything(path)
        used = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
        if used > MEMORY:
            verdict = Verdict("memory", f"{used / 2**20:.0f} MiB")
        with os.fdopen(writing, "w") as pipe:
            pipe.write(f"{verdict.outcome}\n{verdict.details}")
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        outcome, _, details = pipe.read().partition("\n")
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return Verdict("hang" if number == signal.SIGALRM else "crash", signal.Signals(number).name)
    return Verdict(outcome or "crash", details)


def _behave() -> None:
    """The limits of a child."""
    faulthandler.disable()
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(SECONDS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + ADDRESS_SPACE, used + ADDRESS_SPACE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)  # codecs complain on the standard error


def campaign(
    seeds: dict[str, bytes], seed: int, numbers: Iterator[int]
) -> Iterator[tuple[int, str, Verdict]]:
    """Cases of a campaign, one after the other."""
    for number in numbers:
        what, data = damaged(seeds, seed, number)
        with tempfile.TemporaryDirectory(prefix="clipmed-fuzz-") as folder:
            path = Path(folder) / "case"
            path.write_bytes(data)
            yield number, what, guarded(path)


def real_seeds(folder: Path, largest: int) -> dict[str, bytes]:
    """Small real files as further seeds."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.stat().st_size <= largest)
    return {f"{path.parent.name}/{path.name}": path.read_bytes() for path in files}


def main() -> int:
    """Run a campaign; 1 where a case failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=5000, help="number of cases")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, help="a single case, by its number")
    parser.add_argument("--corpus", type=Path, help="a folder of real files to damage as well")
    parser.add_argument("--match", default="", help="damage only the sound files whose name holds this")
    parser.add_argument("--save", type=Path, help="where to write the bytes of failed cases")
    words = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        seeds = make_seeds(Path(scratch))
    if words.corpus is not None and words.corpus.is_dir():
        seeds |= real_seeds(words.corpus, 300_000)
    seeds = {name: data for name, data in seeds.items() if words.match in name}
    numbers = iter([words.only] if words.only is not None else range(words.n))
    outcomes: Counter[str] = Counter()
    began = time.monotonic()
    for number, what, verdict in campaign(seeds, words.seed, numbers):
        outcomes[verdict.outcome] += 1
        if number % 1000 == 999:
            print(f"{number + 1} cases in {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
        if verdict.failed:
            print(
                f"case {number} of seed {words.seed}: {what}: {verdict.outcome}\n{verdict.details}",
                flush=True,
            )
            if words.save is not None:
                words.save.mkdir(parents=True, exist_ok=True)
                (words.save / f"{words.seed}-{number}").write_bytes(damaged(seeds, words.seed, number)[1])
    counts = ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items()))
    print(
        f"{sum(outcomes.values())} cases of {len(seeds)} seeds in {time.monotonic() - began:.0f} s: {counts}"
    )
    return int(any(outcome not in ("study", "sentence") for outcome in outcomes))


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        sys.exit(main())
