"""Answers as plain values. People count frames from 1, and so does everything written here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_clipmed.inference.results import Diagnosis, MaskProposal, Saliency
    from napari_clipmed.study import Study

RESEARCH_USE = "Research use only, not for diagnosis."


def describe_diagnosis(study: Study, diagnosis: Diagnosis, saliency: Saliency | None) -> dict[str, Any]:
    """An answer of CLIP-DSA: ``predicted`` is the most probable class, ``headline`` what may be said."""
    certainty = diagnosis.certainty
    return {
        "model": diagnosis.model_id,
        "image_hash": diagnosis.image_hash,
        "kind": study.kind.value,
        "synthetic": study.synthetic,
        "pairing": None if study.pairing is None else study.pairing.value,
        "views": {
            name: {"index": i, "frames": study.views[i].n_frames} for name, i in diagnosis.view_index.items()
        },
        "headline": diagnosis.headline,
        "uncertain": not certainty.certain,
        "uncertain_because": list(certainty.reasons),
        "candidates": list(certainty.candidates),
        "possible": None if diagnosis.possible is None else list(diagnosis.possible),
        "predicted": diagnosis.predicted,
        "probabilities": {name: dict(answer) for name, answer in diagnosis.probabilities.items()},
        "unlike_training": diagnosis.unlike_training,
        "notes": list(diagnosis.notes),
        "warnings": list(study.warnings),
        "attention": {
            name: {
                "frame_numbers": (part.frames + 1).tolist(),
                "weights": [round(float(w), 5) for w in part.weights],
            }
            for name, part in diagnosis.attention.items()
        },
        "saliency": None
        if saliency is None
        else {
            "method": saliency.method,
            "label": saliency.label,
            "decisive_frame_number": {name: saliency.decisive_frame(name) + 1 for name in saliency.maps},
            "peaks": {name: [round(float(p), 4) for p in saliency.peaks(name)] for name in saliency.maps},
        },
        "use": RESEARCH_USE,
    }


def describe_mask(
    study: Study, proposal: MaskProposal, mask: NDArray[np.bool_], frame_number: int, threshold: float
) -> dict[str, Any]:
    """An answer of CausalCLIPSeg."""
    return {
        "model": proposal.model_id,
        "model_version": proposal.model_version,
        "image_hash": proposal.image_hash,
        "synthetic": study.synthetic,
        "frame_number": frame_number,
        "prompt": proposal.prompt,
        "read_as": proposal.normalised_prompt,
        "convention": proposal.convention,
        "threshold": threshold,
        "score": round(float(proposal.probability[mask].mean()), 4) if mask.any() else 0.0,
        "pixels": int(mask.sum()),
        "share": round(float(mask.mean()), 5),
        "rows": mask.shape[0],
        "columns": mask.shape[1],
        "contradictions": list(_contradictions(study, proposal, mask)),
        "notes": list(proposal.notes),
        "use": RESEARCH_USE,
    }


def _contradictions(study: Study, proposal: MaskProposal, mask: NDArray[np.bool_]) -> tuple[str, ...]:
    """Where the mask is not what its sentence says; the sides of an angiogram are not those of a film."""
    from napari_clipmed.inference.contradictions import contradictions_of
    from napari_clipmed.study import Kind

    if study.kind is Kind.ANGIOGRAM:
        return ()
    return contradictions_of(proposal.prompt, proposal.convention, mask)
