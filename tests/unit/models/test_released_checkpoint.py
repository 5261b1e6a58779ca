"""State dicts in the layout of the published code, against the forward pass that the specification gives."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from napari_clipmed.errors import ModelError
from napari_clipmed.models.backbones import count_parameters
from napari_clipmed.models.causal_clipseg import CausalCLIPSeg
from napari_clipmed.models.released_checkpoint import CONFIG, KEYS, UNUSED, load_released, translate

SMALL = {
    "clip": {
        "embed_dim": 64,
        "quick_gelu": True,
        "vision_cfg": {
            "image_size": 64,
            "layers": [1, 1, 1, 1],
            "width": 8,
            "patch_size": None,
            "head_width": 64,
        },
        "text_cfg": {"context_length": 20, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
    },
    "upsampling": [4, 4],
    "context_length": 20,
}


@pytest.fixture(autouse=True)
def _one_thread_and_seed():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


def released_neck(c: int, stage4: int, last: int) -> dict[str, Tensor]:
    """Random weights of everything behind the backbone, named and shaped as the specification says."""
    state: dict[str, Tensor] = {}

    def convolution(name: str, inputs: int, outputs: int, kernel: int, bias: bool = False) -> None:
        state[f"{name}.weight"] = torch.randn(outputs, inputs, kernel, kernel) / (inputs * kernel**2) ** 0.5
        if bias:
            state[f"{name}.bias"] = torch.randn(outputs) * 0.1

    def norm(name: str, channels: int) -> None:
        state[f"{name}.weight"] = torch.rand(channels) + 0.5
        state[f"{name}.bias"] = torch.randn(channels) * 0.1
        state[f"{name}.running_mean"] = torch.randn(channels) * 0.1
        state[f"{name}.running_var"] = torch.rand(channels) + 0.5
        state[f"{name}.num_batches_tracked"] = torch.tensor(7)

    def layer(name: str, inputs: int, outputs: int, kernel: int) -> None:
        convolution(f"{name}.0", inputs, outputs, kernel)
        norm(f"{name}.1", outputs)

    layer("backbone.visual.attnpool.connect", last, c, 1)
    layer("neck_ad.f2_v_proj", stage4, c, 3)
    layer("neck_ad.f4_proj4", c, c, 3)
    layer("neck_ad.aggr", 3 * c, c, 1)
    for unused in ("f1_v_proj", "f3_v_proj", "f3_cat", "coordconv.0.conv1"):
        layer(f"neck_ad.{unused}", c, c, 1)
    for masker in (3, 4, 5):
        layer(f"neck_ad.masker{masker}.coordconv.conv1", c + 2, c, 3)
        layer(f"neck_ad.masker{masker}.conv2", c, c, 3)
        layer(f"neck_ad.masker{masker}.coordconv2.conv1", c + 2, c, 3)
        convolution(f"neck_ad.masker{masker}.conv", c, c, 3, bias=True)
        norm(f"neck_ad.masker{masker}.bn", c)
    convolution("neck_ad.carafe.down", c, c // 4, 1, bias=True)
    convolution("neck_ad.carafe.encoder", c // 4, 36, 3, bias=True)
    convolution("neck_ad.carafe.out", c, c, 1, bias=True)
    for projector in ("proj", "proj_ad"):
        layer(f"{projector}.vis.1", c, c, 3)
        layer(f"{projector}.vis.3", c, c // 2, 3)
        convolution(f"{projector}.vis.4", c // 2, c // 2, 1, bias=True)
        state[f"{projector}.txt.weight"] = torch.randn(c // 2 * 9 + 1, c) * 0.1
        state[f"{projector}.txt.bias"] = torch.randn(c // 2 * 9 + 1) * 0.1
    return state


class Reference:
    """The forward pass of section 2.1 of the specification, on the published names."""

    def __init__(self, state: dict[str, Tensor]) -> None:
        self.state = state

    def conv(self, name: str, x: Tensor) -> Tensor:
        weight = self.state[f"{name}.weight"]
        return F.conv2d(x, weight, self.state.get(f"{name}.bias"), padding=weight.shape[-1] // 2)

    def norm(self, name: str, x: Tensor) -> Tensor:
        s = self.state
        mean, var = s[f"{name}.running_mean"], s[f"{name}.running_var"]
        return F.batch_norm(x, mean, var, s[f"{name}.weight"], s[f"{name}.bias"])

    def layer(self, name: str, x: Tensor) -> Tensor:
        return self.norm(f"{name}.1", self.conv(f"{name}.0", x)).relu()

    def coord(self, name: str, x: Tensor) -> Tensor:
        b, _, h, w = x.shape
        rows, columns = torch.meshgrid(torch.linspace(-1, 1, h), torch.linspace(-1, 1, w), indexing="ij")
        return self.layer(
            f"{name}.conv1", torch.cat([x, columns.expand(b, 1, h, w), rows.expand(b, 1, h, w)], 1)
        )

    def mask(self, name: str, x: Tensor) -> Tensor:
        x = self.layer(f"{name}.conv2", self.coord(f"{name}.coordconv", x))
        x = self.conv(f"{name}.conv", self.coord(f"{name}.coordconv2", x))
        return self.norm(f"{name}.bn", x).sigmoid()

    def carafe(self, x: Tensor) -> Tensor:
        weights = self.conv("neck_ad.carafe.encoder", self.conv("neck_ad.carafe.down", x))
        weights = F.pixel_shuffle(weights, 2).softmax(1)
        nearest = F.unfold(x, 3, padding=1).reshape(*x.shape[:2], 9, *x.shape[2:])
        nearest = nearest.repeat_interleave(2, 3).repeat_interleave(2, 4)
        return self.conv("neck_ad.carafe.out", (nearest * weights[:, None]).sum(2))

    def project(self, name: str, x: Tensor, tau: Tensor) -> Tensor:
        x = F.interpolate(x, scale_factor=4, mode="bilinear")
        x = F.interpolate(self.layer(f"{name}.vis.1", x), scale_factor=4, mode="bilinear")
        x = self.conv(f"{name}.vis.4", self.layer(f"{name}.vis.3", x))
        b, c, h, w = x.shape
        word = F.linear(tau, self.state[f"{name}.txt.weight"], self.state[f"{name}.txt.bias"])
        kernel, bias = word[:, :-1].reshape(b, c, 3, 3), word[:, -1]
        out = F.conv2d(x.reshape(1, b * c, h, w), kernel, bias, padding=1, groups=b)
        return out.transpose(0, 1)

    def __call__(self, v3: Tensor, v4: Tensor, v5: Tensor, tau: Tensor) -> tuple[Tensor, Tensor]:
        scales = (
            F.avg_pool2d(v3, 2, 2),
            self.layer("neck_ad.f4_proj4", self.layer("neck_ad.f2_v_proj", v4)),
            self.carafe(v5),
        )
        masks = [self.mask(f"neck_ad.masker{i}", f) for i, f in zip((3, 4, 5), scales, strict=True)]
        sup = torch.cat([f * m for f, m in zip(scales, masks, strict=True)], 1)
        inf = torch.cat([f * (1 - m) for f, m in zip(scales, masks, strict=True)], 1)
        return (
            self.project("proj", self.layer("neck_ad.aggr", sup), tau),
            self.project("proj_ad", self.layer("neck_ad.aggr", inf), tau),
        )


@pytest.fixture
def network_and_checkpoint():
    network = CausalCLIPSeg(**SMALL)
    backbone = {f"backbone.{key}": value.clone() for key, value in network.backbone.state_dict().items()}
    checkpoint = released_neck(64, 128, 256) | backbone
    return network.eval(), checkpoint


@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_published_checkpoint_gives_the_published_answer(network_and_checkpoint, prefix):
    network, checkpoint = network_and_checkpoint
    load_released(network, {prefix + key: value for key, value in checkpoint.items()})
    x = torch.randn(2, 3, 64, 96)
    tokens = network.tokenize(["lower left lung", "all right lung"])
    with torch.no_grad():
        found = network(x, tokens)
        expected = Reference(checkpoint)(*network.stages(x), network.encode_text(tokens))
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.shape == (2, 1, 64, 96)
        torch.testing.assert_close(ours, theirs, atol=2e-4, rtol=1e-3)


def test_unused_parts_are_dropped_and_every_used_part_is_mapped(network_and_checkpoint):
    _, checkpoint = network_and_checkpoint
    translated = translate(checkpoint)
    assert len(translated) == sum(not key.startswith(UNUSED) for key in checkpoint)
    assert all(any(key.startswith(theirs) for key in checkpoint) for theirs, _ in KEYS)


def test_other_checkpoints_are_refused_in_a_sentence(network_and_checkpoint):
    network, checkpoint = network_and_checkpoint
    with pytest.raises(ModelError, match="another checkpoint"):
        load_released(network, {"encoder.weight": torch.zeros(1)})
    with pytest.raises(ModelError, match="1 entries are missing"):
        load_released(network, {k: v for k, v in checkpoint.items() if k != "proj.txt.bias"})
    with pytest.raises(ModelError, match="has the shape"):
        load_released(network, checkpoint | {"proj.txt.bias": torch.zeros(5)})


def test_rn101_as_published():
    """Shapes and parameter counts of the specification, on torch's device without numbers."""
    with torch.device("meta"):
        network = CausalCLIPSeg(**CONFIG)
    assert count_parameters(network.backbone.visual) == pytest.approx(56.26e6, rel=0.02)
    assert count_parameters(network.backbone) + count_parameters(network.connect) == pytest.approx(
        120.7e6, abs=5e4
    )
    assert count_parameters(network.neck) == pytest.approx(51.8e6 - 15.2e6, abs=1e5)
    for decoder in (network.causal_decoder, network.confounder_decoder):
        assert count_parameters(decoder) == pytest.approx(4.8e6, abs=5e4)
    network.eval()
    x = torch.zeros(1, 3, 224, 224, device="meta")
    shapes = [tuple(stage.shape[1:]) for stage in network.stages(x)]
    assert shapes == [(512, 28, 28), (1024, 14, 14), (512, 7, 7)]
    separated = network.separate(x)
    assert separated.causal.shape == separated.confounder.shape == (1, 512, 14, 14)
    assert network.encode_image(x).shape == (1, 256, 224, 224)
    assert network.causal_decoder.txt.out_features == 2305
    tau = torch.zeros(3, 512, device="meta")
    assert network.decode(network.encode_image(x), tau).shape == (3, 1, 224, 224)
