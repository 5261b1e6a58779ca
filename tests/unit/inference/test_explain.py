"""Saliency equals the grad-cam package run through the whole network, at a fraction of the price."""

from __future__ import annotations

import numpy as np
import pytest
import pytorch_grad_cam
import torch
from pytorch_grad_cam.utils.image import scale_cam_image
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn

from napari_clipmed.errors import ClipmedError
from napari_clipmed.inference.explain import METHODS, normalise_jointly, package_cams, raw_cams, raw_method
from napari_clipmed.models.card import ModelEntry
from napari_clipmed.models.clip_dsa import ClipDSA
from napari_clipmed.models.loading import load_network

SIZE, FRAMES = 64, 16


@pytest.fixture(scope="module")
def network() -> ClipDSA:
    torch.manual_seed(11)
    network = ClipDSA("clipmed-tiny").eval()
    # Random text features and statistics that do not kill the maps: the comparison needs real numbers.
    network.text_features = nn.functional.normalize(torch.randn_like(network.text_features), dim=-1)
    for module in network.visual.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.weight.data.uniform_(0.5, 1.5)
    return network


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    generator = torch.Generator().manual_seed(12)
    brightness = torch.linspace(-1, 2, 2 * FRAMES)[:, None, None, None]
    return torch.randn(2 * FRAMES, 3, SIZE, SIZE, generator=generator) + brightness


class WholeNetwork(nn.Module):
    """All frames of both views through trunk, open_clip's own attention pooling, and heads."""

    def __init__(self, network: ClipDSA) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.network.visual.attnpool(self.network.trunk(images))
        ap, la = features.split(FRAMES)
        output = self.network.forward_features(ap[None], la[None])
        return self.network.logits(output.v_mv, "mv")


def ours(network: ClipDSA, images: torch.Tensor, target: int, method: str) -> np.ndarray:
    with torch.no_grad():
        maps = network.trunk(images)
    parts = raw_cams(network, {"AP": maps[:FRAMES], "LA": maps[FRAMES:]}, [target], method)
    return np.concatenate([parts["AP"][0], parts["LA"][0]])


@pytest.mark.parametrize("method", [m for m in METHODS if m != "eigencam"])
@pytest.mark.parametrize("target", [0, 3])
def test_equal_to_the_package_through_the_whole_network(
    network: ClipDSA, images: torch.Tensor, method: str, target: int
) -> None:
    whole = WholeNetwork(network).requires_grad_(True)
    with_hooks = raw_method(method)(whole, [network.visual.layer4])
    full = with_hooks(images.clone(), [ClassifierOutputTarget(target)])
    with_hooks.activations_and_grads.release()
    network.requires_grad_(False)
    mine = ours(network, images, target, method)
    assert full.max() > 0
    assert np.abs(mine / mine.max() - full / full.max()).max() < 1e-3


@pytest.mark.parametrize("method", METHODS)
def test_all_classes_in_one_pass_are_those_of_the_package_one_by_one(
    network: ClipDSA, images: torch.Tensor, method: str
) -> None:
    with torch.inference_mode():  # as the engine keeps them
        maps = network.trunk(images)
    network.requires_grad_(False)
    views = {"AP": maps[:FRAMES], "LA": maps[FRAMES:]}
    every = raw_cams(network, views, range(5), method)
    for target in range(5):
        theirs = package_cams(network, views, target, method)
        largest = max(part.max() for part in theirs.values())
        for name, part in theirs.items():
            assert every[name].shape == (5, FRAMES, 2, 2)
            assert np.abs(every[name][target] - part).max() <= 1e-3 * largest


@pytest.mark.parametrize("at_once", [2, 8])
def test_classes_in_batches_are_those_one_after_the_other(
    network: ClipDSA, images: torch.Tensor, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    from napari_clipmed.inference import explain

    with torch.no_grad():
        maps = network.trunk(images)
    views = {"AP": maps[:FRAMES], "LA": maps[FRAMES:]}
    together = raw_cams(network, views, range(5))
    monkeypatch.setattr(explain, "classes_at_once", lambda device: at_once)
    apart = raw_cams(network, views, range(5))
    assert np.allclose(together["AP"], apart["AP"], atol=1e-6 * together["AP"].max())


def test_after_the_packages_own_stretching_the_maps_are_the_packages(
    network: ClipDSA, images: torch.Tensor
) -> None:
    whole = WholeNetwork(network).requires_grad_(True)
    package = pytorch_grad_cam.GradCAM(whole, [network.visual.layer4])
    theirs = package(images.clone(), [ClassifierOutputTarget(2)])
    package.activations_and_grads.release()
    network.requires_grad_(False)
    mine = scale_cam_image(scale_cam_image(ours(network, images, 2, "gradcam"), (SIZE, SIZE)))
    alive = theirs.reshape(len(theirs), -1).max(axis=1) > 0.5
    assert alive.sum() >= 4
    assert np.abs(mine[alive] - theirs[alive]).max() < 2e-3


def test_eigencam_is_the_packages_up_to_the_sign_that_an_svd_leaves_open(
    network: ClipDSA, images: torch.Tensor
) -> None:
    from pytorch_grad_cam.utils.svd_on_activations import get_2d_projection

    with torch.no_grad():
        maps = network.trunk(images)
    theirs = get_2d_projection(maps.numpy())
    mine = ours(network, images, 0, "eigencam")
    for frame, other in zip(mine, theirs, strict=True):
        difference = min(np.abs(frame - np.maximum(sign * other, 0)).max() for sign in (1, -1))
        assert difference < 1e-3 * np.abs(other).max()


def test_one_normalisation_for_all_frames_and_views_keeps_the_decisive_frame() -> None:
    cams = {"AP": np.full((3, 2, 2), 0.5, np.float32), "LA": np.ones((2, 2, 2), np.float32)}
    cams["LA"][1] = 4
    joint = normalise_jointly(cams)
    assert joint["LA"].max() == 1
    assert joint["AP"].max() == pytest.approx(0.125)
    nothing = normalise_jointly({"AP": np.zeros((2, 2, 2), np.float32)})
    assert np.isfinite(nothing["AP"]).all()


def test_a_single_view_uses_its_own_head(network: ClipDSA, images: torch.Tensor) -> None:
    with torch.no_grad():
        maps = network.trunk(images[:FRAMES])
    network.requires_grad_(False)
    as_ap = raw_cams(network, {"AP": maps}, [1])["AP"][0]
    as_la = raw_cams(network, {"LA": maps}, [1])["LA"][0]
    assert as_ap.shape == as_la.shape == (FRAMES, 2, 2)
    assert not np.allclose(as_ap, as_la)


def test_explaining_leaves_the_network_as_it_was(diagnosis_model: ModelEntry, images: torch.Tensor) -> None:
    frozen = load_network(diagnosis_model).requires_grad_(False)
    before = {key: value.clone() for key, value in frozen.state_dict().items()}
    ours(frozen, images, 0, "gradcam++")
    assert all(torch.equal(value, before[key]) for key, value in frozen.state_dict().items())
    assert not any(module._forward_hooks for module in frozen.modules())


def test_an_unknown_method_is_a_sentence() -> None:
    with pytest.raises(ClipmedError, match="no saliency method 'scorecam'"):
        raw_method("scorecam")
