"""From cached feature maps of one or two views to the answer of CLIP-DSA."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_clipmed.inference.results import BOTH, ViewAttention
from napari_clipmed.study import Projection, Study

if TYPE_CHECKING:
    from torch import Tensor

    from napari_clipmed.inference.preprocess import ModelInput
    from napari_clipmed.models.clip_dsa import ClipDSA

VIEWS = ("AP", "LA")
HEADS: dict[str, Literal["ap", "la", "mv"]] = {"AP": "ap", "LA": "la", BOTH: "mv"}
"""Names of the answers, and of the network's heads that give them."""

_FRONTAL = (Projection.AP, Projection.PA)


def assign_views(study: Study) -> tuple[dict[str, int], list[str]]:
    """Which view of a study is read as AP and which as LA, and what the person must know about it.

    Returns
    -------
    index : dict
        "AP" and/or "LA" to the index in `Study.views`.
    notes : list of str
    """
    projections = [view.projection for view in study.views]
    index: dict[str, int] = {}
    for position, projection in enumerate(projections):
        if projection in _FRONTAL:
            index.setdefault("AP", position)
        elif projection is Projection.LA:
            index.setdefault("LA", position)
    notes = []
    free = [i for i in range(len(projections)) if i not in index.values()]
    # A view of unknown direction fills an empty place only where that is the sole way to read it.
    for name in VIEWS:
        if name not in index and free and (not index or len(projections) == 2):
            position = free.pop(0)
            index[name] = position
            notes.append(f"The {_named(projections[position])} was read as {name}.")
            if len(projections) == 1:
                break
    if len(index) == 1:
        only = next(iter(index))
        notes.append(f"Only the {only} view is there; the answer is that of the single-view {only} head.")
    unused = [_named(p) for i, p in enumerate(projections) if i not in index.values()]
    if unused:
        notes.append(f"Not used for the diagnosis: the {', the '.join(unused)}.")
    return {name: index[name] for name in VIEWS if name in index}, notes


def answer(
    network: ClipDSA, maps: Mapping[str, Tensor], calibration: Mapping[str, Any]
) -> tuple[dict[str, NDArray[np.float64]], dict[str, NDArray[np.float32]], dict[str, NDArray[np.float32]]]:
    """Probabilities and features of every head that its views allow, and the temporal attention of each view.

    Parameters
    ----------
    network : ClipDSA
        In eval mode.
    maps : mapping of "AP" and/or "LA" to (t, C, h, w) Tensor
        Trunk maps at the network's t places.
    calibration : mapping
        ``temperature`` of the card: one number, or one for each of "AP", "LA" and "both".

    Returns
    -------
    probabilities : dict of str to (K,) array
        For "AP", "LA" and "both", as far as there are views.
    attention : dict of str to (t,) array
        For "AP" and "LA".
    features : dict of str to (d,) array
        What is compared with the sentences (V of CLIP-DSA, section 2.3), as unit vectors, for each answer.
    """
    batch = {name: maps[name][None].float() if name in maps else None for name in VIEWS}
    output = network.forward_maps(batch["AP"], batch["LA"])
    vectors = {"AP": output.v_ap, "LA": output.v_la, BOTH: output.v_mv}
    probabilities = {}
    for name, vector in vectors.items():
        if vector is not None:
            logits = network.logits(vector, HEADS[name])[0].double() / temperature(calibration, name)
            probabilities[name] = logits.softmax(dim=0).cpu().numpy()
    weights = {"AP": output.attention_ap, "LA": output.attention_la}
    attention = {name: w[0].float().cpu().numpy() for name, w in weights.items() if w is not None}
    return probabilities, attention, unit_vectors(vectors)


def unit_vectors(vectors: Mapping[str, Tensor | None]) -> dict[str, NDArray[np.float32]]:
    """Vectors (1, d), those that are there, as arrays (d,) of length one."""
    found = {name: v[0].float().cpu().numpy() for name, v in vectors.items() if v is not None}
    return {n: (v / max(float(np.linalg.norm(v)), 1e-12)).astype(np.float32) for n, v in found.items()}


def temperature(calibration: Mapping[str, Any], name: str) -> float:
    """What the logits of an answer are divided by, so that probabilities mean what they say."""
    given = calibration.get("temperature", 1.0)
    return float(given.get(name, 1.0) if isinstance(given, Mapping) else given)


def view_attention(weights: NDArray[np.float32], prepared: ModelInput) -> ViewAttention:
    """Attention over the frames that really exist: the places of a repeated frame are added up."""
    summed = np.bincount(prepared.repeats, weights=weights, minlength=len(prepared.index))
    return ViewAttention(summed.astype(np.float32), prepared.index)


def _named(projection: Projection) -> str:
    return {
        Projection.OBLIQUE: "oblique view",
        Projection.UNKNOWN: "view of unknown direction",
    }.get(projection, f"further {projection} view")
