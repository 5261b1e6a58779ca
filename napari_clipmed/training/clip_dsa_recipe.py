"""How a CLIP-DSA model is trained: the content of a file in ``resources/configs``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from napari_clipmed.errors import ClipmedError
from napari_clipmed.models.clip_dsa_loss import PairTargets, Targets
from napari_clipmed.shipped import resource
from napari_clipmed.training.run_options import Overrides, RunOptions, with_moved_entries


class _Plain(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Augmentation(_Plain):
    """Random changes of a view, the same for all its frames; zeros change nothing.

    Parameters
    ----------
    flip_horizontal, flip_vertical : float
        Probabilities.
    rotation_degrees, shift, zoom : float
        Largest angle, largest shift as a share of the side, largest relative change of size.
    gain, offset, gamma : float
        Largest relative change of the contrast about the background, shift of the grey, and log-exponent.
        Vessels stay dark on bright ground.
    noise : float
        Largest standard deviation of white noise.
    """

    flip_horizontal: float = 0.0
    flip_vertical: float = 0.0
    rotation_degrees: float = 0.0
    shift: float = 0.0
    zoom: float = 0.0
    gain: float = 0.0
    offset: float = 0.0
    gamma: float = 0.0
    noise: float = 0.0


class Stage(_Plain):
    """One part of the training.

    Parameters
    ----------
    until : float
        The stage ends at this share of the training.
    frames : int
        Frames of a view: drawn one from each of so many equal parts of the run, or, with `random_frames`
        off, spaced evenly as at inference.
    batch : int
        Studies a step.
    crop : int
        0: whole frames. Else the side, in pixels, of windows cut around lesions and elsewhere; such a stage
        trains the convolutions by location alone.
    location : float
        Weight of the location loss (`training.location`).
    frame_labels : float
        Weight of the loss that tells frames in which a lesion is visible from the others.
    easy_first : float
        0: all studies equally often; 1: the clearest of a class three times as often as the least clear.
    """

    until: float = Field(default=1.0, gt=0.0, le=1.0)
    frames: int = Field(default=16, ge=1)
    batch: int = Field(default=16, ge=1)
    random_frames: bool = True
    crop: int = Field(default=0, ge=0)
    location: float = Field(default=0.0, ge=0.0)
    frame_labels: float = Field(default=0.0, ge=0.0)
    easy_first: float = Field(default=0.0, ge=0.0, le=1.0)


class ClipDSARecipe(_Plain):
    """Everything that decides a training run but the data.

    Parameters
    ----------
    backbone : str
        See `models.backbones`.
    targets, mc_targets, mc_weight
        See `models.clip_dsa_loss`.
    epochs : int
        Passes over the training studies (or over `studies_per_epoch` of them).
    minutes : float or None
        Ends the training earlier; learning rate and stages then follow the clock.
    learning_rate, learning_rate_end, power, warm_up
        Polynomial decay, after a linear rise over the first share `warm_up` of the training.
    ema : float
        Decay of the moving average of the weights that is validated and exported; 0 takes the last weights.
    freeze_batch_norm : bool
        Keep the statistics of batch normalisation as they were pre-trained.
    run : RunOptions
        Precision, processes and the like.
    """

    id: str
    title: str
    backbone: str
    label_set: str = "dsa"
    share_tpm: bool = True
    targets: Targets = "paper"
    mc_targets: PairTargets = "instance"
    mc_weight: float = 1.0
    n_frames: int = Field(default=16, ge=1)
    epochs: int = Field(ge=1)
    studies_per_epoch: int | None = None
    minutes: float | None = None
    validate_every: int = Field(default=1, ge=1)
    learning_rate: float
    learning_rate_end: float
    power: float = 0.9
    warm_up: float = 0.0
    weight_decay: float
    clip_gradient: float = 0.0
    ema: float = Field(default=0.0, ge=0.0, lt=1.0)
    freeze_batch_norm: bool = False
    seed: int = 0
    fit: Literal["longest", "squash"] = "longest"
    augmentation: Augmentation = Augmentation()
    stages: tuple[Stage, ...] = (Stage(),)
    run: RunOptions = RunOptions()

    @model_validator(mode="before")
    @classmethod
    def _older_words(cls, content: Any) -> Any:
        if isinstance(content, Mapping) and isinstance(content.get("bf16"), bool):
            content = {**content, "bf16": "bf16" if content["bf16"] else "fp32"}
        return with_moved_entries(content, {"bf16": "precision"})

    @model_validator(mode="after")
    def _stages_cover_the_training(self) -> ClipDSARecipe:
        ends = [stage.until for stage in self.stages]
        if not ends or ends != sorted(ends) or ends[-1] != 1.0:
            raise ValueError("the stages must end in ascending order, the last one at 1.0")
        return self

    def overridden(self, by: Overrides) -> ClipDSARecipe:
        """The recipe with what a person asked for beside it."""
        changes = by.among(epochs="epochs", minutes="minutes", seed="seed") | {"run": by.applied_to(self.run)}
        if by.batch is not None:
            changes["stages"] = tuple(s.model_copy(update={"batch": by.batch}) for s in self.stages)
        return self.model_copy(update=changes)

    def on_backbone(self, spec: str) -> ClipDSARecipe:
        """The recipe on another backbone; empty leaves its own."""
        return self.model_copy(update={"backbone": spec}) if spec else self

    def stage(self, progress: float) -> Stage:
        """The stage at a share of the training in [0, 1]."""
        return next((stage for stage in self.stages if progress < stage.until), self.stages[-1])

    def rate(self, progress: float) -> float:
        """The learning rate at a share of the training in [0, 1]."""
        decay = max(0.0, 1.0 - progress) ** self.power
        rate = self.learning_rate_end + (self.learning_rate - self.learning_rate_end) * decay
        return rate * min(1.0, (progress + 1e-3) / self.warm_up) if self.warm_up else rate


def read_recipe(config: Path | str) -> ClipDSARecipe:
    """Read a recipe from a YAML file, or a shipped one by name (``clip_dsa_compact``).

    Raises
    ------
    ClipmedError
        When the file cannot be read or a value makes no sense; the message names it.
    """
    path = Path(config)
    if not path.suffix and not path.exists():
        try:
            path = resource("configs", f"{config}.yaml")
        except FileNotFoundError as error:
            raise ClipmedError(
                f"There is no training recipe called {config!r}.", "Give a YAML file."
            ) from error
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        return ClipDSARecipe.model_validate(content)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ClipmedError(f"The recipe {path} cannot be read: {str(error).splitlines()[0]}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "file"
        raise ClipmedError(f"The recipe {path} is wrong at {where}: {first['msg']}.") from error
