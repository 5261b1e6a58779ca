"""``napari-clipmed record label|mask``: what a reader says of a study, as the docks save it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_clipmed.cli._app import app, console, print_json
from napari_clipmed.cli._common import AsJson, ModelId, model_of, registry_of
from napari_clipmed.cli.history import Author, WorkspaceOption, plain
from napari_clipmed.cli.mask_edit import read_mask
from napari_clipmed.cli.measure import open_one, view_of
from napari_clipmed.cli.worklist import open_workspace
from napari_clipmed.errors import ClipmedError
from napari_clipmed.records.words import Verdict

if TYPE_CHECKING:
    from napari_clipmed.records import Answer, Revision
    from napari_clipmed.study import View

StudyFiles = Annotated[list[Path], typer.Argument(help="A study: its file, its two planes, or its folder.")]
Comment = Annotated[str, typer.Option("--comment", help="Why; stored beside it.")]

LARGEST_ANSWER = 1 << 20
"""Bytes; a JSON file of `segment` has a few hundred."""

records = typer.Typer(help="Save what a reader says of a study.", no_args_is_help=True)
app.add_typer(records, name="record")


@records.command("label")
def label_command(
    study: StudyFiles,
    workspace: WorkspaceOption,
    label: Annotated[
        str,
        typer.Option(
            "--label", help="Key of the class, as MMD; default: what the model answered where it is certain."
        ),
    ] = "",
    verdict: Annotated[
        Verdict | None,
        typer.Option(
            "--verdict", help="Of the model's answer; default: accepted where the label agrees with it."
        ),
    ] = None,
    model: ModelId = "",
    author: Author = "",
    comment: Comment = "",
    as_json: AsJson = False,
) -> None:
    """Save the label of an angiogram, beside what the model last answered; it can be learned from."""
    from napari_clipmed.training.snapshots import save_diagnosis_inputs

    opened = open_one(study)
    if opened.kind != "angiogram":
        raise ClipmedError("Labels are for angiograms; this is none.", "Use `record mask` for a film.")
    with open_workspace(workspace) as store:
        case = store.case_for(opened)
        answer = store.newest_answers(model).get(case)
        chosen, judged = _judged(label, verdict, answer)
        _check_label(workspace, model or (answer.model_id if answer else ""), chosen)
        save_diagnosis_inputs(store, case, opened)
        revision = store.add_label(case, chosen, judged, author=author, comment=comment, **_said_by(answer))
    _tell(revision, as_json)


@records.command("mask")
def mask_command(
    study: StudyFiles,
    workspace: WorkspaceOption,
    mask: Annotated[Path, typer.Option("--mask", help="One mask of the frame's size: .png, .tif or .npy.")],
    view: Annotated[str, typer.Option("--view", help="AP, LA, PA or a number from 1.")] = "1",
    frame: Annotated[int, typer.Option("--frame", min=1, help="Frame of a run, counted from 1.")] = 1,
    name: Annotated[
        str, typer.Option("--name", help="Tells masks of one frame apart; default: the sentence.")
    ] = "",
    prompt: Annotated[
        str,
        typer.Option("--prompt", help="The sentence that it answers; without one nothing learns from it."),
    ] = "",
    answer: Annotated[
        Path | None,
        typer.Option(
            "--answer", help="The JSON file that `segment` wrote beside its mask: sentence, model, threshold."
        ),
    ] = None,
    verdict: Annotated[
        Verdict, typer.Option("--verdict", help="accepted: just as the model drew it.")
    ] = Verdict.CORRECTED,
    author: Author = "",
    comment: Comment = "",
    as_json: AsJson = False,
) -> None:
    """Save a mask of one frame; it replaces what was saved there under the same name, which is kept."""
    from napari_clipmed.training.snapshots import save_segmentation_inputs

    read = read_mask(mask)
    if read.dtype != bool:
        raise ClipmedError(f"{mask.name} holds several classes.", "Save them one by one; see `mask-edit`.")
    pixels = read.astype(bool)
    opened = open_one(study)
    index, place = view_of(opened, view)
    shown = opened.views[index]
    if frame > shown.n_frames:
        raise ClipmedError(f"There is no frame {frame} in view {place}; it has {shown.n_frames}.")
    if pixels.shape != shown.pixels.shape[1:]:
        sizes = ["x".join(map(str, shape)) for shape in (pixels.shape, shown.pixels.shape[1:])]
        raise ClipmedError(f"The mask has {sizes[0]} pixels, the frame {sizes[1]}.", "Give one of its size.")
    said = _read_answer(answer, shown, frame) if answer else _sentence(prompt)
    with open_workspace(workspace) as store:
        case = store.case_for(opened)
        save_segmentation_inputs(store, case, shown, index, frame - 1)
        revision = store.add_mask(
            case,
            index,
            frame - 1,
            pixels,
            name=name or said.get("prompt") or "finding",
            verdict=verdict,
            author=author,
            comment=comment,
            **said,
        )
    _tell(revision, as_json)


def _judged(label: str, verdict: Verdict | None, answer: Answer | None) -> tuple[str | None, Verdict]:
    """The label and verdict that a person means.

    Raises
    ------
    ClipmedError
        When no label is named where one is needed, or the verdict contradicts the model's answer.
    """
    predicted = answer.predicted if answer else ""
    if verdict in (Verdict.REJECTED, Verdict.UNSURE):
        return label or None, verdict
    if not label and answer and predicted and verdict is not Verdict.CORRECTED:
        label = _named_by(answer)
    if not label:
        raise ClipmedError(
            "There is no label to save.", "Give one with --label, or ask the model first: worklist classify."
        )
    agrees = label == predicted
    if verdict is Verdict.ACCEPTED and answer and not agrees:
        raise ClipmedError(
            f"The model answered {predicted}; {label} does not accept that.", "Use --verdict corrected."
        )
    if verdict is Verdict.CORRECTED and agrees:
        raise ClipmedError(f"The model answered {label} too.", "Use --verdict accepted.")
    return label, verdict or (Verdict.ACCEPTED if agrees else Verdict.CORRECTED)


def _named_by(answer: Answer) -> str:
    """The class that the model named; where it is uncertain, only a person can name one.

    Raises
    ------
    ClipmedError
    """
    from napari_clipmed.inference.certainty import judge

    nothing_named = judge(answer.probabilities, answer.unlike_training, answer.possible).nothing_named()
    if nothing_named:
        raise ClipmedError(nothing_named, "Give the label with --label.")
    return answer.predicted


def _check_label(workspace: Path, model: str, label: str | None) -> None:
    """Refuse a label that the model does not know: a typing error would be kept for ever."""
    entry = model_of(registry_of(workspace), "diagnosis", model)
    known = [str(row["key"]) for row in (entry.card.label_set or {}).get("labels", [])]
    if label is not None and known and label not in known:
        raise ClipmedError(f"There is no class {label!r}.", f"Classes: {', '.join(known)}.")


def _said_by(answer: Answer | None) -> dict[str, Any]:
    if answer is None:
        return {}
    return {
        "model_id": answer.model_id,
        "model_version": answer.model_version,
        "model_label": answer.predicted,
        "model_score": answer.combined[answer.predicted],
    }


def _sentence(prompt: str) -> dict[str, Any]:
    """What the model would read of a typed sentence."""
    if not prompt.strip():
        return {}
    from napari_clipmed.models.prompts import normalise

    return {"prompt": prompt.strip(), "model_prompt": normalise(prompt, "picture").sentence}


def _read_answer(path: Path, view: View, frame: int) -> dict[str, Any]:
    """What `segment` wrote down, where it is about this frame of this view.

    Raises
    ------
    ClipmedError
    """
    try:
        if path.stat().st_size > LARGEST_ANSWER:
            raise ValueError
        told = json.loads(path.read_text(encoding="utf-8"))
        said = {
            "prompt": str(told["prompt"]),
            "model_prompt": str(told["read_as"]),
            "convention": str(told["convention"]),
            "threshold": float(told["threshold"]),
            "model_id": str(told["model"]),
            "model_version": str(told["model_version"]),
            "model_score": float(told["score"]),
        }
        about = (told["image_hash"], told["frame_number"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ClipmedError(
            f"{path} is not the answer of `segment`.", "Give the JSON file that it wrote beside the mask."
        ) from error
    if about != (view.pixel_hash, frame):
        raise ClipmedError(f"{path.name} is about another frame.", "Give the answer of this one.")
    return said


def _tell(revision: Revision, as_json: bool) -> None:
    if as_json:
        print_json(plain(revision))
        return
    what = revision.label or revision.name or "no label"
    console.print(f"Saved: {what}, {revision.verdict}, as revision {revision.id}.", highlight=False)
