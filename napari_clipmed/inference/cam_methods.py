"""Class activation maps from activations and the gradients of one class.

Each function takes activations A (N, C, p), one row a frame and p places, and gradients G of a logit, of the
same shape, and returns the map (N, p) before its negative part is cut off. They compute what the classes of
the grad-cam package compute; tests compare both.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_EPS_PLUS_PLUS, _EPS_XGRAD = 1e-6, 1e-7
"""What keeps a division finite, as in the grad-cam package."""


def gradcam(activations: Tensor, gradients: Tensor) -> Tensor:
    """Channels weighed by the mean of their gradient (Selvaraju et al., ICCV 2017, eq. 1-2)."""
    return _weighed(gradients.mean(dim=-1), activations)


def gradcam_plus_plus(activations: Tensor, gradients: Tensor) -> Tensor:
    """Channels weighed by the places where they help (Chattopadhay et al., WACV 2018, eq. 19)."""
    squares = gradients * gradients
    cubes = squares * gradients * activations.sum(dim=-1, keepdim=True)
    shares = torch.where(gradients != 0, squares / (2 * squares + cubes + _EPS_PLUS_PLUS), 0)
    return _weighed((gradients.clamp_min(0) * shares).sum(dim=-1), activations)


def layercam(activations: Tensor, gradients: Tensor) -> Tensor:
    """Each place weighed by its own positive gradient (Jiang et al., TIP 2021, eq. 5)."""
    return (gradients.clamp_min(0) * activations).sum(dim=1)


def hirescam(activations: Tensor, gradients: Tensor) -> Tensor:
    """Each place weighed by its own gradient (Draelos and Carin, 2020, eq. 3)."""
    return (gradients * activations).sum(dim=1)


def xgradcam(activations: Tensor, gradients: Tensor) -> Tensor:
    """Channels weighed by their gradient's mean over the activation (Fu et al., BMVC 2020, eq. 8)."""
    total = activations.sum(dim=-1) + _EPS_XGRAD
    return _weighed((gradients * activations).sum(dim=-1) / total, activations)


OWN: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "gradcam": gradcam,
    "gradcam++": gradcam_plus_plus,
    "layercam": layercam,
    "hirescam": hirescam,
    "xgradcam": xgradcam,
}
"""Methods that are computed here; the others are left to the package."""


def _weighed(weights: Tensor, activations: Tensor) -> Tensor:
    return torch.einsum("nc,ncp->np", weights, activations)
