"""Radiographs and sentences in memory, and what training does to them before the network sees them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from napari_clipmed.inference.preprocess import Preprocessing, fit_frames, prepare_film
from napari_clipmed.models.prompts import Finding, parse
from napari_clipmed.progress import Progress
from napari_clipmed.training.qata_data import QaTaItem
from napari_clipmed.training.segmentation_config import Augmentation
from napari_clipmed.training.sentence_variation import VariationConfig, vary


class QaTaDataset(Dataset[dict[str, Any]]):
    """Items of a split, decoded once and kept as bytes (0.1 MB each at 224).

    Parameters
    ----------
    items : sequence of QaTaItem
    preprocessing : Preprocessing
        Grey window and square that pictures and masks are brought to, as for inference.
    flip : float
        Probability of a mirrored picture, with left and right exchanged in its sentence.
    variation : VariationConfig or None
        How sentences are varied; None leaves them as they are.
    seed : int
        Of the flips and variations.
    """

    def __init__(
        self,
        items: Sequence[QaTaItem],
        preprocessing: Preprocessing,
        flip: float = 0.0,
        variation: VariationConfig | None = None,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> None:
        self.items = list(items)
        self.flip = flip
        self.variation = variation
        self._rng = np.random.default_rng(seed)
        self._findings = [parse(item.sentence) for item in self.items]
        side = preprocessing.size
        self._images = np.empty((len(self.items), side, side), np.uint8)
        self._masks = np.empty_like(self._images)
        for index, item in enumerate(self.items):
            if progress is not None and index % 50 == 0:
                progress.step("reading radiographs", index, len(self.items))
            film = prepare_film(read_grey(item.image), preprocessing)
            self._images[index] = (film * 255).round().numpy()
            self._masks[index] = fit_mask(read_grey(item.mask), preprocessing).numpy()

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> dict[str, Any]:
        image, mask, finding = self._images[index], self._masks[index], self._findings[index]
        sentence = self.items[index].sentence
        if self.flip and self._rng.random() < self.flip:
            image, mask, finding = image[:, ::-1], mask[:, ::-1], finding.mirrored()
            sentence = finding.sentence if finding else sentence
        if self.variation is not None and finding.places:
            sentence = vary(finding, self.variation, self._rng)
        return {"image": _tensor(image), "mask": _tensor(mask), "sentence": sentence, "index": index}

    def reseed(self, seed: int) -> None:
        """Draw flips and variations anew from this seed."""
        self._rng = np.random.default_rng(seed)

    def finding(self, index: int) -> Finding:
        """What the sentence of an item says."""
        return self._findings[index]


def read_grey(path: Path) -> NDArray[np.uint8]:
    """A picture as (H, W) bytes."""
    with Image.open(path) as picture:
        return np.asarray(picture.convert("L"))


def fit_mask(mask: NDArray[np.uint8], preprocessing: Preprocessing) -> Tensor:
    """A mask on the model's square, (S, S) bool."""
    greys = torch.from_numpy((mask > 127).astype(np.float32))
    return fit_frames(greys[None], preprocessing.size, preprocessing.fit, pad=0.0)[0] >= 0.5


def _tensor(pixels: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(pixels))[None]


def augment(images: Tensor, masks: Tensor, size: int, config: Augmentation) -> tuple[Tensor, Tensor]:
    """One random affine map and grey curve for each picture, at a new size.

    Parameters
    ----------
    images, masks : (B, 1, H, W) float Tensor in [0, 1]
    size : int
        Side of the result.

    Returns
    -------
    images, masks : (B, 1, size, size) float Tensor
        The masks hold 0 and 1 only.
    """
    b = len(images)

    def spread(amount: float) -> Tensor:
        return (torch.rand(b, device=images.device) * 2 - 1) * amount

    angle = torch.deg2rad(spread(config.degrees))
    zoom = 1 + spread(config.scale)
    cos, sin = zoom * angle.cos(), zoom * angle.sin()
    maps = torch.stack([cos, -sin, spread(2 * config.shift), sin, cos, spread(2 * config.shift)], dim=1)
    grid = F.affine_grid(maps.reshape(b, 2, 3), [b, 1, size, size], align_corners=False)
    both = F.grid_sample(torch.cat([images, masks], dim=1), grid, align_corners=False)
    images, masks = both[:, :1].clamp(0, 1), (both[:, 1:] >= 0.5).float()
    gamma = spread(config.gamma).exp()[:, None, None, None]
    contrast = spread(config.contrast).exp()[:, None, None, None]
    images = images.clamp_min(1e-4) ** gamma
    return ((images - 0.5) * contrast + 0.5).clamp(0, 1), masks
