"""What the command line prints: tables and lines in which nothing from a corpus is taken for markup."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    import pandas as pd

out = Console(highlight=False, quiet=os.environ.get("RANK", "0") != "0")  # of several processes one speaks
err = Console(stderr=True, highlight=False)
ROWS = 20  # of a long list, how many are shown


def plain(value: object) -> Text:
    """A value as it is: brackets are no markup, control characters (terminal sequences) are shown as �, NaN as –.

    >>> plain("[red]no\\x1b[2J[/red]").plain
    '[red]no�[2J[/red]'
    """
    if value is None or value != value:
        return Text("–")
    text = f"{value:.2f}".removesuffix(".00") if isinstance(value, float) else str(value)
    return Text(re.sub(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", "�", text))


def frame_table(frame: pd.DataFrame, title: str, rows: int = ROWS) -> Table:
    """A frame with its index as a table of up to so many rows; numbers stand to the right."""
    more = f"… and {len(frame) - rows} more" if len(frame) > rows else None
    table = Table(title=plain(title), title_justify="left", title_style="bold", caption=more, caption_justify="left",
                  box=box.SIMPLE_HEAD, pad_edge=False)
    for name in frame.index.names:
        table.add_column(plain(name or ""))
    for column in frame.columns:
        table.add_column(plain(column), justify="right" if frame[column].dtype.kind in "iuf" else "left")
    for index, row in zip(frame.index[:rows], frame[:rows].itertuples(index=False), strict=True):
        table.add_row(*map(plain, (*(index if isinstance(index, tuple) else (index,)), *row)))
    return table


def listing(rows: Iterable[str], more: str) -> None:
    """Up to ROWS lines, then how many more there are."""
    rows = list(rows)
    for row in rows[:ROWS]:
        out.print("  ", plain(row), sep="", soft_wrap=True)
    if len(rows) > ROWS:
        out.print(f"  … and {len(rows) - ROWS} more {more}")
