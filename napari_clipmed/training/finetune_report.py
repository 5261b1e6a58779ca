"""The page that shows an old and a new model side by side: one HTML file, without scripts, links or identity.

Cases are named by the first characters of their id in the workspace, which says nothing about a patient.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from napari_clipmed.training.finetune_figures import HEADLINE, TITLES, Judgement

OLD, NEW = "#999999", "#0072B2"
RESEARCH_USE = "Research use only, not for diagnosis"
WORSE, BETTER = "#D55E00", "#009E73"

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1b1f24; background: #fff; max-width: 60rem;
       margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
table { border-collapse: collapse; margin: .5rem 0; } td, th { padding: .25rem .7rem; text-align: right; }
th { font-weight: 600; } td:first-child, th:first-child { text-align: left; }
tr + tr { border-top: 1px solid #d8dee4; } .quiet { color: #57606a; } .pair { display: flex; gap: 3rem;
flex-wrap: wrap; } .verdict { border-left: 5px solid; padding: .4rem .8rem; background: #f6f8fa; }
td.cell { text-align: center; min-width: 2.4rem; } code { font-size: .85em; word-break: break-all; }
"""


def report_page(
    old: Judgement, new: Judgement, comparison: Mapping[str, Any], facts: Mapping[str, Any]
) -> str:
    """The page.

    Parameters
    ----------
    old, new : Judgement
        Of the same cases.
    comparison : mapping
        From `finetune_compare.compare`.
    facts : mapping
        ``base``, ``model`` (ids), ``on``, ``created``, ``data``, ``config`` and, where there are some,
        ``history`` (epoch reports), ``replay`` (a comparison), ``hashes``.
    """
    parts = [
        f"<h1>{escape(facts['model'])}<br><span class='quiet'>beside {escape(facts['base'])}</span></h1>",
        f"<p class='quiet'>{escape(facts['created'])}. {escape(facts['data'])} {RESEARCH_USE}.</p>",
        _verdict(comparison, facts, old.task),
        "<h2>Figures</h2>",
        _figures(comparison),
        _confusions(old, new) if old.task == "diagnosis" else _dice_plot(old, new),
        "<h2>Cases that changed</h2>",
        _changed(comparison["changed"], old.task),
    ]
    if facts.get("replay"):
        parts += [
            "<h2>The base model's own kind of cases</h2>",
            "<p>Cases of the replay that were never trained on: what is lost here was forgotten.</p>",
            _figures(facts["replay"]),
        ]
    if facts.get("history"):
        parts += ["<h2>The round</h2>", _curves(facts["history"])]
    parts += ["<h2>How it was made</h2>", _facts(facts)]
    title = f"{facts['model']} beside {facts['base']}"
    return (
        f"<!doctype html><html lang='en'><head><meta charset='utf-8'><title>{escape(title)}</title>"
        f"<style>{_STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )


def _verdict(comparison: Mapping[str, Any], facts: Mapping[str, Any], task: str) -> str:
    row = comparison["figures"][HEADLINE[task]]
    gain, interval = row["difference"]["value"], row["difference"]["ci95"]
    colour = BETTER if gain > 0 else WORSE if gain < 0 else OLD
    word = "better" if gain > 0 else "worse" if gain < 0 else "neither better nor worse"
    text = f"The new model is {word}: {TITLES[HEADLINE[task]]} {_value(row['before'])} before, "
    text += f"{_value(row['after'])} after; difference {_value(row['difference'], sign=True)}."
    if facts["on"] != "validation":
        text += " Measured on the training cases themselves, which flatters it."
    elif interval and interval[0] <= 0 <= interval[1]:
        text += f" With {comparison['patients']} patients this may be chance: the interval holds zero."
    return f"<p class='verdict' style='border-color:{colour}'>{escape(text)}</p>"


def _figures(comparison: Mapping[str, Any]) -> str:
    rows = "".join(
        f"<tr><td>{escape(TITLES.get(name, name))}</td><td>{_value(row['before'])}</td>"
        f"<td>{_value(row['after'])}</td><td>{_value(row['difference'], sign=True)}</td></tr>"
        for name, row in comparison["figures"].items()
    )
    return (
        f"<table><tr><th></th><th>before</th><th>after</th><th>difference</th></tr>{rows}</table>"
        f"<p class='quiet'>{comparison['n']} cases of {comparison['patients']} patients. In brackets 95 % "
        "intervals, patients drawn with replacement.</p>"
    )


def _value(row: Mapping[str, Any], sign: bool = False) -> str:
    form = "+.3f" if sign else ".3f"
    interval = row["ci95"]
    if interval is None:
        return f"{row['value']:{form}}"
    return f"{row['value']:{form}} ({interval[0]:{form}} to {interval[1]:{form}})"


def _confusions(old: Judgement, new: Judgement) -> str:
    tables = "".join(
        f"<div><h3>{title}</h3>{_confusion(j)}</div>" for title, j in (("Before", old), ("After", new))
    )
    return (
        "<h2>Confusion matrices</h2><p class='quiet'>Rows: the reader. Columns: the model.</p>"
        f"<div class='pair'>{tables}</div>"
    )


def _confusion(judgement: Judgement) -> str:
    names, table = judgement.names, judgement.figures["confusion"]
    most = max((max(row) for row in table), default=0) or 1
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    body = ""
    for i, row in enumerate(table):
        cells = ""
        for j, count in enumerate(row):
            shade = (0, 114, 178) if i == j else (213, 94, 0)
            colour = f"rgba({shade[0]},{shade[1]},{shade[2]},{0.75 * count / most:.2f})"
            cells += f"<td class='cell' style='background:{colour}'>{count or '·'}</td>"
        body += f"<tr><th>{escape(names[i])}</th>{cells}</tr>"
    return f"<table><tr><th></th>{head}</tr>{body}</table>"


def _dice_plot(old: Judgement, new: Judgement) -> str:
    """A row a mask, sorted by the old Dice: a grey dot for the old model, a blue one for the new."""
    order = sorted(range(len(old.dice)), key=lambda n: old.dice[n])
    step, left, width = 14, 130, 520
    height = step * len(order) + 30
    shapes = [
        f"<text x='{left + width * tick / 10:.0f}' y='12' font-size='11' text-anchor='middle'>{tick / 10:.1f}"
        "</text>"
        for tick in range(0, 11, 2)
    ]
    for row, n in enumerate(order):
        y = 26 + row * step
        x = [left + width * value for value in (old.dice[n], new.dice[n])]
        colour = BETTER if x[1] >= x[0] else WORSE
        shapes += [
            f"<text x='0' y='{y + 4}' font-size='11'>{escape(old.cases[n][:8])}</text>",
            f"<line x1='{x[0]:.1f}' y1='{y}' x2='{x[1]:.1f}' y2='{y}' stroke='{colour}' stroke-width='2'/>",
            f"<circle cx='{x[0]:.1f}' cy='{y}' r='4' fill='{OLD}'/>",
            f"<circle cx='{x[1]:.1f}' cy='{y}' r='4' fill='{NEW}'/>",
        ]
    return (
        "<h2>Dice of each mask</h2><p class='quiet'>Grey: before. Blue: after.</p>"
        f"<svg width='{left + width + 20}' height='{height}' role='img'>{''.join(shapes)}</svg>"
    )


def _changed(rows: Sequence[Mapping[str, Any]], task: str) -> str:
    if not rows:
        return "<p>None.</p>"
    if task == "segmentation":
        head: tuple[str, ...] = ("case", "mask", "Dice before", "after")
        cells: list[tuple[str, ...]] = [
            (r["case"][:8], r["name"], f"{r['before']:.3f}", f"{r['after']:.3f}") for r in rows
        ]
    else:
        head = ("case", "reader", "before", "after", "")
        cells = [(r["case"][:8], r["truth"], r["before"], r["after"], r["kind"]) for r in rows]
    lines = "".join(f"<tr>{''.join(f'<td>{escape(str(c))}</td>' for c in row)}</tr>" for row in cells)
    return f"<table><tr>{''.join(f'<th>{h}</th>' for h in head)}</tr>{lines}</table>"


def _curves(history: Sequence[Mapping[str, Any]]) -> str:
    """Losses over epochs."""
    width, height, left = 560, 170, 40
    series = {
        "training loss": (OLD, [h["train_loss"] for h in history]),
        "validation loss": (NEW, [h["val_loss"] for h in history]),
    }
    known = [v for _, values in series.values() for v in values if v is not None]
    top = max(known, default=1.0) or 1.0
    shapes = [f"<text x='0' y='14' font-size='11'>{top:.2f}</text><text x='0' y='{height}'>0</text>"]
    for name, (colour, values) in series.items():
        points = [
            (left + (width - left) * n / max(1, len(values) - 1), height - (height - 20) * v / top)
            for n, v in enumerate(values)
            if v is not None
        ]
        if points:
            line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
            shapes.append(f"<polyline points='{line}' fill='none' stroke='{colour}' stroke-width='2'/>")
            x, y = points[-1]
            shapes.append(
                f"<text x='{x + 6:.0f}' y='{y + 4:.0f}' font-size='11' fill='{colour}'>{name}</text>"
            )
    return f"<svg width='{width + 130}' height='{height + 6}' role='img'>{''.join(shapes)}</svg>"


def _facts(facts: Mapping[str, Any]) -> str:
    rows = {**facts.get("config", {}), **facts.get("hashes", {})}
    lines = "".join(
        f"<tr><td>{escape(str(name))}</td><td><code>{escape(str(value))}</code></td></tr>"
        for name, value in rows.items()
    )
    return f"<table>{lines}</table>"
