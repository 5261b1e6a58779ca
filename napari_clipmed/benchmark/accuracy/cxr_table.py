"""The comparison of masks as Markdown: both conventions, what each row saw, under which conditions. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

from napari_clipmed.benchmark.accuracy.cxr_rows import IN_BOTH_TABLES, ROWS

NOTES = """Mean: of each film, averaged; pooled: all pixels counted together; never compare one with the
other. In brackets 95 % intervals over patients, drawn with replacement. "Ours less row" is a difference of
mean Dice on the same films: an interval that holds zero shows none. "Seen" are presentations of a training
film within the budget."""


def cxr_section(measured: Mapping[str, Any], command: str, machine: str, load: float, day: str) -> str:
    """The tables of every test, and their conditions."""
    lines = [
        f"Made by `napari-clipmed {command}` on {day}: {machine}; load average before the start {load:.1f}.",
        "",
        conditions(measured["contest"], measured["data"]),
        "",
        NOTES,
    ]
    tests = list(next(iter(measured["rows"].values()))[0]["figures"]) if measured["rows"] else []
    for test in tests:
        for number, title in ((1, "comparison (the paper's Table 1)"), (2, "ablation (the paper's Table 2)")):
            keys = [key for key, row in ROWS.items() if row.table == number or key in IN_BOTH_TABLES]
            keys = [key for key in keys if key in measured["rows"]]
            if keys:
                lines += ["", f"**{test}: {title}**", "", *_table(keys, test, measured)]
    missing = [key for key in ROWS if key not in measured["rows"]]
    if missing:
        lines += ["", f"Not run: {', '.join(missing)}."]
    return "\n".join(lines)


def conditions(contest: Mapping[str, Any], data: Mapping[str, Any]) -> str:
    """What all rows share, in sentences."""
    clock = "processor time" if contest["run"]["device"] in ("cpu", "auto") else "wall clock"
    limits = [f"{contest['minutes']:g} minutes of {clock}"] if contest["minutes"] else []
    limits += [f"{contest['epochs']} epochs"] if contest["epochs"] else []
    sets = ", ".join(f"{n} {name} ({data['patients'][name]} patients)" for name, n in data["films"].items())
    widths = "Narrow variants (compact)" if contest["scale"] == "compact" else "Published widths"
    return (
        f"{data['origin']}, fingerprint {data['fingerprint']}: {sets}. {widths}, random weights, "
        f"{contest['size']} px, batch {contest['batch']}, AdamW {contest['learning_rate']:g}, cross-entropy "
        f"and soft Dice, {contest['run']['precision']}. Budget of each row: {' or '.join(limits)}, "
        "validation included; the best epoch by mean Dice on films set aside from training is judged once. "
        "No row was tuned."
    )


def cxr_words(key: str, result: Mapping[str, Any]) -> str:
    """A finished row as one line of a terminal."""
    each = "  ".join(
        f"{name}: Dice {figures['dice_mean']:.3f} / {figures['dice_pooled']:.3f}"
        for name, figures in result["figures"].items()
    )
    return f"{key:<16} {each}  {result['films_seen']} films in {result['seconds']:.0f} s"


def _table(keys: Sequence[str], test: str, measured: Mapping[str, Any]) -> list[str]:
    head = ["row", "text", "seeds", "Dice, mean", "IoU, mean", "Dice, pooled", "IoU, pooled", "ours less row"]
    head += ["parameters", "seen"]
    lines = ["| " + " | ".join(head) + " |", "|---|---|" + "--:|" * (len(head) - 2)]
    for key in keys:
        results, bounds = measured["rows"][key], measured["ci95"].get(key, {}).get(test, {})
        values = {
            name: mean(one["figures"][test][name] for one in results) for name in results[0]["figures"][test]
        }
        cells = [ROWS[key].title, "yes" if ROWS[key].text else "no", str(len(results))]
        cells.append(f"{values['dice_mean']:.3f}{_between(bounds.get('dice_mean'), '.3f')}")
        cells += [f"{values[name]:.3f}" for name in ("miou_mean", "dice_pooled", "miou_pooled")]
        cells.append(_between(bounds.get("difference"), "+.3f").strip(" ()") or "–")
        cells.append(f"{results[0]['parameters'] / 1e6:.1f} M")
        cells.append(f"{mean(one['films_seen'] for one in results):,.0f}")
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _between(interval: Sequence[float] | None, form: str) -> str:
    return f" ({interval[0]:{form}} to {interval[1]:{form}})" if interval else ""
