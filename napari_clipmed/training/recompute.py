"""Gradient checkpointing: what a block computed is forgotten, and computed again for its gradient."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from open_clip.modified_resnet import ModifiedResNet
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


class Recomputed(nn.Sequential):
    """An `nn.Sequential` of which, in training, only the inputs of its parts are kept, or just its own.

    Names and weights are those of the plain one, so checkpoints fit either way.

    Parameters
    ----------
    layers : Sequential
        Whose parts it takes over.
    as_one : bool
        Keep the input of the whole only.
    """

    def __init__(self, layers: nn.Sequential, as_one: bool = False) -> None:
        super().__init__(*layers)
        self.as_one = as_one
        self._run = type(layers).forward  # how the plain one goes through its parts

    def forward(self, x: Tensor) -> Tensor:
        """The same numbers as the plain one."""
        if not (self.training and torch.is_grad_enabled()):
            return self._run(self, x)
        if self.as_one:
            return checkpoint(self._run, self, x, use_reentrant=False, context_fn=self._contexts)
        for layer in self:
            x = checkpoint(layer, x, use_reentrant=False, context_fn=self._contexts)
        return x

    def _contexts(self) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _norms_counted_once(self)


@contextmanager
def _norms_counted_once(layers: nn.Module) -> Iterator[None]:
    """Running statistics stand still: they have seen this batch in the first pass."""
    norms = [layer for layer in layers.modules() if isinstance(layer, _BatchNorm)]
    kept = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, seen) in zip(norms, kept, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, seen


def recompute_stages(visual: ModifiedResNet) -> None:
    """Let the four stages of an image tower be computed twice, block by block, in place."""
    for name in ("layer1", "layer2", "layer3", "layer4"):
        setattr(visual, name, Recomputed(getattr(visual, name)))
