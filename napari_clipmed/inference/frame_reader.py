"""The tower of CLIP-DSA made ready to read the frames of runs, in the number format that was decided."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Self, cast

from torch import Tensor

from napari_clipmed.inference.chunks import run_in_chunks
from napari_clipmed.inference.device import Compute
from napari_clipmed.models.card import ModelEntry
from napari_clipmed.models.folding import fold_batch_norms
from napari_clipmed.models.int8_trunk import Int8Trunk
from napari_clipmed.models.loading import load_network

if TYPE_CHECKING:
    from napari_clipmed.models.clip_dsa import ClipDSA


class FrameReader:
    """Frames of a run to maps of the tower.

    Parameters
    ----------
    network : ClipDSA
        Frozen in place (`Compute.freeze`).
    compute : Compute
    """

    def __init__(self, network: ClipDSA, compute: Compute) -> None:
        self._compute = compute
        fold_batch_norms(network.eval())
        self._bytes = Int8Trunk(network.visual) if compute.precision == "int8" else None
        self.network = compute.freeze(network)

    @classmethod
    def of(cls, entry: ModelEntry, compute: Compute) -> Self:
        """That of a diagnosis model on disk."""
        return cls(cast("ClipDSA", load_network(entry)), compute)

    def read_run(
        self, images: Tensor, chunk: int, on_step: Callable[[int], None] = lambda done: None
    ) -> tuple[Tensor, int]:
        """Read the frames of one run.

        Parameters
        ----------
        images : (N, 3, S, S) float32 Tensor
            Normalised; N at least 1.
        chunk, on_step
            See `chunks.run_in_chunks`.

        Returns
        -------
        maps : (N, C, S / 32, S / 32) Tensor
        chunk : int
            What fitted in the end.
        """
        if self._bytes is None:
            return run_in_chunks(self.network_reader, images, chunk, on_step)
        telling = _telling_frames(images)
        others = [k for k in range(len(images)) if k not in telling]
        on_step(0)
        visual = self.network.visual
        few, scales = self._bytes.measure(visual, self._compute.send(images[telling]))
        if not others:
            return few, chunk
        trunk = self._bytes
        many, chunk = run_in_chunks(
            lambda some: trunk(visual.conv1, self._compute.send(some), scales),
            images[others], chunk, lambda done: on_step(len(telling) + done),
        )  # fmt: skip
        maps = many.new_empty((len(images), *many.shape[1:]))
        maps[telling], maps[others] = few, many
        return maps, chunk

    def network_reader(self, some: Tensor) -> Tensor:
        """A few frames in floating point."""
        return self.network.trunk(self._compute.send(some))

    def read_any(self, images: Tensor) -> Tensor:
        """Images that are no run, as fast as those of a run: for measuring the pace."""
        return self.read_run(images, len(images))[0]


def _telling_frames(images: Tensor) -> list[int]:
    """The frame with the most contrast medium and the one with the least: between them lie all others."""
    means = images.float().mean(dim=(1, 2, 3))
    return sorted({int(means.argmin()), int(means.argmax())})
