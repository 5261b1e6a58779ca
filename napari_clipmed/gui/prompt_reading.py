"""What a model will read of the sentence in the prompt box, said while it is typed; and the presets."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from napari_clipmed.errors import ClipmedError
from napari_clipmed.gui.theme import say
from napari_clipmed.progress import Progress

if TYPE_CHECKING:
    from napari_clipmed.gui.session import ReviewSession
    from napari_clipmed.gui.widgets.prompt_pane import PromptPane
    from napari_clipmed.models.prompts import Prompt

READ_PROMPT = "read-prompt"
"""Key of its jobs."""

LONG_PROMPT = "This is long; the model reads one sentence, shown below."
LONG_WORDS = 60


class PromptReading:
    """Fills the words of a prompt pane, off the GUI thread.

    Parameters
    ----------
    session : ReviewSession
    pane : PromptPane
    """

    def __init__(self, session: ReviewSession, pane: PromptPane) -> None:
        self._session, self._pane = session, pane

    def read(self, text: str, convention: str) -> None:
        """Say what the model will read, while the person still types."""
        pane = self._pane
        if not text:
            say(pane.reading, "")
            return

        def work(progress: Progress) -> Prompt:
            from napari_clipmed.models.prompts import normalise

            return normalise(text, convention)  # type: ignore[arg-type]

        def tell(prompt: Prompt) -> None:
            lines = [LONG_PROMPT] if len(text.split()) > LONG_WORDS else []
            lines += [f"The model reads: {prompt.sentence}", *prompt.notes]
            say(pane.reading, "\n".join(lines))

        self._session.jobs.start(
            work,
            title="Read the sentence",
            on_done=tell,
            on_error=lambda error: say(pane.reading, str(error)),
            key=READ_PROMPT,
        )

    def load_presets(self, on_error: Callable[[ClipmedError], None]) -> None:
        """Offer the shipped sentences."""

        def load(progress: Progress) -> list[tuple[str, str]]:
            from napari_clipmed.models.prompts import presets

            return [(preset.title, preset.text) for preset in presets()]

        self._session.jobs.start(
            load, title="Read the presets", on_done=self._pane.offer_presets, on_error=on_error
        )
