"""From decoded logits to a mask proposal on the frame's own pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_clipmed.inference.preprocess import Preprocessing, unfit_map
from napari_clipmed.inference.results import MaskProposal, PromptEnsemble

if TYPE_CHECKING:
    from torch import Tensor

    from napari_clipmed.models.card import ModelCard
    from napari_clipmed.models.prompts import Prompt
    from napari_clipmed.study import View


def propose(
    logits: Tensor, view: View, card: ModelCard, preprocessing: Preprocessing, prompt: Prompt
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
    prompt : Prompt
        What was asked, and how it was read.
    """
    return _proposal(_on_frame(logits.sigmoid(), view, preprocessing), view, card, prompt)


def agree(
    logits: Tensor, view: View, card: ModelCard, preprocessing: Preprocessing, prompt: Prompt
) -> PromptEnsemble:
    """Mean and spread of the probabilities of `Prompt.wordings`, at the frame's size.

    Parameters are those of `propose`, with logits (n, h, w), one map for each wording.
    """
    probabilities = logits.sigmoid()
    mean = _on_frame(probabilities.mean(dim=0), view, preprocessing)
    spread = _on_frame(probabilities.std(dim=0, unbiased=False), view, preprocessing)
    return PromptEnsemble(_proposal(mean, view, card, prompt), spread, prompt.wordings)


def label_values(proposals: Sequence[MaskProposal], threshold: float | None = None) -> NDArray[np.uint8]:
    """One label image of several sentences: value n where the n-th sentence's mask is; 0 for none.

    Where masks overlap, the sentence of the higher probability has the pixel.

    Parameters
    ----------
    proposals : sequence of MaskProposal
        Of one frame; between 1 and 255 of them.
    threshold : float, optional
        Of all masks; default: each proposal's own.
    """
    certain = np.stack([np.where(p.mask(threshold), p.probability, -1.0) for p in proposals])
    return np.where(certain.max(axis=0) < 0, 0, certain.argmax(axis=0) + 1).astype(np.uint8)


def _on_frame(values: Tensor, view: View, preprocessing: Preprocessing) -> NDArray[np.float32]:
    height, width = view.pixels.shape[1:]
    return unfit_map(values, height, width, preprocessing.size, preprocessing.fit).numpy()


def _proposal(probability: NDArray[np.float32], view: View, card: ModelCard, prompt: Prompt) -> MaskProposal:
    threshold = float(card.calibration.get("threshold", 0.5))
    inside = probability[probability >= threshold]
    notes = list(prompt.notes)
    if not inside.size:
        notes.append("The model marks nothing for this sentence.")
    if view.source.modality in ("XA", "RF"):
        notes.append("This is a frame of an angiogram; the model was trained on chest films.")
    return MaskProposal(
        probability=probability,
        prompt=prompt.text,
        normalised_prompt=prompt.sentence,
        convention=prompt.convention,
        model_id=card.id,
        image_hash=view.pixel_hash,
        threshold=threshold,
        score=float(inside.mean()) if inside.size else 0.0,
        notes=tuple(notes),
        model_version=card.sha256,
    )
