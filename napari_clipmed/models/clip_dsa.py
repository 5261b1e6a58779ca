"""CLIP-DSA: one CLIP image tower for both views, temporal pooling, three heads, a frozen text tower.

Xie et al., CLIP-DSA: Textual Knowledge-Guided Cerebrovascular Diseases Recognition in Multi-View Digital
Subtraction Angiography, MICCAI 2025; equation numbers refer to that paper. What the paper leaves open is
decided as follows: the image tower is shared by the views, and so is the temporal pooling (``share_tpm``);
query, key and value have linear layers of their own; features are normalised before eq. 6 (a cosine).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from open_clip.modified_resnet import AttentionPool2d
from torch import Tensor, nn
from torch.nn import functional

from napari_clipmed.models.backbones import (
    Spec,
    clip_config,
    create_clip,
    modified_resnet,
    sentence_features,
    tokenizer_for,
)
from napari_clipmed.models.folding import cast_products
from napari_clipmed.models.labels import LabelSet

Head = Literal["ap", "la", "mv"]

MAX_LOGIT_SCALE = math.log(100.0)
"""Upper bound of log(1/epsilon), as in CLIP: similarities are scaled by 100 at most."""


@dataclass(frozen=True, eq=False)
class ClipDSAOutput:
    """Features of a batch; those of a missing view, and `v_mv` with it, are None.

    Parameters
    ----------
    v_ap, v_la, v_mv : (b, d) Tensor or None
        Features in the space of the sentences (V of section 2.3), not normalised.
    attention_ap, attention_la : (b, t) Tensor or None
        Temporal weights (the softmax of eq. 5).
    frames_ap, frames_la : (b, t, d) Tensor or None
        Frame features (eq. 1), for training objectives on frames.
    """

    v_ap: Tensor | None
    v_la: Tensor | None
    v_mv: Tensor | None
    attention_ap: Tensor | None
    attention_la: Tensor | None
    frames_ap: Tensor | None = None
    frames_la: Tensor | None = None


class TemporalPooling(nn.Module):
    """Temporal pooling module (eq. 3-5): attention over frames, asked by their average, plus that average.

    Single head, no normalisation, no dropout, no output projection.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """(b, t, d) frame features to the enhanced feature (b, d) and the weights (b, t)."""
        average = features.mean(dim=1)  # eq. 3
        scores = torch.einsum("bd,btd->bt", self.query(average), self.key(features))  # eq. 4
        weights = (scores / math.sqrt(features.shape[-1])).softmax(dim=1)
        enhanced = torch.einsum("bt,btd->bd", weights, self.value(features)) + average  # eq. 5
        return enhanced, weights


class ClipDSA(nn.Module):
    """The network of the paper over any CLIP ResNet of open_clip.

    Parameters
    ----------
    backbone : str or mapping
        See `models.backbones`.
    share_tpm : bool
        One temporal pooling module for both views.
    n_labels : int
        Size of the label set that will be set.
    load_weights : bool
        Load the pre-trained weights that the backbone names.

    Notes
    -----
    ``text_features`` holds the unit prototypes of the labels; call `set_label_set` before the first use.
    """

    text_features: Tensor

    def __init__(
        self, backbone: Spec, share_tpm: bool = True, n_labels: int = 5, *, load_weights: bool = True
    ) -> None:
        super().__init__()
        self._backbone = clip_config(backbone)
        self.share_tpm = share_tpm
        self.clip = create_clip(backbone, load_weights=load_weights)
        self.visual = modified_resnet(self.clip)
        del self.clip.visual  # held under one name only
        self.clip.requires_grad_(False)  # what remains is the text tower, frozen (eq. 2)
        width = self.visual.output_dim
        self.tpm_ap = TemporalPooling(width)
        self.tpm_la = self.tpm_ap if share_tpm else TemporalPooling(width)
        self.head_ap = nn.Linear(width, width)
        self.head_la = nn.Linear(width, width)
        self.head_mv = nn.Linear(2 * width, width)
        # log(1/epsilon) of each loss (eq. 6): "the learnable parameter differs across the loss functions".
        self.logit_scales = nn.ParameterDict(
            {name: nn.Parameter(torch.tensor(math.log(1 / 0.07))) for name in ("ap", "la", "mv", "mc")}
        )
        self.register_buffer("text_features", torch.zeros(n_labels, width))

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> ClipDSA:
        """Rebuild a network, without its weights, from `config`."""
        return cls(config["backbone"], config["share_tpm"], config["n_labels"], load_weights=False)

    @property
    def config(self) -> dict[str, Any]:
        """What `from_config` needs; plain data for a model card."""
        return {"backbone": self._backbone, "share_tpm": self.share_tpm, "n_labels": len(self.text_features)}

    @property
    def image_size(self) -> int:
        """Side of the square input in pixels."""
        return int(self.visual.image_size)

    def set_label_set(self, labels: LabelSet) -> list[Tensor]:
        """Read the sentences of a label set with the text tower and keep the mean of each label's.

        Parameters
        ----------
        labels : LabelSet
            May differ in sentences and number from the one of the training.

        Returns
        -------
        list of (n_k, d) Tensor
            Unit embeddings of the sentences of each label.
        """
        bank = [self.read_sentences(list(label.sentences)) for label in labels.labels]
        means = torch.stack([features.mean(dim=0) for features in bank])
        self.text_features = functional.normalize(means, dim=-1).to(self.text_features.device)
        return bank

    def read_sentences(self, sentences: list[str]) -> Tensor:
        """Unit embeddings (n, d) of sentences by the frozen text tower (eq. 2)."""
        return sentence_features(self.clip, tokenizer_for(self._backbone), sentences)

    def cast_image_path(self, dtype: torch.dtype) -> None:
        """Cast what `trunk` multiplies by, its convolutions; what follows it and the sentences stay."""
        cast_products(self.visual, dtype, (nn.Conv2d,))

    def trunk(self, frames: Tensor) -> Tensor:
        """Frames (N, 3, S, S) to the last feature map (N, C, S/32, S/32)."""
        visual = self.visual
        return visual.layer4(visual.layer3(visual.layer2(visual.layer1(visual.stem(frames)))))

    def pool_frames(self, maps: Tensor) -> Tensor:
        """Maps (N, C, h, w) to frame features (N, d) by CLIP's attention pooling, for its mean token only."""
        return pool_by_mean_token(self.visual.attnpool, maps)

    def pool_time(self, features: Tensor, view: Literal["ap", "la"] = "ap") -> tuple[Tensor, Tensor]:
        """Frame features (b, t, d) to the enhanced feature (b, d) and the temporal weights (b, t)."""
        pooling: TemporalPooling = self.tpm_ap if view == "ap" else self.tpm_la
        return pooling(features)

    def forward(self, ap: Tensor | None, la: Tensor | None) -> ClipDSAOutput:
        """Features of a batch of studies, each view (b, t, 3, S, S) or None."""
        return self.forward_maps(*(None if v is None else self._maps(v) for v in (ap, la)))

    def forward_maps(self, ap: Tensor | None, la: Tensor | None) -> ClipDSAOutput:
        """The same from trunk maps, each view (b, t, C, h, w) or None; both take any number of frames t."""
        frames = [
            None if m is None else self.pool_frames(m.flatten(0, 1)).unflatten(0, m.shape[:2])
            for m in (ap, la)
        ]
        return self.forward_features(*frames)

    def forward_features(self, ap: Tensor | None, la: Tensor | None) -> ClipDSAOutput:
        """The same from frame features, each view (b, t, d) or None."""
        if ap is None and la is None:
            raise ValueError("CLIP-DSA needs at least one view")
        s_ap, w_ap = (None, None) if ap is None else self.pool_time(ap, "ap")
        s_la, w_la = (None, None) if la is None else self.pool_time(la, "la")
        both = None if s_ap is None or s_la is None else torch.cat([s_ap, s_la], dim=-1)
        return ClipDSAOutput(
            v_ap=None if s_ap is None else self.head_ap(s_ap),
            v_la=None if s_la is None else self.head_la(s_la),
            v_mv=None if both is None else self.head_mv(both),
            attention_ap=w_ap,
            attention_la=w_la,
            frames_ap=ap,
            frames_la=la,
        )

    def scale(self, which: str) -> Tensor:
        """1/epsilon of one loss: "ap", "la", "mv" or "mc"."""
        return self.logit_scales[which].clamp(max=MAX_LOGIT_SCALE).exp()

    def logits(self, v: Tensor, which: Head) -> Tensor:
        """Cosines with the sentences over the head's epsilon, (b, K); softmax gives probabilities."""
        return self.scale(which) * functional.normalize(v, dim=-1) @ self.text_features.T

    def _maps(self, view: Tensor) -> Tensor:
        return self.trunk(view.flatten(0, 1)).unflatten(0, view.shape[:2])


def pool_by_mean_token(pool: AttentionPool2d, maps: Tensor) -> Tensor:
    """open_clip's `AttentionPool2d` computed for the one query whose answer it returns.

    Parameters
    ----------
    pool : AttentionPool2d
        Its weights; `spacial_dim` must fit the maps.
    maps : (N, C, h, w) Tensor

    Returns
    -------
    (N, d) Tensor
        Equal to ``pool(maps)``. For RN50 at 224², 21 M multiplications a frame instead of 430 M.
    """
    tokens = maps.flatten(2).transpose(1, 2)
    tokens = torch.cat([tokens.mean(dim=1, keepdim=True), tokens], dim=1) + pool.positional_embedding.to(
        maps.dtype
    )
    # [heads, width of a head, C]: each head's share of the projections to keys and to values.
    to_key, to_value = (p.weight.unflatten(0, (pool.num_heads, -1)) for p in (pool.k_proj, pool.v_proj))
    query = pool.q_proj(tokens[:, 0]).unflatten(-1, (pool.num_heads, -1))
    # There is one query a frame, so the query is projected back to the tokens rather than every token to a
    # key, and the weighted token is projected to a value rather than every token: the same products in
    # another order. The key's bias adds one number to all scores of a head, which the softmax cancels.
    asked = torch.einsum("nhe,hec->nhc", query, to_key)
    weights = (asked @ tokens.transpose(1, 2) / math.sqrt(query.shape[-1])).softmax(dim=-1)
    values = torch.einsum("nhc,hec->nhe", weights @ tokens, to_value)
    values = values + pool.v_proj.bias.unflatten(0, (pool.num_heads, -1))  # weights add up to one
    return pool.c_proj(values.flatten(1))
