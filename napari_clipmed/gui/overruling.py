"""Overruling what was concluded about the open study, and going back to what was read.

Functions on a session. Each takes effect at once and is kept in the workspace by `session.reader`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from napari_clipmed.io.overrule import APART, as_read_again, overruled, separated
from napari_clipmed.io.subtraction import resubtracted
from napari_clipmed.records import Run, Setting
from napari_clipmed.remembered import MASK, entries_as_set, overrule_of, partners, said
from napari_clipmed.study import Kind, Study, Topic

if TYPE_CHECKING:
    from napari_clipmed.gui.session import ReviewSession


def overrule(session: ReviewSession, index: int, topic: Topic, value: Any) -> None:
    """Put a conclusion about a view right; one about the kind concerns all views.

    Parameters
    ----------
    index : int
        Which view.
    value : plain data
        As `io.overrule.Overrule` takes it.

    Raises
    ------
    ClipmedError
        When the value makes no sense for the topic.
    """
    study = session.study
    if study is None:
        return
    views = range(len(study.views)) if topic is Topic.KIND else (index,)
    _overrule(session, study, topic, dict.fromkeys(views, value))
    if topic is Topic.SUBTRACTION and value == "subtracted":  # nothing of ours is subtracted from it any more
        session.reader.put(Run.of(study.views[index]), MASK, None)


def _overrule(session: ReviewSession, study: Study, topic: Topic, values: dict[int, Any]) -> None:
    """Set one topic for some views, in one go."""
    settings = [
        session.reader.made(Run.of(study.views[i]), topic.value, value) for i, value in values.items()
    ]
    for setting in settings:
        study = overruled(study, [overrule_of(setting, said(setting, setting.author))])
    for setting in settings:
        session.reader.keep(setting)
    session.revise(study)


def swap_projections(session: ReviewSession) -> None:
    """Exchange AP and LA of a pair."""
    study = session.study
    if study is None or len(study.views) != 2:
        return
    first, second = study.views
    swapped = {0: second.projection.value, 1: first.projection.value}
    _overrule(session, study, Topic.PROJECTION, swapped)


def is_overruled(session: ReviewSession, index: int, topic: Topic) -> bool:
    """Whether a conclusion about a view was set by a reader."""
    study = session.study
    return study is not None and session.reader.about(Run.of(study.views[index]), topic.value) is not None


def go_back(session: ReviewSession, index: int, topic: Topic) -> None:
    """What was read about a view, or about the kind of the study, holds again."""
    study, as_read = session.study, session.reader.as_read
    if study is None or as_read is None:
        return
    for i in range(len(study.views)) if topic is Topic.KIND else (index,):
        session.reader.put(Run.of(study.views[i]), topic.value, None)
    if topic is Topic.KIND:
        session.revise(_kind_as_read(study, as_read))
        return
    view, read = study.views[index], as_read.views[index]
    if topic is Topic.SUBTRACTION:  # masks of the reader's own belong to what is taken back
        session.reader.put(Run.of(view), MASK, None)
        view = resubtracted(view, read.subtraction)
    session.revise(study.with_view(index, as_read_again(view, read, topic)))


def _kind_as_read(study: Study, as_read: Study) -> Study:
    kept = tuple(guess for guess in study.guesses if guess.what != Topic.KIND)
    read = tuple(guess for guess in as_read.guesses if guess.what == Topic.KIND)
    return replace(study, kind=Kind(as_read.kind), guesses=(*kept, *read))


# -- pairs -------------------------------------------------------------------------------------------------


def take_apart(session: ReviewSession) -> None:
    """Show the active view alone from now on."""
    study = session.study
    if study is None or len(study.views) < 2:
        return
    index, opened = session.active_view, session.opened
    settings = [session.reader.put(Run.of(view), Topic.PAIRING.value, APART) for view in study.views]
    if opened is None or not opened.shelf:
        session.show_study(separated(study)[index])
    else:
        _reopen(session, settings, study.views[index].source.sop_instance_uid)


def can_pair_with(session: ReviewSession) -> dict[int, str]:
    """Entries of the shelf that the single view may be paired with: position and title."""
    opened, study = session.opened, session.study
    if opened is None or study is None or len(study.views) != 1:
        return {}
    return {
        position: entry.title
        for position, entry in enumerate(opened.shelf)
        if position != opened.position
        and len(entry.paths) == 1
        and entry.sops[:1] not in ((), ("",))
        and entry.kind is opened.shelf[opened.position].kind
    }


def pair_with(session: ReviewSession, position: int) -> None:
    """Hang another entry of the shelf beside the view that is shown."""
    opened, study = session.opened, session.study
    if opened is None or study is None or position not in can_pair_with(session):
        return
    own, other = study.views[0].source.sop_instance_uid, opened.shelf[position].sops[0]
    settings = [
        session.reader.put(Run(one), Topic.PAIRING.value, two) for one, two in ((own, other), (other, own))
    ]
    _reopen(session, settings, own)


def pairing_is_set(session: ReviewSession) -> bool:
    """Whether a reader said what belongs together here."""
    return bool(_pairing_settings(session))


def pair_as_read(session: ReviewSession) -> None:
    """What the files say about pairs holds again for the runs on screen."""
    opened, study = session.opened, session.study
    settings = _pairing_settings(session)
    if opened is None or study is None or not settings:
        return
    runs = set().union(*(partners(setting, opened.folder.listed) for setting in settings))
    taken_back = [session.reader.put(Run(run), Topic.PAIRING.value, None) for run in sorted(runs)]
    _reopen(session, taken_back, study.views[0].source.sop_instance_uid)


def _pairing_settings(session: ReviewSession) -> list[Setting]:
    opened, study = session.opened, session.study
    if opened is None or study is None:
        return []
    shown = {view.source.sop_instance_uid for view in study.views}
    return [setting for setting in opened.folder.pairing if setting.sop_instance_uid in shown]


def _reopen(session: ReviewSession, changes: Iterable[Setting], sop: str) -> None:
    """Put the shelf together anew and open the entry that holds an instance."""
    opened = session.opened
    if opened is None:
        return
    held = {setting.run.name: setting for setting in opened.folder.pairing}
    for setting in changes:
        held.pop(setting.run.name, None)
        if setting.value is not None:
            held[setting.run.name] = setting
    pairing = tuple(held.values())
    entries = tuple(entries_as_set(opened.folder.listed, pairing, session.settings.author))
    folder = replace(opened.folder, entries=entries, pairing=pairing)
    position = next((place for place, entry in enumerate(entries) if sop in entry.sops), 0)
    session.open_from(folder, position)
