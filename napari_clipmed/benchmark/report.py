"""Tables of measurements as Markdown, written between the markers of a document that people edit. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

from napari_clipmed.benchmark.latency import Latency
from napari_clipmed.benchmark.rows import Growth, Row
from napari_clipmed.whole_files import whole_file


def latency_section(table: Latency, machine: str, load: float, day: date) -> str:
    """The table of latencies, its exact jobs and baselines, and what the machine reaches."""
    of_bytes = table.ceilings.byte_flops
    reach = (
        f"This machine multiplies matrices at {table.ceilings.flops / 1e9:.0f} GFLOP/s"
        f"{f' (matrices of bytes at {of_bytes / 1e9:.0f})' if of_bytes else ''} and copies at "
        f"{table.ceilings.bandwidth / 1e9:.0f} GB/s. Operations and bytes of torch's operators, and the "
        "share of either ceiling:"
    )
    lines = [
        _made("benchmark latency", table.device, machine, load, day),
        f"Models: {table.models}. Medians; spread is largest less smallest over the median.",
        "",
        "| row | ours | spread | baseline | ratio | memory, ours | memory, baseline |",
        "|---|--:|--:|--:|--:|--:|--:|",
        *(_row(row) for row in table.rows),
        "",
        reach,
        "",
        "| row | GFLOP | GB | of the matrix ceiling | of the memory ceiling |",
        "|---|--:|--:|--:|--:|",
        *(_work(row, table) for row in table.rows if row.flops),
        "",
        "What is timed:",
        "",
        *(f"- **{row.name}**: {row.what}. Baseline: {row.baseline}." for row in table.rows),
    ]
    return "\n".join(lines)


def latency_words(row: Row) -> str:
    """A row as one line of a terminal."""
    return (
        f"{row.name:<15} {duration(row.ours.median):>9} ± {100 * row.ours.spread:.0f} %"
        f"   baseline {duration(row.plain.median):>9}   {row.ratio:.3g} times faster"
    )


def scaling_section(tables: Sequence[Growth], where: str, machine: str, load: float, day: date) -> str:
    """One table for each growth, with the exponent that it shows."""
    lines = [_made("benchmark scaling", where, machine, load, day)]
    for table in tables:
        lines += [
            "",
            f"**{table.name}**: {table.what}. Exponent {table.exponent:.2f}.",
            "",
            "| " + table.unit + " | " + " | ".join(f"{size:,.0f}" for size in table.sizes) + " |",
            "|---|" + "--:|" * len(table.sizes),
            "| time | " + " | ".join(duration(timing.median) for timing in table.timings) + " |",
        ]
    return "\n".join(lines)


def window_section(
    rows: Sequence[dict[str, Any]], cine: dict[str, Any], machine: str, load: float, day: date
) -> str:
    """Redraws, waits of the event loop and the cine, as `gui.window_benchmark` gives them."""
    lines = [
        _made("benchmark window", "a window of 1366 × 768", machine, load, day),
        "",
        "| milliseconds | n | median | 95 % | 99 % | worst |",
        "|---|--:|--:|--:|--:|--:|",
        *(
            f"| {row['name']} | {row['n']} | {row['median_ms']} | {row['p95_ms']} | {row['p99_ms']} "
            f"| {row['worst_ms']} |"
            for row in rows
        ),
        "",
        cine_words(cine),
    ]
    return "\n".join(lines)


def cine_words(cine: dict[str, Any]) -> str:
    """What a cine did against the clock, in a sentence."""
    return (
        f"{cine['name']}: {cine['shown_fps']:.1f} of {cine['due_fps']:.1f} frames a second shown in "
        f"{cine['seconds']:.0f} s, {cine['dropped']:.1%} dropped to stay on time, "
        f"drift {cine['drift_ms']:+.1f} ms."
    )


def write_section(path: Path, name: str, text: str) -> None:
    """Replace what stands between the markers of a section; add the section at the end where it is missing.

    Parameters
    ----------
    path : Path
        Markdown; made where it is absent.
    name : str
        Of the markers, ``<!-- NAME: begin -->`` and ``<!-- NAME: end -->``.
    text : str
        Markdown.
    """
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    content = path.read_text(encoding="utf-8") if path.exists() else "# Performance\n"
    before, marker, rest = content.partition(begin)
    after = rest.partition(end)[2] if marker else "\n"
    if not marker:
        before = before.rstrip() + f"\n\n## {name.capitalize()}\n\n"
    with whole_file(path, replace=True) as unfinished:
        unfinished.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")


def duration(seconds: float) -> str:
    """A duration with three figures, in the unit that suits it."""
    if seconds >= 1:
        return f"{seconds:,.0f} s" if seconds >= 1000 else f"{seconds:.3g} s"
    return f"{seconds * 1e3:.3g} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.3g} µs"


def _made(command: str, where: str, machine: str, load: float, day: date) -> str:
    return (
        f"Made by `napari-clipmed {command}` on {day:%d %B %Y}: {machine}; {where}; load average before the "
        f"start {load:.1f}."
    )


def _row(row: Row) -> str:
    memory = [f"{timing.peak_bytes / 2**20:,.0f} MB" for timing in (row.ours, row.plain)]
    cells = [
        f"`{row.name}`",
        duration(row.ours.median),
        f"{100 * row.ours.spread:.0f} %",
        duration(row.plain.median),
        f"**{row.ratio:.3g}×**",
        *memory,
    ]
    return "| " + " | ".join(cells) + " |"


def _work(row: Row, table: Latency) -> str:
    shares = table.ceilings.shares(row)
    cells = [
        f"`{row.name}`",
        f"{shares['gflop']:.3g}",
        f"{shares['gbytes']:.3g}",
        f"{100 * shares['share_of_matrix_ceiling']:.0f} %",
        f"{100 * shares['share_of_memory_ceiling']:.0f} %",
    ]
    return "| " + " | ".join(cells) + " |"
