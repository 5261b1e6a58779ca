"""``napari-clipmed benchmark window``: redraws, cine and event loop, measured in a real window."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from napari_clipmed.cli._app import console, errors, print_json
from napari_clipmed.cli._common import AsJson
from napari_clipmed.cli._window import need_a_display, sandbox
from napari_clipmed.cli.benchmark import Write, benchmark, load_average, machine

if TYPE_CHECKING:
    from napari_clipmed.gui.window_benchmark import Row

ONE_AT_15 = 1000.0 / 15


@benchmark.command("window")
def window(
    cine_s: Annotated[float, typer.Option("--cine", min=1, help="Seconds of cine to measure.")] = 60.0,
    scrub_s: Annotated[float, typer.Option("--scrub", min=1, help="Seconds of each scrubbing.")] = 8.0,
    first_only: Annotated[bool, typer.Option(help="Time only the first pictures of long runs.")] = False,
    pings: Annotated[bool, typer.Option(help="Ping the event loop during a whole review.")] = True,
    finetune: Annotated[bool, typer.Option(help="Fine-tune during the pings, too.")] = True,
    write: Write = None,
    as_json: AsJson = False,
) -> None:
    """First pictures, redraws, the cine against the clock, and how long the event loop lets a question wait.

    Opens a window; everything in it is simulated, and settings and workspace are those of the benchmark.
    Takes about four minutes on two processor cores.
    """
    from napari_clipmed.benchmark.report import cine_words, window_section, write_section

    need_a_display("benchmark window")
    load = load_average()
    with TemporaryDirectory(prefix="napari-clipmed-") as folder:
        out = Path(folder)
        sandbox(out)

        from napari_clipmed.gui.window_benchmark import WindowBenchmark, as_plain

        bench = WindowBenchmark(out)
        errors.print("· First pictures", highlight=False)
        first = bench.first_pictures()
        if first_only:
            bench.close()
            if as_json:
                print_json({"machine": machine(), "load_before": load, "rows": as_plain(first)})
            else:
                _print_rows(first)
            return
        errors.print("· Scrubbing", highlight=False)
        rows = first + bench.scrubbing(seconds=scrub_s)
        errors.print("· Cine", highlight=False)
        cine = bench.cine(cine_s)
        if pings:
            errors.print("· A whole review, while the event loop is asked", highlight=False)
            rows += bench.pings(finetune)
        bench.close()
    plain_rows, plain_cine = as_plain(rows), as_plain([cine])[0]
    if write is not None:
        write_section(write, "window", window_section(plain_rows, plain_cine, machine(), load, date.today()))
    report = {"machine": machine(), "load_before": load, "rows": plain_rows, "cine": plain_cine}
    if as_json:
        print_json(report)
        return
    _print_rows(rows)
    console.print(
        f"{cine_words(plain_cine)} One frame at 15 a second lasts {ONE_AT_15:.0f} ms.", highlight=False
    )


def _print_rows(rows: list[Row]) -> None:
    """Waits as a table."""
    from rich.table import Table

    shown = Table("what", "n", "median", "95 %", "99 %", "worst (ms)", box=None, pad_edge=False)
    for row in rows:
        times = (f"{value:.1f}" for value in (row.median_ms, row.p95_ms, row.p99_ms, row.worst_ms))
        shown.add_row(row.name, str(row.n), *times)
    console.print(shown)
