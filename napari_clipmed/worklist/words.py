"""Names that the worklist and its command share; importing them costs nothing."""

from __future__ import annotations

from enum import StrEnum


class Order(StrEnum):
    """Names of the orders, as the command line takes them."""

    ADDED = "added"
    UNCERTAINTY = "uncertainty"
    VIEWS = "views"
    READER = "reader"
    DIVERSITY = "diversity"

    @property
    def words(self) -> str:
        """The order in a person's words."""
        return {
            "added": "As added",
            "uncertainty": "Model unsure first",
            "views": "AP and LA disagree first",
            "reader": "Model and reader disagree first",
            "diversity": "Most various first",
        }[self.value]
