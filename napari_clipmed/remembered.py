"""What readers set about a study: found again in a workspace, applied when the study is opened.

Between `io`, which knows how to put a conclusion right, and `records`, which keeps what was set; the window
and the command line both go through here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from napari_clipmed.errors import ClipmedError
from napari_clipmed.io.overrule import APART, Overrule, overruled, regrouped
from napari_clipmed.io.subtraction import resubtracted
from napari_clipmed.records import Run, Setting
from napari_clipmed.study import Guess, Study, Subtraction, Topic, View

if TYPE_CHECKING:
    from napari_clipmed.io import StudyEntry
    from napari_clipmed.records import Store

MASK = "mask"
"""Key under which the settings of the subtraction are kept; the other keys are those of `Topic`."""

NOT_UNDERSTOOD = "What was set about this study under “{key}” cannot be understood any more and is left out."


def recall(study: Study, store: Store) -> list[Setting]:
    """Settings about the runs of a study that hold now."""
    return store.settings_about(map(Run.of, study.views))


def recall_pairing(entries: Iterable[StudyEntry], store: Store) -> list[Setting]:
    """Settings about which runs of a folder belong together."""
    runs = [Run(sop) for entry in entries for sop in entry.sops if sop]
    return [setting for setting in store.settings_about(runs) if setting.key == Topic.PAIRING]


def as_set(study: Study, settings: Iterable[Setting], me: str = "") -> Study:
    """The study with the settings applied; what cannot be understood becomes a warning.

    Parameters
    ----------
    study : Study
        As read.
    settings : iterable of Setting
        In the order in which they were set; those about other runs are passed over.
    me : str
        The reader's own name, who is then spoken of as "you".
    """
    for setting in settings:
        try:
            study = with_setting(study, setting, said(setting, me))
        except (ClipmedError, ValueError):
            note = NOT_UNDERSTOOD.format(key=setting.key)
            study = replace(study, warnings=(*study.warnings, note))
    return study


def entries_as_set(
    entries: Sequence[StudyEntry], settings: Iterable[Setting], me: str = ""
) -> list[StudyEntry]:
    """The entries of a folder, taken apart and put together as set."""
    return regrouped(entries, [overrule_of(setting, said(setting, me)) for setting in settings])


def overrule_of(setting: Setting, reason: str) -> Overrule:
    """The correction that a setting keeps.

    Raises
    ------
    ClipmedError
        When its key or value is none that is known.
    """
    view = "" if setting.key == Topic.KIND else setting.run.name
    data = {"what": setting.key, "value": setting.value, "view": view}
    return replace(Overrule.from_json(data), reason=reason)


def said(setting: Setting, me: str = "") -> str:
    """Who set it, and when: "as set by you on 3 Mar 2026, 14:05"."""
    who = "you" if setting.author in ("", me) else setting.author
    local = setting.created_at.astimezone()
    return f"as set by {who} on {local.day} {local:%b %Y, %H:%M}"


def partners(setting: Setting, entries: Iterable[StudyEntry]) -> set[str]:
    """SOP Instance UIDs of all runs that a setting about pairing speaks of, in a folder as read."""
    own = setting.sop_instance_uid
    others = {sop for entry in entries if own in entry.sops for sop in entry.sops}
    return {own} | (others if setting.value == APART else {str(setting.value)})


def with_setting(study: Study, setting: Setting, reason: str) -> Study:
    """The study with one setting applied; one about another run changes nothing.

    Raises
    ------
    ClipmedError, ValueError
        When its key or value is none that is known.
    """
    index = next((i for i, view in enumerate(study.views) if Run.of(view).name == setting.run.name), None)
    if index is None:
        return study
    if setting.key == MASK:
        return study.with_view(index, masked(study.views[index], setting.value, reason))
    return overruled(study, [overrule_of(setting, reason)])


def masked(view: View, value: Any, reason: str) -> View:
    """A view subtracted by saved settings, with the reason on record.

    Raises
    ------
    ValueError
        When the value is no `Subtraction`.
    """
    if view.subtracted and view.native is None:  # taken to be subtracted by the scanner
        return view
    return explained(resubtracted(view, Subtraction.from_json(value)), reason)


def explained(view: View, reason: str) -> View:
    """The view with another reason on its guess about subtraction."""
    guess = next((guess for guess in view.guesses if guess.what == Topic.SUBTRACTION), None)
    if guess is None:
        return view
    return view.concluding(Guess(Topic.SUBTRACTION, guess.value, reason))
