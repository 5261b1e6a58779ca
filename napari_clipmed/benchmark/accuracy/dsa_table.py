"""The comparison as Markdown: figures with intervals, what each row saw, and under which conditions. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isnan
from statistics import mean
from typing import Any

from napari_clipmed.benchmark.accuracy.dsa_rows import IN_BOTH_TABLES, ROWS

Intervals = Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]]
COLUMNS = {"accuracy": "ACC", "macro_f1": "F1", "auc_ovr": "AUC", "auc_hard": "AUC, decisions"}

NOTES = """AUC is of the scores; the paper's figures fit the AUC of hard decisions. In brackets 95 %
intervals over patients, drawn with replacement; several seeds are averaged in each draw. "CLIP-DSA less row"
is a difference on the same patients: an interval that holds zero shows none. "Seen" are presentations of a
training study within the budget: slow networks see fewer. "Diverged": its numbers ceased to be finite."""


def dsa_section(
    measured: Mapping[str, Any], bounds: Intervals, command: str, machine: str, load: float, day: str
) -> str:
    """Both tables and their conditions."""
    contest, data = measured["contest"], measured["data"]
    lines = [
        f"Made by `napari-clipmed {command}` on {day}: {machine}; load average before the start {load:.1f}.",
        "",
        conditions(contest, data, measured["separate"]),
        "",
        NOTES,
    ]
    for number, title in ((1, "Comparison (the paper's Table 1)"), (2, "Ablation (the paper's Table 2)")):
        keys = [key for key, row in ROWS.items() if row.table == number or key in IN_BOTH_TABLES]
        keys = [key for key in keys if key in measured["rows"]]
        if keys:
            lines += ["", f"**{title}**", "", *_table(keys, measured["rows"], bounds)]
    missing = [key for key in ROWS if key not in measured["rows"]]
    if missing:
        lines += ["", f"Not run: {', '.join(missing)}."]
    return "\n".join(lines)


def conditions(contest: Mapping[str, Any], data: Mapping[str, Any], separate: bool) -> str:
    """What all rows share, in sentences."""
    clock = "processor time" if contest["run"]["device"] in ("cpu", "auto") else "wall clock"
    budget = " or ".join(
        part
        for part in (
            f"{contest['minutes']:g} minutes of {clock}" if contest["minutes"] else "",
            f"{contest['epochs']} epochs" if contest["epochs"] else "",
        )
        if part
    )
    studies, patients = data["studies"], data["patients"]
    split = ", ".join(f"{studies[name]} {name} ({patients[name]} patients)" for name in studies)
    weights = "pre-trained weights where there are any" if contest["pretrained"] else "random weights"
    widths = (
        "Narrow variants of the same architectures (compact), S3D at its one width"
        if contest["scale"] == "compact"
        else "Published sizes"
    )
    single = "networks of their own" if separate else "the single-view heads of the same network"
    origin = f"Simulated studies ({data['origin']})" if data["origin"] else "Studies"
    return (
        f"{origin}, fingerprint {data['fingerprint']}: {split}. {widths}, {weights}, {contest['size']} px, "
        f"{contest['frames']} frames, batch {contest['batch']}, AdamW {contest['learning_rate']:g}, "
        f"{contest['run']['precision']}. Budget of each row: {budget}, validation included; the best epoch "
        f"by validation AUC is judged once. No row was tuned. AP and LA are {single}."
    )


def dsa_words(key: str, result: Mapping[str, Any]) -> str:
    """A finished row as one line of a terminal."""
    figures = result["figures"]["both"]
    return (
        f"{key:<16} ACC {figures['accuracy']:.3f}  F1 {figures['macro_f1']:.3f}  "
        f"AUC {figures['auc_ovr']:.3f}  hard {figures['auc_hard']:.3f}  "
        f"{result['studies_seen']} studies in {result['seconds']:.0f} s"
    )


def _table(keys: Sequence[str], rows: Mapping[str, Any], bounds: Intervals) -> list[str]:
    head = ["row", "seeds", *COLUMNS.values(), "ACC AP / LA", "AUC AP / LA"]
    head += ["CLIP-DSA less row: ACC", "AUC", "parameters", "seen"]
    lines = ["| " + " | ".join(head) + " |", "|---|" + "--:|" * (len(head) - 1)]
    for key in keys:
        results = rows[key]
        cells = [f"{ROWS[key].family}: {ROWS[key].title}", str(len(results))]
        if any(isnan(result["figures"]["both"]["auc_ovr"]) for result in results):
            cells += ["diverged", *["–"] * (len(head) - 5)]
            lines.append("| " + " | ".join([*cells, *_effort(results)]) + " |")
            continue
        cells += [_cell(results, bounds.get(key, {}).get("both", {}), name) for name in COLUMNS]
        for name in ("accuracy", "auc_ovr"):
            single = [r["figures"] for r in results if "AP" in r["figures"]]
            pair = (
                [f"{mean(one[view][name] for one in single):.3f}" for view in ("AP", "LA")]
                if single
                else ["–"]
            )
            cells.append(" / ".join(pair))
        difference = bounds.get(key, {}).get("difference", {})
        for name in ("accuracy", "auc_ovr"):
            low_high = difference.get(name)
            cells.append(f"{low_high[0]:+.3f} to {low_high[1]:+.3f}" if low_high else "–")
        lines.append("| " + " | ".join([*cells, *_effort(results)]) + " |")
    return lines


def _effort(results: Sequence[Mapping[str, Any]]) -> list[str]:
    seen = mean(result["studies_seen"] for result in results)
    return [f"{results[0]['parameters'] / 1e6:.1f} M", f"{seen:,.0f}"]


def _cell(results: Sequence[Mapping[str, Any]], bounds: Mapping[str, Sequence[float]], name: str) -> str:
    value = f"{mean(result['figures']['both'][name] for result in results):.3f}"
    return f"{value} ({bounds[name][0]:.3f}–{bounds[name][1]:.3f})" if name in bounds else value
