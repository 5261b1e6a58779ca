"""The classes of a diagnosis model and the sentences that its text tower reads; data, not code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from napari_clipmed.errors import ModelError
from napari_clipmed.shipped import resource


class Label(BaseModel):
    """One class.

    Parameters
    ----------
    key : str
        Short name in data and answers ("MMD").
    title : str
        Name for people.
    sentences : tuple of str
        One or more; several are averaged into one prototype and drawn from in training.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str = Field(min_length=1)
    title: str = Field(min_length=1)
    sentences: tuple[str, ...] = Field(min_length=1)


class LabelSet(BaseModel):
    """The classes a model answers with, in order; the first is the normal one.

    Parameters
    ----------
    name, title, kind : str
        Identifier, name for people, and the kind of study it is for (`study.Kind`).
    labels : tuple of Label
        At least two, with different keys.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    title: str
    kind: str = "angiogram"
    labels: tuple[Label, ...] = Field(min_length=2)

    @model_validator(mode="after")
    def _distinct(self) -> LabelSet:
        if len(set(self.keys)) != len(self.labels):
            raise ValueError("two labels have the same key")
        return self

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys of the labels, in order."""
        return tuple(label.key for label in self.labels)

    @property
    def titles(self) -> tuple[str, ...]:
        """Names for people, in order."""
        return tuple(label.title for label in self.labels)

    def index(self, key: str) -> int:
        """Position of a label.

        Raises
        ------
        ModelError
            When the set has no such label.
        """
        if key not in self.keys:
            raise ModelError(
                f"The label set {self.name!r} has no label {key!r}.", f"It has {', '.join(self.keys)}."
            )
        return self.keys.index(key)

    @classmethod
    def from_content(cls, content: Any) -> LabelSet:
        """From plain data: a parsed YAML file, or the ``label_set`` of a model card.

        Raises
        ------
        ModelError
            Naming the first field that is wrong.
        """
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "file"
            raise ModelError(f"This is no label set: {where}: {first['msg']}.") from error

    @classmethod
    def read(cls, path: Path) -> LabelSet:
        """From a YAML file.

        Raises
        ------
        ModelError
            When it cannot be read or is no label set.
        """
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise ModelError(f"The label set {path} cannot be read: {str(error).splitlines()[0]}.") from error
        return cls.from_content(content)

    @classmethod
    def named(cls, name: str) -> LabelSet:
        """A shipped one (``resources/label_sets``) by name, or any other by its path."""
        if name.endswith((".yaml", ".yml")):
            return cls.read(Path(name))
        try:
            return cls.read(resource("label_sets", f"{name}.yaml"))
        except FileNotFoundError as error:
            raise ModelError(
                f"There is no label set called {name!r}.", "Give the path of a YAML file."
            ) from error
