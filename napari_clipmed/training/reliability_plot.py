"""The reliability plot of a model as an SVG picture, without scripts or outside parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

BEFORE, AFTER = "#767676", "#0072B2"
SIDE, LEFT, TOP = 320, 62, 44
BARS = 48
RESEARCH_USE = "Research use only, not for diagnosis"


def reliability_svg(figures: Mapping[str, Any], title: str) -> str:
    """Confidence against accuracy before and after temperature scaling, and how many answers each bin holds.

    Parameters
    ----------
    figures : mapping
        From `clip_dsa_certainty.certainty_figures`.
    title : str
        Model and split.
    """
    curves = (
        ("uncalibrated", BEFORE, figures["calibration_error_uncalibrated"]),
        ("calibrated", AFTER, figures["calibration_error"]),
    )
    parts = [_text(LEFT, 22, title, size=14, weight=600), *_axes()]
    parts.append(_line(_x(0), _y(0), _x(1), _y(1), "#b0b7bf", "stroke-dasharray='5 4'"))
    for place, (name, colour, error) in enumerate(curves):
        rows = figures["reliability"][name]
        points = " ".join(f"{_x(row['confidence']):.1f},{_y(row['accuracy']):.1f}" for row in rows)
        parts.append(f"<polyline points='{points}' fill='none' stroke='{colour}' stroke-width='2'/>")
        parts += [
            f"<circle cx='{_x(row['confidence']):.1f}' cy='{_y(row['accuracy']):.1f}' r='4' fill='{colour}'>"
            f"<title>{row['n']} answers: confidence {row['confidence']:.2f}, "
            f"accuracy {row['accuracy']:.2f}</title>"
            "</circle>"
            for row in rows
        ]
        parts.append(_text(_x(0) + 10, TOP + 20 + 18 * place, f"{name}, ECE {error:.3f}", fill=colour))
    parts += _bars(figures["reliability"]["calibrated"])
    bottom = TOP + SIDE + BARS + 92
    parts.append(_text(LEFT, bottom - 10, f"n {figures['n']}. {RESEARCH_USE}.", size=11, fill="#57606a"))
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{LEFT + SIDE + 24}' height='{bottom}' role='img' "
        f"font-family='system-ui, sans-serif'><title>Reliability: {escape(title)}</title>"
        f"<rect width='100%' height='100%' fill='#fff'/>{''.join(parts)}</svg>\n"
    )


def _axes() -> list[str]:
    parts = [
        f"<rect x='{LEFT}' y='{TOP}' width='{SIDE}' height='{SIDE}' fill='none' stroke='#d0d7de'/>",
        _text(LEFT + SIDE / 2, TOP + SIDE + 36, "probability of the leading class", anchor="middle"),
        (
            f"<text transform='translate(16 {TOP + SIDE / 2}) rotate(-90)' font-size='12' "
            "text-anchor='middle'>share that is right</text>"
        ),
    ]
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts.append(_text(_x(tick), TOP + SIDE + 16, f"{tick:g}", size=11, anchor="middle"))
        parts.append(_text(LEFT - 8, _y(tick) + 4, f"{tick:g}", size=11, anchor="end"))
    return parts


def _bars(rows: Sequence[Mapping[str, float]]) -> list[str]:
    """How many answers lie in each bin, below the axis."""
    most = max((row["n"] for row in rows), default=1)
    base = TOP + SIDE + 52 + BARS
    parts = [_text(LEFT - 8, base, "answers", size=11, anchor="end")]
    for row in rows:
        height = BARS * row["n"] / most
        x = _x(row["above"]) + 2
        parts.append(
            f"<rect x='{x:.1f}' y='{base - height:.1f}' width='{SIDE / 10 - 4:.1f}' height='{height:.1f}' "
            f"fill='{AFTER}' fill-opacity='0.45'/>"
        )
        parts.append(_text(x + SIDE / 20 - 2, base + 13, f"{row['n']:.0f}", size=10, anchor="middle"))
    return parts


def _x(share: float) -> float:
    return LEFT + SIDE * share


def _y(share: float) -> float:
    return TOP + SIDE * (1 - share)


def _line(x0: float, y0: float, x1: float, y1: float, colour: str, more: str = "") -> str:
    return f"<line x1='{x0}' y1='{y0}' x2='{x1}' y2='{y1}' stroke='{colour}' {more}/>"


def _text(
    x: float,
    y: float,
    words: str,
    size: int = 12,
    anchor: str = "start",
    fill: str = "#1b1f24",
    weight: int = 400,
) -> str:
    return (
        f"<text x='{x:.1f}' y='{y:.1f}' font-size='{size}' text-anchor='{anchor}' fill='{fill}' "
        f"font-weight='{weight}'>{escape(words)}</text>"
    )
