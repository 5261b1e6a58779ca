"""Revisions as a person reads them."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_clipmed.records import Revision


def title_of_label(key: str | None) -> str:
    """Name of a label for people; its key where the shipped label sets do not know it."""
    return _shipped_titles().get(key, key) if key else "no label"


def projected_words(frames: tuple[int, int]) -> str:
    """Say "projected over frames 3 to 9", of frames counted from 0."""
    return f"projected over frames {frames[0] + 1} to {frames[1] + 1}"


@lru_cache
def _shipped_titles() -> dict[str, str]:
    from napari_clipmed.models.labels import LabelSet

    found = LabelSet.named("dsa")
    return dict(zip(found.keys, found.titles, strict=True))


def spoken_time(when: datetime) -> str:
    """Local time, with the date unless it is today's."""
    local = when.astimezone()
    today = local.date() == datetime.now().astimezone().date()
    return local.strftime("%H:%M" if today else "%Y-%m-%d %H:%M")


def what(revision: Revision, names: Sequence[str] = ()) -> str:
    """What a revision says, without who and when.

    Parameters
    ----------
    names : sequence of str
        Name of each view of the study.
    """
    if revision.kind == "comment":
        return f'remark "{revision.comment}"'
    where = ""
    if revision.view_index is not None and revision.frame is not None:
        known = revision.view_index < len(names)
        view = names[revision.view_index] if known else f"view {revision.view_index + 1}"
        where = f" on {view} frame {revision.frame + 1}"
    if revision.kind == "prompt":
        return f'asked for "{revision.prompt}"{where}'
    if revision.kind == "mask":
        title = revision.name or revision.prompt or "mask"
        over = f", {projected_words(revision.projected)}" if revision.projected else ""
        return f"{title}{where}{over}" + (" taken back" if revision.withdrawn else "")
    return "label taken back" if revision.withdrawn else title_of_label(revision.label)


def describe(revision: Revision, names: Sequence[str] = ()) -> str:
    """Who said what, when; `names` as in `what`."""
    verdict = f", {revision.verdict}" if revision.verdict else ""
    by = revision.author or "nobody named"
    return f"{what(revision, names)}{verdict}, by {by} at {spoken_time(revision.created_at)}"
