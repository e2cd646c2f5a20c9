"""Look something up in a table by what stands in its columns; in a report, what was looked up first."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import ipywidgets as w
import pandas as pd

from mer_kit.errors import unknown

ALL = "all"
NOTHING: Mapping[str, str] = MappingProxyType({})


class Lookup(w.VBox):
    """Rows of a table, chosen by a dropdown for each column of `by`; each offers what the ones before it leave.

    >>> Lookup(pd.DataFrame({"paper": ["A", "B"], "WA": [1, 2]}), by=["paper"], chosen={"paper": "B"}).rows["WA"].item()
    2

    chosen: column -> value to begin with; empty: all. Columns that are empty in all rows shown are left out.
    """

    def __init__(self, table: pd.DataFrame, *, by: list[str], chosen: Mapping[str, str] = NOTHING):
        self.table, self.page = table, w.HTML()
        self.by = {column: w.Dropdown(description=column, options=[ALL], tooltip=f"rows of which {column}")
                   for column in by}
        for choice in self.by.values():
            choice.observe(self._show, "value")
        self._show()
        for column, choice in self.by.items():
            if value := chosen.get(column):
                if value not in choice.options:
                    raise unknown(column, value, choice.options)
                choice.value = value
        super().__init__([w.HBox(list(self.by.values())), self.page])

    @property
    def rows(self) -> pd.DataFrame:
        """What is shown."""
        rows = self._left(self.by)
        return rows.loc[:, rows.notna().any() & (rows != "").any()].reset_index(drop=True)

    def _left(self, by: Mapping[str, w.Dropdown]) -> pd.DataFrame:
        rows = self.table
        for column, choice in by.items():
            rows = rows if choice.value == ALL else rows[rows[column] == choice.value]
        return rows

    def _show(self, change: dict | None = None) -> None:
        """Offer what is left, keep what is chosen where it still stands there, and show the rows."""
        before: dict[str, w.Dropdown] = {}
        for column, choice in self.by.items():
            offered = (ALL, *self._left(before)[column].unique())
            if choice.options != offered:
                kept = choice.value if choice.value in offered else ALL
                choice.unobserve(self._show, "value")
                choice.options, choice.value = offered, kept
                choice.observe(self._show, "value")
            before[column] = choice
        self.page.value = self._html()

    def _html(self) -> str:
        return self.rows.to_html(index=False, na_rep="", border=0)

    def _repr_mimebundle_(self, **kwargs) -> dict:
        return super()._repr_mimebundle_(**kwargs) | {"text/html": self._html()}
