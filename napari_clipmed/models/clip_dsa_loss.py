"""The four losses of CLIP-DSA (eq. 6-8) and the choices of what counts as a positive pair.

Targets of the image-text losses:

``paper``
    One-hot: sample i belongs to sentence i of the batch. Two samples of a class that share their sentence
    are counted as negatives of each other, which shifts the loss by a constant (`one_hot_floor`) but leaves
    the gradient as that of ``class``.
``class``
    Every pair of the same class is positive, rows normalised (UniCL, ActionCLIP).
``soft``
    By how alike the sentences are: rho·softmax((cos − mean)₊/tau) + (1 − rho)·I.
``prototype``
    Cross-entropy over the sentences of all classes at every step: no class is ever absent from the batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from napari_clipmed.models.clip_dsa import ClipDSA, ClipDSAOutput, Head

Targets = Literal["paper", "class", "soft", "prototype"]
PairTargets = Literal["instance", "class"]


@dataclass(frozen=True)
class ClipDSALoss:
    """Mean of L_ap, L_la, L_mv and L_mc (eq. 8), over those that the views allow.

    Parameters
    ----------
    targets : str
        Positives of the image-text losses, see the module's text.
    mc_targets : str
        Positives of the multi-view loss: ``instance`` (the paper: the other view of the same study) or
        ``class`` (any study of the same class).
    mc_weight : float
        Factor of the multi-view loss; 0 leaves it out (the single-view rows of the paper's tables).
    rho, tau : float
        Of ``soft``.
    """

    targets: Targets = "paper"
    mc_targets: PairTargets = "instance"
    mc_weight: float = 1.0
    rho: float = 0.8
    tau: float = 0.07

    def __call__(
        self, network: ClipDSA, output: ClipDSAOutput, labels: Tensor, text: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Losses of a batch.

        Parameters
        ----------
        network : ClipDSA
            For its temperatures and prototypes.
        output : ClipDSAOutput
            Of b studies.
        labels : (b,) int64 Tensor
        text : (b, d) Tensor, optional
            Unit sentence embedding of each study (eq. 2); default: the prototype of its label.

        Returns
        -------
        dict
            ``ap``, ``la``, ``mv``, ``mc`` (those there are) and their mean ``total``.
        """
        text = network.text_features[labels] if text is None else text
        losses: dict[str, Tensor] = {}
        heads: tuple[tuple[Head, Tensor | None], ...] = (
            ("ap", output.v_ap),
            ("la", output.v_la),
            ("mv", output.v_mv),
        )
        for which, v in heads:
            if v is None:
                continue
            if self.targets == "prototype":
                losses[which] = functional.cross_entropy(network.logits(v.float(), which), labels)
            else:
                wanted = pair_targets(self.targets, labels, text, self.rho, self.tau)
                losses[which] = contrastive_loss(v.float(), text, network.scale(which), wanted)
        parts = list(losses.values())
        if output.v_ap is not None and output.v_la is not None and self.mc_weight > 0:
            wanted = pair_targets("paper" if self.mc_targets == "instance" else "class", labels)
            losses["mc"] = contrastive_loss(
                output.v_ap.float(), output.v_la.float(), network.scale("mc"), wanted
            )
            parts.append(self.mc_weight * losses["mc"])
        losses["total"] = torch.stack(parts).mean()
        return losses


def similarities(a: Tensor, b: Tensor, scale: Tensor | float) -> Tensor:
    """SIM of eq. 6, (n, m): cosines of features (n, d) and (m, d) over epsilon; ``scale`` is 1/epsilon.

    The equation prints the plain product, the sentence before it says "cosine similarity": features are
    normalised here, as in CLIP.
    """
    return scale * functional.normalize(a, dim=-1) @ functional.normalize(b, dim=-1).T


def contrastive_loss(a: Tensor, b: Tensor, scale: Tensor | float, targets: Tensor) -> Tensor:
    """Symmetric cross-entropy of the cosine similarities of two feature sets (eq. 6 and 7).

    Parameters
    ----------
    a, b : (n, d) Tensor
        Features; normalised here.
    scale : float
        1/epsilon.
    targets : (n, n) Tensor
        Y of eq. 7; rows sum to one. The other direction uses its transpose, rows normalised again.

    Returns
    -------
    scalar Tensor
    """
    similarity = similarities(a, b, scale)
    backward = targets.T / targets.T.sum(dim=1, keepdim=True)
    return 0.5 * (
        functional.cross_entropy(similarity, targets) + functional.cross_entropy(similarity.T, backward)
    )


def pair_targets(
    targets: Literal["paper", "class", "soft"],
    labels: Tensor,
    text: Tensor | None = None,
    rho: float = 0.8,
    tau: float = 0.07,
) -> Tensor:
    """Y of eq. 7 for a batch, (n, n), rows summing to one; see the module's text."""
    identity = torch.eye(len(labels), device=labels.device)
    if targets == "paper":
        return identity
    if targets == "class":
        same = (labels[:, None] == labels[None, :]).float()
        return same / same.sum(dim=1, keepdim=True)
    if text is None:
        raise ValueError("soft targets need the sentences")
    cosine = functional.normalize(text.float(), dim=-1) @ functional.normalize(text.float(), dim=-1).T
    alike = ((cosine - cosine.mean()).clamp_min(0.0) / tau).softmax(dim=1)
    return rho * alike + (1.0 - rho) * identity


def one_hot_floor(labels: Tensor) -> Tensor:
    """Least value of a one-hot image-text loss when the samples of a class share their sentence.

    The mean of log n_y over the batch (about 1.4 nats for 16 samples of five classes): subtract it before
    judging whether training converges.
    """
    counts = (labels[:, None] == labels[None, :]).sum(dim=1)
    return counts.float().log().mean()
