"""Low-rank updates of weights (LoRA, Hu et al., ICLR 2022), merged into the weights when training is over.

A large matrix W learns B·A beside itself, of so few numbers that forty studies cannot twist it far; once
merged the network is of the same architecture as before, and any version of the program can load it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

RANK = 8


class LowRank(nn.Module):
    """The parametrisation W + B·A of a weight of any shape, its first axis the outputs.

    Parameters
    ----------
    weight : Tensor
        As it is; B starts at zero, so nothing changes at first.
    rank : int
        Columns of B.
    generator : Generator
        Of A.
    """

    def __init__(self, weight: Tensor, rank: int, generator: torch.Generator) -> None:
        super().__init__()
        outputs, inputs = weight.flatten(1).shape
        rank = min(rank, outputs, inputs)
        spread = 1 / math.sqrt(inputs)
        a = (2 * torch.rand(rank, inputs, generator=generator) - 1) * spread
        self.a = nn.Parameter(a.to(weight.device))
        self.b = nn.Parameter(torch.zeros(outputs, rank, device=weight.device))

    def forward(self, weight: Tensor) -> Tensor:
        """The weight as it is used."""
        return weight + (self.b @ self.a).reshape(weight.shape)


def add_low_rank(network: nn.Module, rank: int = RANK, seed: int = 0) -> list[nn.Parameter]:
    """Give every linear layer and convolution inside a network a low-rank update; gives what may learn."""
    generator = torch.Generator().manual_seed(seed)
    learning: list[nn.Parameter] = []
    for module in [m for m in network.modules() if isinstance(m, nn.Linear | nn.Conv2d)]:
        update = LowRank(module.weight, rank, generator)
        parametrize.register_parametrization(module, "weight", update)
        learning += [update.a, update.b]
    return learning


def merge_low_rank(networks: Iterable[nn.Module]) -> None:
    """Write all updates into the weights; what had none stays as it is."""
    for network in networks:
        for module in list(network.modules()):
            if parametrize.is_parametrized(module, "weight"):
                parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)
