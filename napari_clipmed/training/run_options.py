"""How a recipe is computed: the same words in both recipes (section ``run``) and on the command line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from napari_clipmed.errors import ClipmedError


class RunOptions(BaseModel):
    """What may differ from machine to machine without making it another recipe, but for the notes below.

    Parameters
    ----------
    device : str
        auto, cuda, mps or cpu; auto takes the fastest that is there.
    precision : str
        fp32, bf16, fp16, or auto: bfloat16 where the hardware multiplies it natively, else half precision on
        a CUDA card, else float32. Losses and heads stay float32 (mixed precision).
    accumulate : int
        Batches whose gradients are added up for one step. The contrast of CLIP-DSA stays within a batch:
        four batches of 4 step like one of 16, but compare 4 studies with each other, not 16.
    recompute : bool
        Gradient checkpointing: the stages of the image tower are computed twice instead of being kept. The
        same gradients from a fraction of the memory, for about a third more time.
    patience : int or None
        Stop after so many validations without a better score (mean Dice, or macro AUC; never a loss).
    processes : int
        Processes, each with a device of its own (GPUs, or shares of the processor), that split every batch.
    threads : int
        Processor threads of each process; 0 leaves it to torch.
    workers : int
        Processes that prepare batches for each of them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    device: Literal["auto", "cuda", "mps", "cpu"] = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "fp32"
    accumulate: int = Field(default=1, ge=1)
    recompute: bool = False
    patience: int | None = Field(default=None, ge=1)
    processes: int = Field(default=1, ge=1)
    threads: int = Field(default=0, ge=0)
    workers: int = Field(default=0, ge=0)


class Overrides(BaseModel):
    """What a person asked for beside the recipe; None leaves the recipe's value.

    Parameters
    ----------
    epochs, minutes : int, float
        The budget, whichever ends first.
    batch : int
        Studies or films a batch, over all processes together (and in every stage).
    seed : int
    run : mapping
        Entries of `RunOptions`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int | None = Field(default=None, ge=1)
    minutes: float | None = Field(default=None, gt=0)
    batch: int | None = Field(default=None, ge=1)
    seed: int | None = None
    run: Mapping[str, Any] = Field(default_factory=dict)

    def among(self, **names: str) -> dict[str, Any]:
        """What was asked for, under the recipe's own names: ``among(epochs="max_epochs")``."""
        asked = {theirs: getattr(self, ours) for ours, theirs in names.items()}
        return {name: value for name, value in asked.items() if value is not None}

    def applied_to(self, run: RunOptions) -> RunOptions:
        """The options of a recipe with those that were asked for.

        Raises
        ------
        ClipmedError
            For a value that makes no sense; the sentence names the option.
        """
        try:
            return RunOptions.model_validate(run.model_dump() | dict(self.run))
        except ValidationError as error:
            first = error.errors()[0]
            raise ClipmedError(f"--{first['loc'][0]} does not fit: {first['msg']}.") from error


def with_moved_entries(content: Any, moved: Mapping[str, str]) -> Any:
    """Recipes from before there was a section ``run``: top entries that are now in it, under a new name."""
    if not isinstance(content, Mapping) or not any(old in content for old in moved):
        return content
    content = dict(content)
    run = dict(content.get("run") or {})
    for old, new in moved.items():
        if old in content:
            run.setdefault(new, content.pop(old))
    return content | {"run": run}
