"""Lines and rows of text files, each with its place, for the loaders of corpora."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from mer_kit.corpora.intake import Intake
from mer_kit.errors import BadInput


def read_lines(path: Path, intake: Intake, fallback: str | None = None) -> Iterator[tuple[str, str]]:
    """("path:line", text) of each line that is not blank; a BOM and CRLF are fine.

    A line that is not UTF-8 is read in the encoding `fallback`, noted once; one that fits neither is rejected.
    """
    for number, line in enumerate(path.read_bytes().removeprefix(b"\xef\xbb\xbf").splitlines(), 1):
        where = f"{path}:{number}"
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError:
            try:
                text = line.decode(fallback or "ascii")
            except UnicodeDecodeError:
                tried = f"UTF-8 or {fallback}" if fallback else "UTF-8"
                intake.reject(where, line, f"expected {tried}; save the file as UTF-8")
                continue
            intake.note(f"{path.name}: lines that are not UTF-8 were read as {fallback}")
        if text.strip():
            yield where, text


def read_rows(path: Path, columns: tuple[str, ...], intake: Intake, separator: str = ",",
              fallback: str | None = None) -> Iterator[tuple[str, dict[str, str]]]:
    """("path:line", row by column name) of a CSV, or of a TSV (separator "\\t", where quotes mean nothing).

    One record stands on one line, so damage does not spread. A header without one of `columns`, or with one twice,
    raises BadInput; a row of another length, or with its quotes wrong, is rejected.
    """
    lines = read_lines(path, intake, fallback)
    first, line = next(lines, (f"{path}:1", ""))
    header = _cells(line, separator) or []
    if absent := [c for c in columns if c not in header]:
        raise BadInput(f"{first}: got {len(header)} columns ({', '.join(header)}), which lack {', '.join(absent)}; "
                       f"expected {', '.join(columns)}, separated by {separator!r}")
    if twice := [c for c in columns if header.count(c) > 1]:
        raise BadInput(f"{first}: column {twice[0]!r} stands there twice; got {', '.join(header)}; rename one")
    for where, line in lines:
        cells = _cells(line, separator)
        if cells is None or len(cells) != len(header):
            got = "wrong quotes" if cells is None else f"{len(cells)}"
            intake.reject(where, line, f"expected {len(header)} columns separated by {separator!r}, not {got}")
        else:
            yield where, dict(zip(header, cells, strict=True))


def _cells(line: str, separator: str) -> list[str] | None:
    if separator == "\t":
        return line.split("\t")
    try:
        return next(csv.reader([line], delimiter=separator, strict=True), [])
    except csv.Error:
        return None
