"""Errors that say what came, what was expected and how to mend it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from typing import TypeVar

T = TypeVar("T")
FULL = tuple(map(os.strerror, (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)))


class MerKitError(Exception):
    """Base of all errors that mer_kit raises on purpose; its text is meant for the user."""


class BadInput(MerKitError, ValueError):
    """A file, a row, a value or a name that cannot be used."""


class Missing(MerKitError):
    """Something that must be there is not: a corpus folder, a program, a modality, a network."""


def unknown(kind: str, got: object, valid: Iterable[object]) -> BadInput:
    """The error for a name that is not one of `valid`: lists them all and names the nearest.

    >>> str(unknown("corpus", "dute", ["duet", "nemo"]))
    "unknown corpus 'dute'; expected one of: duet, nemo; did you mean 'duet'?"
    """
    names = [str(v) for v in valid]
    near = get_close_matches(str(got), names, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return BadInput(f"unknown {kind} {str(got)!r}; expected one of: {', '.join(names)}{hint}")


@contextmanager
def writing(place: object) -> Iterator[None]:
    """Within it, a disk that is full or read-only is told in a sentence, whichever library found out.

    Meant for writers that write aside and rename: what they leave half-written is never read.
    """
    try:
        yield
    except MerKitError:
        raise
    except Exception as error:  # safetensors and pyarrow say it in errors of their own
        if not (why := next((why for why in FULL if why in str(error)), None)):
            raise
        raise Missing(f"{place} cannot be written to ({why}); free some space or choose another folder, and repeat "
                      "the command; nothing half-written is read") from error


def pick(kind: str, name: str, options: Mapping[str, T]) -> T:
    """`options[name]`, or the error of `unknown`."""
    if name not in options:
        raise unknown(kind, name, options)
    return options[name]
