"""Class activation maps, from the cached last feature map only.

The trunk is the expensive part and its last map is in the cache; what follows it is differentiated for all
wanted classes, after one forward pass. Methods that need nothing but activations and gradients are
computed in `cam_methods`; the others by the grad-cam package, which is also what tests compare with: it is
handed a small network whose input is the map. All frames of both views go through together, as one batch,
which is also what the answer depends on. The package stretches every frame to 0…1 on its own, which hides the
decisive frame; here maps are normalised over all frames and views at once, and stay at the resolution of the
feature map until they are drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_clipmed.errors import ClipmedError
from napari_clipmed.inference.cam_methods import OWN
from napari_clipmed.inference.classify import HEADS
from napari_clipmed.inference.results import BOTH

if TYPE_CHECKING:
    from napari_clipmed.models.clip_dsa import ClipDSA

METHODS = {
    "gradcam": "GradCAM",
    "gradcam++": "GradCAMPlusPlus",
    "layercam": "LayerCAM",
    "hirescam": "HiResCAM",
    "xgradcam": "XGradCAM",
    "eigencam": "EigenCAM",
}
"""Method names for people, and the classes of the grad-cam package."""

DEFAULT_METHOD = "layercam"
"""The method that points best: its hottest cell lies on the lesion in 48 of 50 simulated test studies,
Grad-CAM's in 12 (docs/benchmarks.md). Grad-CAM weighs channels by their gradient's mean over the picture,
which loses a lesion that fills one cell of a 7 × 7 map."""


class HeadOnMaps(nn.Module):
    """What follows the trunk, as a network of its own: frames' maps in, class logits out.

    Parameters
    ----------
    network : ClipDSA
        Frozen, in eval mode.
    places : mapping of "AP" and/or "LA" to int
        How many frames of the batch belong to each view, in this order.
    """

    def __init__(self, network: ClipDSA, places: Mapping[str, int]) -> None:
        super().__init__()
        self.network = network
        self.places = dict(places)
        self.which = HEADS[BOTH if len(places) == 2 else next(iter(places))]
        self.tap = nn.Identity()  # the layer that the package hooks

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (N, C, h, w) of all frames to logits (1, K)."""
        parts = dict(zip(self.places, self.tap(maps).split(list(self.places.values())), strict=True))
        batch = {name: part[None] for name, part in parts.items()}
        output = self.network.forward_maps(batch.get("AP"), batch.get("LA"))
        return self.network.logits(getattr(output, f"v_{self.which}"), self.which)


class _RawMaps:
    """Mixin for the package's classes: the maps as computed, at the size of the layer."""

    def compute_cam_per_layer(self: Any, input_tensor: Tensor, targets: list[Any], eigen: bool) -> Any:
        hooks = self.activations_and_grads
        gradients = hooks.gradients[0].numpy() if hooks.gradients else None
        activations = hooks.activations[0].numpy()
        cam = self.get_cam_image(input_tensor, self.target_layers[0], targets, activations, gradients, eigen)
        return np.maximum(cam, 0)

    def aggregate_multi_layers(self, cam: Any) -> Any:
        return cam


class _SmallEigen:
    """Mixin for EigenCAM: the same first principal component, from the small Gram matrix of the places.

    The package decomposes (places × channels) with all singular vectors, half a minute for 32 frames. The
    sign, which no decomposition fixes, is chosen so that the strongest response is positive, as in the
    package's `get_2d_projection_with_sign_correction`.
    """

    def get_cam_image(
        self, _input: Any, _layer: Any, _targets: Any, activations: NDArray[np.float32], *_rest: Any
    ) -> NDArray[np.float32]:
        places = np.moveaxis(activations.reshape(*activations.shape[:2], -1), 1, 2)
        centred = (places - places.mean(axis=1, keepdims=True)).astype(np.float64)
        energies, vectors = np.linalg.eigh(centred @ np.moveaxis(centred, 1, 2))
        cam = vectors[..., -1] * np.sqrt(np.maximum(energies[:, -1:], 0))
        strongest = np.take_along_axis(cam, np.abs(cam).argmax(axis=1)[:, None], axis=1)
        cam = np.asarray(cam * np.where(strongest < 0, -1, 1), np.float32)
        return cam.reshape(len(cam), *activations.shape[2:])


@cache
def raw_method(method: str) -> type:
    """The package's class of a method, made to return its maps before any normalisation.

    Raises
    ------
    ClipmedError
        For an unknown method.
    """
    if method not in METHODS:
        raise ClipmedError(f"There is no saliency method {method!r}.", f"Choose {', '.join(METHODS)}.")
    import pytorch_grad_cam

    package_class = getattr(pytorch_grad_cam, METHODS[method])
    mixins = (_SmallEigen, _RawMaps) if method == "eigencam" else (_RawMaps,)
    return type(f"Raw{METHODS[method]}", (*mixins, package_class), {})


def raw_cams(
    network: ClipDSA, maps: Mapping[str, Tensor], targets: Sequence[int], method: str = DEFAULT_METHOD
) -> dict[str, NDArray[np.float32]]:
    """Class activation maps of some classes for all frames of all views, not normalised.

    Parameters
    ----------
    network : ClipDSA
        Without gradients, in eval mode.
    maps : mapping of "AP" and/or "LA" to (t, C, h, w) Tensor
        Trunk maps at the network's t places.
    targets : sequence of int
        Indices of the classes.
    method : str
        A key of `METHODS`.

    Returns
    -------
    dict of str to (len(targets), t, h, w) float32 array
        Not negative.
    """
    if method not in OWN:
        parts = [package_cams(network, maps, target, method) for target in targets]
        return {name: np.stack([part[name] for part in parts]) for name in maps}
    head = HeadOnMaps(network, {name: len(part) for name, part in maps.items()})
    with torch.enable_grad():
        leaf = torch.cat([part.float() for part in maps.values()]).requires_grad_(True)
        logits = head(leaf)[0]
    activations, found = leaf.detach().flatten(2), []
    for some in torch.eye(len(logits), device=logits.device)[list(targets)].split(
        classes_at_once(leaf.device)
    ):
        batched = len(some) > 1
        (gradients,) = torch.autograd.grad(
            logits, leaf, some if batched else some[0], is_grads_batched=batched, retain_graph=True
        )
        gradients = gradients.reshape(len(some), *leaf.shape).flatten(3)
        found += [OWN[method](activations, gradient) for gradient in gradients]
    cams = torch.stack(found).clamp_min(0).unflatten(-1, leaf.shape[2:]).cpu()
    sizes = [len(part) for part in maps.values()]
    return {name: part.numpy() for name, part in zip(maps, cams.split(sizes, dim=1), strict=True)}


def classes_at_once(device: torch.device) -> int:
    """Classes in one backward pass through the head.

    A card is filled by a batch of them. On a processor each class moves tens of megabytes whatever the batch,
    and a batch falls out of the cache: five classes took 0.74 s in one pass and 0.43 s one after the other.
    """
    return 1 if device.type == "cpu" else 8


def package_cams(
    network: ClipDSA, maps: Mapping[str, Tensor], target: int, method: str = DEFAULT_METHOD
) -> dict[str, NDArray[np.float32]]:
    """The maps (t, h, w) of one class as the grad-cam package computes them: reference, and other methods."""
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    head = HeadOnMaps(network, {name: len(part) for name, part in maps.items()})
    with torch.enable_grad():
        leaf = torch.cat([part.float() for part in maps.values()]).requires_grad_(True)
        cam = raw_method(method)(head, [head.tap])
        try:
            found = cam(leaf, [ClassifierOutputTarget(target)])
        finally:
            cam.activations_and_grads.release()
    sizes = np.cumsum([len(part) for part in maps.values()])[:-1]
    parts = np.split(np.asarray(found, dtype=np.float32), sizes)
    return dict(zip(maps, parts, strict=True))


def normalise_jointly(cams: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    """Divide by the largest value over all frames and views, so that the decisive frame stands out."""
    largest = np.float32(max(cam.max() for cam in cams.values()))
    return {name: cam / largest if largest > 0 else cam for name, cam in cams.items()}
