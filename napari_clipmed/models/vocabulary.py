"""Tokens for the text tower: CLIP's own, or a handful of words for a small tower trained from scratch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import open_clip
import torch
from torch import Tensor

UNKNOWN, START, END, PAD = "<unknown>", "<start>", "<end>", "<pad>"


class Vocabulary:
    """Sentences in, tokens [n, context_length] out.

    Parameters
    ----------
    words : sequence of str or None
        The known words. Every other one shares the token of the unknown word, which training has seen too,
        so that free text does no harm. None: CLIP's byte pair encoding, with all of its 49 408 tokens.
    context_length : int
        Longer sentences are cut, keeping their end token.

    Notes
    -----
    The end token has the highest number, since CLIP reads the sentence there (``argmax``).
    """

    def __init__(self, words: Sequence[str] | None, context_length: int) -> None:
        self.context_length = context_length
        self._clip = open_clip.SimpleTokenizer(context_length=context_length) if words is None else None
        ordered = [PAD, START, UNKNOWN, *(words or ()), END]
        self._ids = {word: index for index, word in enumerate(ordered)}
        self._encode = lru_cache(maxsize=4096)(self._tokens)

    def __len__(self) -> int:
        """Size of the token embedding."""
        return self._clip.vocab_size if self._clip is not None else len(self._ids)

    def __call__(self, sentences: Sequence[str]) -> Tensor:
        """Tokens [n, context_length], int64."""
        if self._clip is not None:
            return self._clip(list(sentences))
        return torch.tensor([self._encode(sentence) for sentence in sentences], dtype=torch.int64)

    def _tokens(self, sentence: str) -> list[int]:
        words = "".join(c if c.isalnum() else f" {c} " for c in sentence.lower()).split()
        body = [self._ids.get(word, self._ids[UNKNOWN]) for word in words][: self.context_length - 2]
        tokens = [self._ids[START], *body, self._ids[END]]
        return tokens + [self._ids[PAD]] * (self.context_length - len(tokens))
