"""How a small CLIP of our own is trained: the content of a file in ``resources/configs``."""

from __future__ import annotations

from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from napari_clipmed.errors import ClipmedError
from napari_clipmed.shipped import resource
from napari_clipmed.training.clip_dsa_recipe import Augmentation
from napari_clipmed.training.run_options import Overrides, RunOptions
from napari_clipmed.training.segmentation_config import learning_rate_factor


class ClipRecipe(BaseModel):
    """Everything that decides a training run but the data.

    Parameters
    ----------
    backbone : str
        See `models.backbones`; its image tower must be CLIP's ResNet.
    frames : int
        Frames of a view that are read together.
    batch : int
        Pictures and sentences that are compared in a step.
    soft : float
        Share of the targets that goes by how alike sentences and labels are (`clip_pretrain.soft_targets`).
    tau : float
        Temperature of that share.
    local : float
        Weight of the loss that compares sentences with places; 0 leaves it out.
    place_sharpness : float
        How near the pooling of places is to their maximum.
    sides : float
        Weight of the loss that holds a sentence against that of the other side; 0 leaves it out.
    seeing : float
        Share of the learning rate for an image tower that was taken from a trained model.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    title: str
    backbone: str
    label_set: str = "dsa"
    frames: int = Field(default=2, ge=1)
    batch: int = Field(default=32, ge=2)
    epochs: int = Field(ge=1)
    minutes: float | None = None
    learning_rate: float
    warm_up: float = Field(default=0.05, ge=0.0, lt=1.0)
    weight_decay: float = 0.01
    clip_gradient: float = 1.0
    soft: float = Field(default=0.3, ge=0.0, le=1.0)
    tau: float = Field(default=0.2, gt=0.0)
    local: float = Field(default=0.5, ge=0.0)
    place_sharpness: float = Field(default=10.0, gt=0.0)
    sides: float = Field(default=0.0, ge=0.0)
    seeing: float = Field(default=0.2, ge=0.0, le=1.0)
    augmentation: Augmentation = Augmentation()
    seed: int = 0
    run: RunOptions = RunOptions()

    def overridden(self, by: Overrides) -> ClipRecipe:
        """The recipe with what a person asked for beside it."""
        changes = by.among(epochs="epochs", minutes="minutes", seed="seed", batch="batch")
        return self.model_copy(update=changes | {"run": by.applied_to(self.run)})

    def on_backbone(self, spec: str) -> ClipRecipe:
        """The recipe on another backbone; empty leaves its own."""
        return self.model_copy(update={"backbone": spec}) if spec else self

    def rate(self, progress: float) -> float:
        """The learning rate at a share of the training in [0, 1]."""
        return self.learning_rate * learning_rate_factor(progress, self.warm_up)


def read_clip_recipe(config: Path | str) -> ClipRecipe:
    """Read a recipe from a YAML file, or a shipped one by name (``clip_compact``).

    Raises
    ------
    ClipmedError
        When the file cannot be read or a value makes no sense; the message names it.
    """
    path = Path(config)
    try:
        if not path.suffix and not path.exists():
            path = resource("configs", f"{config}.yaml")
        return ClipRecipe.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "file"
        raise ClipmedError(f"The recipe {path} is wrong at {where}: {first['msg']}.") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ClipmedError(f"The recipe {path} cannot be read: {str(error).splitlines()[0]}.") from error
