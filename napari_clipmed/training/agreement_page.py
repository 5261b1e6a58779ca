"""The agreement report as one HTML page without scripts or outside parts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from napari_clipmed.training.agreement import AgreementReport

STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;color:#1b1f24}"
    "table{border-collapse:collapse;margin:.5rem 0 1.5rem}th,td{padding:.3rem .8rem;text-align:right;"
    "border-bottom:1px solid #d0d7de}th:first-child,td:first-child{text-align:left}p.note{color:#57606a}"
)


def agreement_page(report: AgreementReport) -> str:
    """HTML of a report."""
    labels, masks = report.labels, report.masks
    parts = [
        f"<p>Readers: {escape(', '.join(report.readers))}</p>",
        "<h2>Labels</h2>",
        f"<p>Fleiss' kappa, {labels['read_by_all']} cases read by all: {kappa_words(labels['fleiss'])}</p>",
        _table(
            ("Two readers", "Cases", "Agreement", "Cohen's kappa (95 %)"),
            (
                (" and ".join(p["readers"]), p["n"], number(p["agreement"]), kappa_words(p))
                for p in labels["pairs"]
            ),
        ),
        _table(
            ("Class", *(f"{reader}" for reader in report.readers), "Fleiss' kappa (95 %)"),
            ((c["label"], *c["readings"].values(), kappa_words(c["fleiss"])) for c in labels["classes"]),
        ),
        _table(
            ("Reader", "Cases", "Mean agreement", "Mean kappa", "Agrees with the model", "Answers judged"),
            (
                (
                    r["reader"],
                    r["cases"],
                    number(r["mean_agreement"]),
                    number(r["mean_kappa"]),
                    number(r["agrees_with_model"]),
                    r["judged_answers"],
                )
                for r in labels["readers"]
            ),
        ),
        "<h2>Masks</h2>",
        _table(MASK_HEAD, ((" and ".join(p["readers"]), *mask_cells(p)) for p in masks["pairs"])),
        _table(MASK_HEAD, ((c["name"] or "mask", *mask_cells(c)) for c in masks["classes"])),
        _table(MASK_HEAD, ((r["reader"], *mask_cells(r)) for r in masks["readers"])),
        *(f'<p class="note">{escape(note)}</p>' for note in report.notes),
        '<p class="note">Research use only, not for diagnosis.</p>',
    ]
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Agreement of the readers</title>'
        f"<style>{STYLE}</style><h1>Agreement of the readers</h1>{''.join(parts)}</html>\n"
    )


MASK_HEAD = ("Masks of", "Compared", "Dice mean", "Dice lowest", "HD95 mean (px)", "Hausdorff largest (px)")


def mask_cells(row: dict[str, Any]) -> tuple[str, ...]:
    """The figures under `MASK_HEAD`, without the first column."""
    return (
        str(row["n"]),
        number(row["dice_mean"]),
        number(row["dice_lowest"]),
        number(row["hausdorff95_mean"], 1),
        number(row["hausdorff_largest"], 1),
    )


def number(value: float | None, digits: int = 3) -> str:
    """A figure, or a dash where there is none."""
    return "–" if value is None else f"{value:.{digits}f}"


def kappa_words(kappa: dict[str, Any]) -> str:
    """A kappa with its interval."""
    if kappa["value"] is None:
        return "–"
    return f"{number(kappa['value'])} ({number(kappa['low'])} to {number(kappa['high'])})"


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows
    )
    if not body:
        return '<p class="note">Nothing to compare.</p>'
    return "<table><tr>" + "".join(f"<th>{escape(name)}</th>" for name in head) + "</tr>" + body + "</table>"
