"""Random changes of a DSA view: one draw for all frames and the lesion mask, which stay in register."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from napari_clipmed.training.clip_dsa_recipe import Augmentation


@dataclass(frozen=True)
class Window:
    """The square cut from a view, in units of its side: centre and side; (0.5, 0.5, 1) is the whole."""

    row: float = 0.5
    column: float = 0.5
    side: float = 1.0


WHOLE = Window()


def warp(
    images: Tensor, size: int, window: Window, amounts: Augmentation, generator: torch.Generator
) -> Tensor:
    """Cut, flip, turn, shift and zoom.

    Parameters
    ----------
    images : (N, S, S) float Tensor
        Frames, and masks with them.
    size : int
        Side of the answer.
    window : Window
        Where to cut.

    Returns
    -------
    (N, size, size) float Tensor
        Bilinear; the border is repeated outside.
    """
    flips = torch.rand(2, generator=generator)
    horizontal = -1.0 if flips[0] < amounts.flip_horizontal else 1.0
    vertical = -1.0 if flips[1] < amounts.flip_vertical else 1.0
    angle, down, across, zoom = (2.0 * torch.rand(4, generator=generator) - 1.0).tolist()
    angle *= math.radians(amounts.rotation_degrees)
    side = window.side * (1.0 + zoom * amounts.zoom)
    cosine, sine = side * math.cos(angle), side * math.sin(angle)
    theta = torch.tensor(
        [
            [horizontal * cosine, -sine, 2.0 * (window.column + across * amounts.shift) - 1.0],
            [horizontal * sine, vertical * cosine, 2.0 * (window.row + down * amounts.shift) - 1.0],
        ]
    )
    grid = functional.affine_grid(theta[None], [1, 1, size, size], align_corners=False)
    return functional.grid_sample(images[None], grid, padding_mode="border", align_corners=False)[0]


def regrey(frames: Tensor, amounts: Augmentation, generator: torch.Generator) -> Tensor:
    """Change contrast, brightness, gamma and noise of greys in [0, 1]; dark stays dark."""
    gain, offset, gamma, noise = torch.rand(4, generator=generator).tolist()
    background = frames[..., ::4, ::4].median()  # every sixteenth pixel is plenty
    frames = background + (frames - background) * math.exp((2 * gain - 1) * math.log1p(amounts.gain))
    frames = (frames + (2 * offset - 1) * amounts.offset).clamp(0.0, 1.0)
    if amounts.gamma:
        frames = frames ** math.exp((2 * gamma - 1) * amounts.gamma)
    if amounts.noise:
        frames = frames + torch.randn(frames.shape, generator=generator) * (noise * amounts.noise)
    return frames.clamp(0.0, 1.0)
