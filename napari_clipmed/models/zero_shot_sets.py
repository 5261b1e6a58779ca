"""What zero-shot asks: findings, their sentences and descriptors, the templates around them; data, not code.

Shipped sets lie in ``resources/zero_shot``; a copy of the person's own, of the same name, takes their place.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from napari_clipmed.errors import ClipmedError
from napari_clipmed.shipped import resource
from napari_clipmed.whole_files import whole_file

Sentence = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=400)]

MOST_BYTES = 256_000
"""Of a file that is read."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")


class Finding(BaseModel):
    """One class or finding.

    Parameters
    ----------
    key, title : str
        Short name in answers, and name for people.
    sentences : tuple of str
        One or more ways to say it; their embeddings are averaged.
    descriptors : tuple of str
        What can be seen where it is present (Xplainer).
    normal : bool
        The absence of disease: it is compared with the others, but not asked for with and without.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str = Field(min_length=1, max_length=40)
    title: str = Field(min_length=1, max_length=80)
    sentences: tuple[Sentence, ...] = Field(min_length=1, max_length=40)
    descriptors: tuple[Sentence, ...] = Field(default=(), max_length=40)
    normal: bool = False


class ZeroShotSet(BaseModel):
    """A set of questions to a backbone that was never trained on them.

    Parameters
    ----------
    name, title, kind : str
        Identifier, name for people, and the kind of study it is for (`study.Kind`).
    templates : tuple of str
        Each sentence is put into each of them at ``{}`` (prompt ensemble).
    positive, negative : str
        The same sentences with and without the finding (CheXzero).
    present, absent : str
        With ``{descriptor}`` and ``{finding}`` (Xplainer).
    neutral : str
        What is true of every such picture; heat maps are compared with it.
    findings : tuple of Finding
        At least two, with different keys.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    title: str = Field(min_length=1, max_length=80)
    kind: str = "angiogram"
    templates: tuple[Sentence, ...] = Field(default=("{}",), min_length=1, max_length=20)
    positive: Sentence = "{}."
    negative: Sentence = "no {}."
    present: Sentence = "There is {descriptor} indicating {finding}."
    absent: Sentence = "There is no {descriptor} indicating {finding}."
    neutral: Sentence = "a medical picture."
    findings: tuple[Finding, ...] = Field(min_length=2, max_length=40)

    @model_validator(mode="after")
    def _makes_sense(self) -> ZeroShotSet:
        if not _NAME.fullmatch(self.name):
            raise ValueError("the name may hold letters, digits, dashes and underscores only")
        if len(set(self.keys)) != len(self.findings):
            raise ValueError("two findings have the same key")
        for template in (*self.templates, self.positive, self.negative):
            if "{}" not in template:
                raise ValueError(f"the template {template!r} has no {{}} for the finding")
        for template in (self.present, self.absent):
            if "{descriptor}" not in template:
                raise ValueError(f"{template!r} has no {{descriptor}}")
        return self

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys of the findings, in order."""
        return tuple(finding.key for finding in self.findings)

    def class_sentences(self, finding: Finding) -> list[str]:
        """Every sentence of a finding in every template."""
        return [_filled(template, text) for template in self.templates for text in finding.sentences]

    def pair(self, finding: Finding) -> tuple[list[str], list[str]]:
        """Sentences with and without a finding."""
        filled = [[_filled(t, text) for text in finding.sentences] for t in (self.positive, self.negative)]
        return filled[0], filled[1]

    def descriptor_pair(self, finding: Finding, descriptor: str) -> tuple[str, str]:
        """A descriptor said to be there, and said not to be there."""
        said = [
            template.replace("{descriptor}", descriptor).replace("{finding}", finding.title.lower())
            for template in (self.present, self.absent)
        ]
        return said[0], said[1]

    def every_sentence(self) -> list[str]:
        """All sentences that an answer needs, each once."""
        wanted = [self.neutral]
        for finding in self.findings:
            wanted += self.class_sentences(finding)
            for part in self.pair(finding):
                wanted += part
            for descriptor in finding.descriptors:
                wanted += self.descriptor_pair(finding, descriptor)
        return list(dict.fromkeys(wanted))

    def to_yaml(self) -> str:
        """As a file holds it."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=110)


def _filled(template: str, text: str) -> str:
    """The text at the place of ``{}``, with one full stop at most."""
    stop = template.endswith("{}.")
    return template.replace("{}", text.rstrip(".") if stop else text)


def parse_set(content: Any) -> ZeroShotSet:
    """From plain data; a label set of a trained model ("labels" with sentences) will do.

    Raises
    ------
    ClipmedError
        Naming the first field that is wrong.
    """
    if isinstance(content, dict) and "labels" in content and "findings" not in content:
        content = {("findings" if key == "labels" else key): value for key, value in content.items()}
    try:
        return ZeroShotSet.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        why = first["msg"].removeprefix("Value error, ")
        raise ClipmedError(f"This is no set of questions: {where + ': ' if where else ''}{why}.") from error


def parse_text(text: str) -> ZeroShotSet:
    """From the text of a YAML file; errors as `parse_set`."""
    if len(text) > MOST_BYTES:
        raise ClipmedError("This set of questions is too long.", f"At most {MOST_BYTES} characters are read.")
    try:
        return parse_set(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise ClipmedError(f"This is no valid YAML: {' '.join(str(error).split())[:200]}.") from error


def own_folder() -> Path:
    """Where the person's own sets lie."""
    from napari_clipmed.models.registry import user_folder

    return user_folder() / "zero_shot"


def file_of(name: str) -> Path:
    """The file of a set: the person's own before the shipped one; or a path.

    Raises
    ------
    ClipmedError
        When there is none.
    """
    if name.endswith((".yaml", ".yml")):
        return Path(name)
    own = own_folder() / f"{name}.yaml"
    if _NAME.fullmatch(name):
        if own.is_file():
            return own
        try:
            return resource("zero_shot", f"{name}.yaml")
        except FileNotFoundError:
            pass
    raise ClipmedError(f"There is no set {name!r}.", f"Known: {', '.join(set_names())}; or give a YAML file.")


def read_set(name: str) -> ZeroShotSet:
    """A set by name, or from a YAML file by its path.

    Raises
    ------
    ClipmedError
    """
    path = file_of(name)
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ClipmedError(f"{path} is too long for a set of questions.")
        return parse_text(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ClipmedError(f"The set {path} cannot be read.", "Check the path.") from error


def set_names() -> Sequence[str]:
    """Names of all sets: shipped ones first, then the person's own."""
    names = [
        path.stem
        for folder in (resource("zero_shot"), own_folder())
        for path in sorted(folder.glob("*.yaml"))
    ]
    return list(dict.fromkeys(names))


def suits(kind: str) -> str:
    """Name of the set that is for a kind of study (`study.Kind`); the first one where none is."""
    names = set_names()
    return next((name for name in names if read_set(name).kind == kind), names[0])


def is_changed(name: str) -> bool:
    """Whether the person's own copy stands in for a shipped set, or it is their own altogether."""
    return (own_folder() / f"{name}.yaml").is_file()


def save_own(questions: ZeroShotSet) -> Path:
    """Keep a set as the person's own; the shipped file stays as it is.

    Raises
    ------
    ClipmedError
        When the disk refuses.
    """
    path = own_folder() / f"{questions.name}.yaml"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path, replace=True) as fresh:
            fresh.write_text(questions.to_yaml(), encoding="utf-8")
    except OSError as error:
        raise ClipmedError(
            f"The set could not be saved to {path} ({error.strerror}).", "Free some space."
        ) from error
    return path


def put_aside_own(name: str) -> Path | None:
    """Go back to the shipped set: the person's copy is renamed, not removed. Returns where it went."""
    path = own_folder() / f"{name}.yaml"
    if not path.is_file():
        return None
    number = 1
    while (aside := path.with_suffix(f".old{number}")).exists():
        number += 1
    return path.rename(aside)
