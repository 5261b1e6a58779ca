"""What inference answers: plain frozen objects that every room can show, save and test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from napari_clipmed.inference.certainty import BOTH, Certainty, combine, judge

__all__ = ["BOTH", "Diagnosis", "MaskProposal", "PromptEnsemble", "Saliency", "ViewAttention"]


@dataclass(frozen=True, eq=False)
class ViewAttention:
    """Temporal attention of one view (CLIP-DSA eq. 5).

    Parameters
    ----------
    weights : (t,) float array
        Softmax weights over the sampled frames; they sum to one.
    frames : (t,) int array
        Index of each sampled frame in the original run.
    """

    weights: NDArray[np.float32]
    frames: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """Answer of CLIP-DSA for one study.

    Parameters
    ----------
    labels : tuple of str
        Keys of the label set, in order.
    titles : tuple of str
        Names for people, same order.
    probabilities : mapping of str to mapping of str to float
        ``probabilities["AP" | "LA" | "both"][label]``; ``both`` is absent when only one view exists.
    attention : mapping of str to ViewAttention
        Per view name.
    view_index : mapping of str to int
        Which entry of `Study.views` each view name refers to.
    model_id, image_hash : str
        What answered, about what.
    notes : tuple of str
        Sentences the person must read: a missing view, unlike the training data, uncalibrated…
    unlike_training : bool
        True when the study lies outside what the model was trained on.
    key : str
        Opaque key of the cached features, for `Engine.explain`.
    model_version : str
        SHA-256 of the model's weights.
    embedding : mapping of str to (d,) float32 array
        Unit vectors that were compared with the sentences, for "AP", "LA" and "both".
    possible : tuple of str or None
        Prediction set of the combined answer (`inference.prediction_sets`): the true class is in it nine
        times in ten. None where the model's card has no thresholds for it.
    """

    labels: tuple[str, ...]
    titles: tuple[str, ...]
    probabilities: Mapping[str, Mapping[str, float]]
    attention: Mapping[str, ViewAttention]
    view_index: Mapping[str, int]
    model_id: str
    image_hash: str
    notes: tuple[str, ...] = ()
    unlike_training: bool = False
    key: str = ""
    model_version: str = ""
    embedding: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    possible: tuple[str, ...] | None = None

    @property
    def combined(self) -> Mapping[str, float]:
        """Probabilities of both views together, or of the only view."""
        return combine(self.probabilities)

    @property
    def predicted(self) -> str:
        """Key of the most probable label; what may be said of it, `headline` and `certainty` tell."""
        return max(self.combined, key=lambda label: self.combined[label])

    @property
    def certainty(self) -> Certainty:
        """Whether the label may be named, and why not."""
        names = dict(zip(self.labels, self.titles, strict=True))
        return judge(self.probabilities, self.unlike_training, self.possible, names)

    @property
    def headline(self) -> str:
        """The answer in a line for people: a class, or "Uncertain: " and the leading candidates."""
        return self.certainty.headline(dict(zip(self.labels, self.titles, strict=True)))


@dataclass(frozen=True, eq=False)
class Saliency:
    """Class activation maps of one label for all sampled frames of all views.

    Parameters
    ----------
    label, method : str
        Explained class key, and the name of the CAM method ("gradcam", "layercam"…).
    maps : mapping of str to (t, h, w) float32 array
        At the model's resolution, in [0, 1], normalised jointly over all frames and views, so that the
        decisive frame stands out.
    frames : mapping of str to (t,) int array
        Original frame index of each map.
    boxes : mapping of str to (float, float, float, float)
        Where the map lies in the frame, (row0, column0, row1, column1) in pixels of the view: padding
        that the preprocessing added is outside the frame.
    """

    label: str
    method: str
    maps: Mapping[str, NDArray[np.float32]]
    frames: Mapping[str, NDArray[np.int64]]
    boxes: Mapping[str, tuple[float, float, float, float]] = field(default_factory=dict)

    def peaks(self, view: str) -> NDArray[np.float32]:
        """Largest value of each sampled frame of a view, shape (t,)."""
        return self.maps[view].reshape(len(self.maps[view]), -1).max(axis=1)

    def decisive_frame(self, view: str) -> int:
        """Original index of the frame with the highest peak."""
        return int(self.frames[view][int(np.argmax(self.peaks(view)))])


@dataclass(frozen=True, eq=False)
class MaskProposal:
    """Answer of CausalCLIPSeg for one prompt on one frame.

    Parameters
    ----------
    probability : (H, W) float32 array
        Foreground probability at the size of the frame.
    prompt, normalised_prompt : str
        What was typed, and the sentence that the model read.
    convention : str
        "picture" or "patient": whose left the typed "left" meant.
    threshold : float
        Proposed threshold for `mask`.
    score : float
        Mean probability inside the mask; 0 for an empty mask.
    notes : tuple of str
        Sentences the person must read.
    model_version : str
        SHA-256 of the model's weights.
    """

    probability: NDArray[np.float32]
    prompt: str
    normalised_prompt: str
    convention: str
    model_id: str
    image_hash: str
    threshold: float = 0.5
    score: float = 0.0
    notes: tuple[str, ...] = ()
    model_version: str = ""

    def mask(self, threshold: float | None = None) -> NDArray[np.bool_]:
        """Boolean (H, W) mask at a threshold (default: the proposed one)."""
        return self.probability >= (self.threshold if threshold is None else threshold)


@dataclass(frozen=True, eq=False)
class PromptEnsemble:
    """One question in several wordings: where the answer hangs on the wording, it is uncertain.

    Parameters
    ----------
    proposal : MaskProposal
        Whose probability is the mean over the wordings.
    spread : (H, W) float32 array
        Standard deviation of the probability over the wordings, in [0, 0.5].
    wordings : tuple of str
        The sentences that the model read.
    """

    proposal: MaskProposal
    spread: NDArray[np.float32]
    wordings: tuple[str, ...]
