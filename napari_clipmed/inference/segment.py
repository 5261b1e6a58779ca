"""From a typed sentence and decoded logits to a mask proposal on the frame's own pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_clipmed.errors import ClipmedError
from napari_clipmed.inference.preprocess import Preprocessing, unfit_map
from napari_clipmed.inference.results import MaskProposal

if TYPE_CHECKING:
    from torch import Tensor

    from napari_clipmed.models.card import ModelCard
    from napari_clipmed.study import View

CONVENTIONS = ("picture", "patient")


@dataclass(frozen=True)
class Sentence:
    """What was typed, whose left it meant, what the model reads, and what was changed on the way."""

    typed: str
    convention: str
    text: str
    notes: tuple[str, ...] = ()


def read_prompt(typed: str, convention: str) -> Sentence:
    """Turn what a person typed into the sentence that the model reads.

    Raises
    ------
    ClipmedError
        For an empty prompt or an unknown convention.
    """
    if convention not in CONVENTIONS:
        raise ClipmedError(f"Unknown side convention {convention!r}.", f"Choose {' or '.join(CONVENTIONS)}.")
    if not typed.strip():
        raise ClipmedError("The sentence is empty.", "Describe what to mark, or pick a preset.")
    return Sentence(typed, convention, " ".join(typed.split()))


def propose(
    logits: Tensor, view: View, card: ModelCard, preprocessing: Preprocessing, sentence: Sentence
) -> MaskProposal:
    """Probabilities at the frame's size, with the notes that a person must read.

    Parameters
    ----------
    logits : (h, w) Tensor
        On the model's square, of any resolution.
    view : View
        The frame's view; its size is the size of the answer.
    card, preprocessing
        Of the model.
    sentence : Sentence
        What was asked.
    """
    height, width = view.pixels.shape[1:]
    probability = unfit_map(logits.sigmoid(), height, width, preprocessing.size, preprocessing.fit).numpy()
    threshold = float(card.calibration.get("threshold", 0.5))
    inside = probability[probability >= threshold]
    notes = list(sentence.notes)
    if not inside.size:
        notes.append("The model marks nothing for this sentence.")
    if view.source.modality in ("XA", "RF"):
        notes.append("This is a frame of an angiogram; the model was trained on chest films.")
    return MaskProposal(
        probability=probability,
        prompt=sentence.typed,
        normalised_prompt=sentence.text,
        convention=sentence.convention,
        model_id=card.id,
        image_hash=view.pixel_hash,
        threshold=threshold,
        score=float(inside.mean()) if inside.size else 0.0,
        notes=tuple(notes),
    )
