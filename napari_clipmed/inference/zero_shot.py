"""From embeddings of pictures and sentences to answers that nobody was trained for; plain arrays.

Three ways to ask, all uncalibrated: they rank, and must not be read as probabilities.

*classes*      softmax over the findings, each the mean of its sentences in all templates (CLIP, Radford et
               al., ICML 2021).
*findings*     each finding by itself: softmax over its sentences with and without it (CheXzero, Tiu et al.,
               Nature BME 2022). Its code leaves the temperature out, so that everything comes to 0.5.
*descriptors*  each thing that can be seen, said to be there or not, and the finding as their geometric mean
               (Xplainer, Pellegrini et al., MICCAI 2023), whose code divides cosines by 0.5.

All divide by the temperature of the backbone, unless another one is given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_clipmed.inference.certainty import BOTH
from napari_clipmed.models.zero_shot_sets import Finding, ZeroShotSet

Vector = NDArray[np.float32]

UNCALIBRATED = "Uncalibrated: these numbers rank, they are no probabilities. For research only."
"""Said wherever an answer is shown or written."""

PATCH_TEXT = "patch-text"
"""Name of the heat map of a sentence in `Saliency.method`."""

NEARLY_THE_SAME = 0.95
"""Cosine of two findings' sentences above which the backbone can hardly tell them apart."""

MISFIT = "This set asks about a {asked}; the study is a {found}."


@dataclass(frozen=True)
class DescriptorAnswer:
    """One thing that can be seen, and how far the picture is on the side of the sentence that says so."""

    text: str
    share: float


@dataclass(frozen=True)
class FindingAnswer:
    """What was found about one finding.

    Parameters
    ----------
    key, title : str
    cosine : float
        Of the picture and the mean of the sentences.
    share : float
        Of the softmax over all findings.
    by_view : mapping of str to float
        The same for each view.
    with_it : float or None
        Share of "with" against "without"; None for the normal one.
    described : float or None
        Geometric mean of the descriptors' shares; None without any.
    descriptors : tuple of DescriptorAnswer
    """

    key: str
    title: str
    cosine: float
    share: float
    by_view: Mapping[str, float] = field(default_factory=dict)
    with_it: float | None = None
    described: float | None = None
    descriptors: tuple[DescriptorAnswer, ...] = ()

    def conflicting(self) -> tuple[str, ...]:
        """Descriptors that speak the other way than all of them together do."""
        if self.described is None:
            return ()
        return tuple(d.text for d in self.descriptors if (d.share >= 0.5) != (self.described >= 0.5))


@dataclass(frozen=True, eq=False)
class ZeroShotAnswer:
    """Answer of a backbone to a set of questions about one study.

    Parameters
    ----------
    questions : ZeroShotSet
    findings : tuple of FindingAnswer
        In the order of the set.
    backbone, fingerprint : str
        What answered: its name, and the hash of its weights.
    image_hash : str
        About what.
    similarity : (K, K) array
        Cosines of the findings' sentences with each other.
    notes : tuple of str
        What must be read with it.
    """

    questions: ZeroShotSet
    findings: tuple[FindingAnswer, ...]
    backbone: str
    fingerprint: str
    image_hash: str
    similarity: NDArray[np.float32]
    temperature: float
    notes: tuple[str, ...] = ()

    @property
    def ranked(self) -> list[FindingAnswer]:
        """Findings, the nearest first."""
        return sorted(self.findings, key=lambda finding: -finding.share)

    def to_plain(self) -> dict[str, Any]:
        """As plain values, for JSON; it says of itself that it is uncalibrated."""
        return {
            "calibrated": False,
            "caution": UNCALIBRATED,
            "backbone": self.backbone,
            "fingerprint": self.fingerprint,
            "label_set": self.questions.name,
            "image_hash": self.image_hash,
            "temperature": self.temperature,
            "nearest": self.ranked[0].key,
            "findings": [
                {
                    "key": one.key,
                    "title": one.title,
                    "cosine": one.cosine,
                    "share": one.share,
                    "share_by_view": dict(one.by_view),
                    "with_against_without": one.with_it,
                    "described": one.described,
                    "descriptors": [vars(descriptor) for descriptor in one.descriptors],
                    "conflicting": list(one.conflicting()),
                }
                for one in self.findings
            ],
            "similarity": {
                row: dict(zip(self.questions.keys, map(float, values), strict=True))
                for row, values in zip(self.questions.keys, self.similarity, strict=True)
            },
            "nearly_the_same": [list(pair) for pair in alike(self.similarity, self.questions.keys)],
            "notes": list(self.notes),
        }


def answer(
    questions: ZeroShotSet,
    pictures: Mapping[str, Vector],
    sentences: Mapping[str, Vector],
    temperature: float,
) -> tuple[FindingAnswer, ...]:
    """Ask all three ways.

    Parameters
    ----------
    questions : ZeroShotSet
    pictures : mapping of str to (d,) array
        Unit vector of each view, and of all together under ``both`` where there are several.
    sentences : mapping of str to (d,) array
        Unit vector of every sentence of `ZeroShotSet.every_sentence`.
    temperature : float
        What cosines are divided by.
    """
    whole = pictures[BOTH] if BOTH in pictures else next(iter(pictures.values()))
    bank = prototypes(questions, sentences)
    cosines = bank @ whole
    shares = softmax(cosines / temperature)
    views = {name: softmax(bank @ vector / temperature) for name, vector in pictures.items() if name != BOTH}
    found = []
    for row, finding in enumerate(questions.findings):
        described = descriptors(questions, finding, whole, sentences, temperature)
        found.append(
            FindingAnswer(
                key=finding.key,
                title=finding.title,
                cosine=float(cosines[row]),
                share=float(shares[row]),
                by_view={name: float(share[row]) for name, share in views.items()} if len(views) > 1 else {},
                with_it=None
                if finding.normal
                else with_or_without(questions, finding, whole, sentences, temperature),
                described=geometric_mean([one.share for one in described]) if described else None,
                descriptors=described,
            )
        )
    return tuple(found)


def prototypes(questions: ZeroShotSet, sentences: Mapping[str, Vector]) -> Vector:
    """Unit mean (K, d) of the sentences of each finding in all templates (prompt ensemble)."""
    return np.stack([_mean(questions.class_sentences(one), sentences) for one in questions.findings])


def with_or_without(
    questions: ZeroShotSet,
    finding: Finding,
    picture: Vector,
    sentences: Mapping[str, Vector],
    temperature: float,
) -> float:
    """Share of the sentences with the finding against those without it."""
    there, absent = (_mean(part, sentences) for part in questions.pair(finding))
    return _share(picture, there, absent, temperature)


def descriptors(
    questions: ZeroShotSet,
    finding: Finding,
    picture: Vector,
    sentences: Mapping[str, Vector],
    temperature: float,
) -> tuple[DescriptorAnswer, ...]:
    """Share of "there is" against "there is no" for each descriptor of a finding."""
    answers = []
    for text in finding.descriptors:
        there, absent = questions.descriptor_pair(finding, text)
        answers.append(
            DescriptorAnswer(text, _share(picture, sentences[there], sentences[absent], temperature))
        )
    return tuple(answers)


def geometric_mean(shares: Sequence[float]) -> float:
    """The exponential of the mean logarithm (Xplainer)."""
    return float(np.exp(np.mean(np.log(np.maximum(shares, 1e-12)))))


def alike(similarity: NDArray[np.float32], keys: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of findings whose sentences are nearly the same to the backbone."""
    rows, columns = np.nonzero(np.triu(similarity > NEARLY_THE_SAME, k=1))
    return [(keys[int(row)], keys[int(column)]) for row, column in zip(rows, columns, strict=True)]


def warn_alike(similarity: NDArray[np.float32], keys: Sequence[str]) -> str:
    """A sentence about `alike`; empty where all can be told apart."""
    pairs = alike(similarity, keys)
    if not pairs:
        return ""
    named = ", ".join(" and ".join(pair) for pair in pairs[:3])
    more = f" and {len(pairs) - 3} more pairs" if len(pairs) > 3 else ""
    return (
        f"The sentences of {named}{more} are nearly the same to this backbone (cosine above "
        f"{NEARLY_THE_SAME:g}). It can hardly tell them apart: word them differently, or choose a backbone "
        "that knows these words."
    )


def softmax(values: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Shares that add up to one."""
    powers = np.exp(values.astype(np.float64) - values.max())
    return powers / powers.sum()


def unit(vector: NDArray[np.floating[Any]]) -> Vector:
    """The same direction, of length one."""
    return (vector / max(float(np.linalg.norm(vector)), 1e-12)).astype(np.float32)


def together(views: Mapping[str, Vector]) -> dict[str, Vector]:
    """The views of a study, and their unit mean under ``both`` where there are several."""
    found = {name: unit(vector) for name, vector in views.items()}
    return found | {BOTH: unit(np.mean(list(found.values()), axis=0))} if len(found) > 1 else found


def _mean(texts: Sequence[str], sentences: Mapping[str, Vector]) -> Vector:
    return unit(np.mean([sentences[text] for text in texts], axis=0))


def _share(picture: Vector, there: Vector, absent: Vector, temperature: float) -> float:
    cosines = np.array([there @ picture, absent @ picture])
    return float(softmax(cosines / temperature)[0])
