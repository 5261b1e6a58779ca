"""What readers set about a study, on the command line: shown, set and taken back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from napari_clipmed.errors import ClipmedError
from napari_clipmed.io.auto_shift import auto_shift
from napari_clipmed.io.mask_settings import default_subtraction, with_mask, with_shift
from napari_clipmed.io.overrule import APART
from napari_clipmed.records import Run, Setting, Store
from napari_clipmed.records.sessions import SOFTWARE, now
from napari_clipmed.remembered import MASK, as_set, recall, said, with_setting
from napari_clipmed.study import Study, Topic, View

TOPICS = {
    "kind": Topic.KIND.value,
    "projection": Topic.PROJECTION.value,
    "interval-ms": Topic.TIME_BASE.value,
    "subtraction": Topic.SUBTRACTION.value,
    "pixel-mm": Topic.CALIBRATION.value,
    "pair": Topic.PAIRING.value,
    "mask": MASK,
    "shift": MASK,
}
"""Words of ``--set`` and ``--as-read``, and the keys they are kept under."""


@contextmanager
def memory(workspace: Path | None, writing: bool) -> Iterator[Store | None]:
    """The store of a workspace, opened for writing only where something is to be set."""
    if workspace is None:
        yield None
        return
    with Store.open(workspace, read_only=not writing) as store:
        yield store


def as_readers_set_it(
    study: Study, store: Store | None, words: Sequence[str] = (), back: Sequence[str] = (), author: str = ""
) -> Study:
    """The study with what was set before, what is set now, and without what is taken back.

    Raises
    ------
    ClipmedError
        When a word or value is none that is known; nothing is kept then.
    """
    held = {(s.run.name, s.key): s for s in recall(study, store)} if store is not None else {}
    taken_back = [(Run.of(view), _key(word)) for word in back for view in study.views]
    for run, key in taken_back:
        held.pop((run.name, key), None)
    shown = as_set(study, held.values(), author)
    new: list[Setting] = []
    for word in words:
        for setting in _settings(shown, word, author):
            shown = with_setting(shown, setting, said(setting, author))
            new.append(setting)
    if store is not None:
        for run, key in taken_back:
            store.set_about(run, key, None, author)
        for setting in new:
            store.set_about(setting.run, setting.key, setting.value, author)
    return shown


def _settings(study: Study, word: str, author: str) -> Iterator[Setting]:
    """One setting for each view that a word speaks of."""
    name, _, text = word.partition("=")
    key, values = _key(name), text.split(",")
    if len(values) == 1 and name != "projection":
        values *= len(study.views)
    if not text or len(values) != len(study.views):
        raise ClipmedError(
            f"“{word}” does not fit a study of {len(study.views)} view(s).",
            "Write WORD=VALUE, with one value a view between commas; an empty one leaves its view as it is.",
        )
    for view, value in zip(study.views, values, strict=True):
        if value:
            run = Run.of(view)
            yield Setting(
                0,
                run.sop_instance_uid,
                run.source_hash,
                key,
                _value(view, name, value),
                author,
                now(),
                SOFTWARE,
            )


def _key(name: str) -> str:
    if name not in TOPICS:
        raise ClipmedError(f"“{name}” is nothing that can be set.", f"Choose one of: {', '.join(TOPICS)}.")
    return TOPICS[name]


def _value(view: View, name: str, text: str) -> Any:
    """What is kept of a typed value."""
    try:
        match name:
            case "interval-ms":
                return float(text)
            case "pixel-mm":
                return [float(text)] * 2
            case "mask":
                first, _, last = text.partition("-")
                frames = range(int(first), int(last or first) + 1)
                if frames.stop > view.n_frames + 1:
                    raise ClipmedError(f"The run has {view.n_frames} frames.", "Give numbers of its frames.")
                return with_mask(default_subtraction(view), frames).to_json()
            case "shift" if text == "auto":
                return auto_shift(view).to_json()
            case "shift":
                rows, columns = (float(part) for part in text.split(":"))
                return with_shift(default_subtraction(view), (rows, columns)).to_json()
            case "pair":
                return APART if text == APART else text
            case _:
                return text
    except ValueError as error:
        raise ClipmedError(f"“{text}” is no value for {name}.", "See inspect --help.") from error
