"""One answer from a film and its mirror image, by a network that learned from both.

The mirror image is asked the mirrored sentence, and the mean of both logits is the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from napari_clipmed.inference.preprocess import Preprocessing, normalise
from napari_clipmed.models.prompts import mirrored

if TYPE_CHECKING:
    from torch import Tensor

    from napari_clipmed.inference.device import Compute
    from napari_clipmed.models.causal_clipseg import CausalCLIPSeg


def encode_films(network: CausalCLIPSeg, x: Tensor, preprocessing: Preprocessing) -> Tensor:
    """What `decode_films` needs of pictures x [B, 3, S, S]: [B, C, h, w], or [2 B, C, h, w] both ways."""
    return network.encode_image(torch.cat([x, x.flip(-1)]) if preprocessing.both_ways else x)


def asked(sentences: Sequence[str], preprocessing: Preprocessing) -> list[str]:
    """The sentences that the network has to read: these, and mirrored ones behind them if both ways."""
    return [*sentences, *(map(mirrored, sentences) if preprocessing.both_ways else ())]


def decode_films(
    network: CausalCLIPSeg, features: Tensor, tau: Tensor, preprocessing: Preprocessing
) -> Tensor:
    """Logits [B, 1, S, S] of `encode_films` and the vectors of what was `asked`; either batch may be 1."""
    if not preprocessing.both_ways:
        return network.decode(features, tau)
    plain, mirror = (network.decode(x, t) for x, t in zip(features.chunk(2), tau.chunk(2), strict=True))
    return (plain + mirror.flip(-1)) / 2


def answer_films(
    network: CausalCLIPSeg,
    films: Tensor,
    sentences: Sequence[str],
    preprocessing: Preprocessing,
    compute: Compute,
) -> Tensor:
    """Probabilities on the CPU for films by a network where it can still be trained (`Compute.place`).

    Parameters
    ----------
    films : (B, S, S) Tensor
        Of `prepare_film`.
    sentences : sequence of str
        B of them, one for each film; or any number for a single film.

    Returns
    -------
    (n, 1, S, S) float32 Tensor
    """
    tokens = network.tokenize(asked(sentences, preprocessing)).to(compute.device)
    with compute.running():
        features = encode_films(network, compute.send(normalise(films, preprocessing)), preprocessing)
        logits = decode_films(network, features, network.encode_text(tokens), preprocessing)
    return logits.float().sigmoid().cpu()
