"""The fine scale of CausalCLIPSeg: where its places go, what it sees, how an older network gets one."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from random_networks import _one_thread_and_seed, randomise  # noqa: F401 - a fixture
from test_causal_clipseg import TINY
from torch.nn import functional as F

from napari_clipmed.inference.device import Compute
from napari_clipmed.models.causal_clipseg import CausalCLIPSeg, TextDecoder
from napari_clipmed.models.fine_scale import pack, with_fine_scale
from napari_clipmed.training.recompute import Recomputed

FINE = TINY | {"fine_channels": 6}


@pytest.fixture
def fine() -> CausalCLIPSeg:
    return randomise(CausalCLIPSeg.from_config(FINE)).eval()


def test_packed_places_return_to_where_they_were() -> None:
    features = torch.randn(2, 6, 16, 8)
    packed = pack(features)
    assert packed.shape == (2, 96, 4, 2)
    assert torch.equal(F.pixel_shuffle(packed, 4), features)
    # The first channel of a place holds the sixteen of its square, row by row.
    assert torch.equal(packed[0, :16, 1, 1], features[0, 0, 4:8, 4:8].flatten())


def test_the_scale_and_its_complement_are_the_features_of_a_quarter(fine: CausalCLIPSeg) -> None:
    """Eq. 2 for the fourth scale: causal and confounding part add up, and the mask parts them."""
    x = torch.randn(2, 3, 64, 64)
    separated = fine.separate(x)
    v3, _, _, v2 = fine.stages(x)
    assert v2.shape[2:] == (16, 16)
    assert separated.causal.shape == (2, 64 + 16 * 6, 4, 4)
    features, mask = fine.neck.fine(v2, v3)
    assert mask.shape == features.shape == (2, 6, 16, 16)
    assert 0 < mask.min() < mask.max() < 1
    parts = [F.pixel_shuffle(part[:, 64:], 4) for part in separated]
    torch.testing.assert_close(parts[0], features * mask)
    torch.testing.assert_close(sum(parts), features)


def test_it_joins_before_the_last_convolutions_of_the_decoder() -> None:
    decoder = randomise(TextDecoder(8, 8, 5, (2, 2), fine=3)).eval()
    fused, detail = torch.randn(1, 8, 4, 4), torch.randn(1, 3, 16, 16)
    up, convolution, again, *others = decoder.vis
    expected = torch.cat([again(convolution(up(fused))), detail], dim=1)
    for layer in others:
        expected = layer(expected)
    torch.testing.assert_close(decoder.vis(torch.cat([fused, pack(detail)], dim=1)), expected)
    moved = decoder.vis(torch.cat([fused, pack(detail + 1)], dim=1))
    assert not torch.allclose(moved, expected)


def test_a_decoder_at_another_resolution_cannot_have_it() -> None:
    with pytest.raises(ValueError, match="enlarges 4 times"):
        TextDecoder(8, 8, 5, (4, 4), fine=3)


def test_a_network_without_it_gets_one_and_answers_the_same() -> None:
    old = randomise(CausalCLIPSeg.from_config(TINY)).eval()
    new = CausalCLIPSeg.from_config(FINE).eval()
    new.load_state_dict(with_fine_scale(old.state_dict(), new.state_dict()))
    x, tokens = torch.randn(2, 3, 64, 64), old.tokenize(["lower left lung", "right lung"])
    for before, after in zip(old(x, tokens), new(x, tokens), strict=True):
        torch.testing.assert_close(after, before)
    new.train()  # and the new part learns from the first step on
    new(x, tokens)[0].sum().backward()
    assert new.causal_decoder.vis[3][0].weight.grad[:, 16:].abs().sum() > 0


def test_weights_that_have_it_stay_as_they_are(fine: CausalCLIPSeg) -> None:
    state = fine.state_dict()
    found = with_fine_scale(state, CausalCLIPSeg.from_config(FINE).state_dict())
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], state[name]) for name in state)


def test_prepared_for_inference_it_answers_the_same(fine: CausalCLIPSeg) -> None:
    """Folded norms and fused blocks leave the first stage readable."""
    x, tokens = torch.randn(1, 3, 64, 64), fine.tokenize(["lower left lung"])
    with torch.no_grad():
        expected = fine(x, tokens)[0]
        ready = Compute("cpu", "fp32", 1, "").freeze(deepcopy(fine))
        found = ready.decode(ready.encode_image(x), ready.encode_text(tokens))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-3)


def test_a_decoder_that_is_computed_twice_has_the_same_gradient(fine: CausalCLIPSeg) -> None:
    plain = deepcopy(fine.causal_decoder.vis).train()
    again = Recomputed(deepcopy(plain), as_one=True).train()
    x = fine.separate(torch.randn(2, 3, 64, 64)).causal.detach()
    for layers in (plain, again):
        layers(x).square().sum().backward()
    for (name, a), (_, b) in zip(plain.named_parameters(), again.named_parameters(), strict=True):
        torch.testing.assert_close(b.grad, a.grad, msg=name)
