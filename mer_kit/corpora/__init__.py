"""Corpora: `load_corpus("duet")`, "nemo", "meld", "iemocap", or a path to a manifest of one's own."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from mer_kit.corpora.corpus import Corpus, Utterance, make_table
from mer_kit.errors import Missing, unknown
from mer_kit.labels import LABEL_SETS

__all__ = ["CORPORA", "Corpus", "Utterance", "data_folder", "load_corpus", "make_table"]

CORPORA = ("duet", "nemo", "meld", "iemocap")
MANIFESTS = (".csv", ".tsv")


def load_corpus(name: str | Path, data_dir: str | Path | None = None, classes: int | None = None,
                on_error: str = "raise", check: str | None = None) -> Corpus:
    """A corpus by name, or a manifest by path.

    name: "duet" (in the package), "nemo", "meld", "iemocap", or a path ending in .csv or .tsv.
    data_dir: the corpus's folder; without it, `$MER_KIT_DATA/<name>`. Not used by duet and manifests.
    classes: size of the label set ("duet-4", "duet-7", ...); each corpus has its usual one.
    on_error: "raise" names the first unusable utterance, "skip" leaves it out, counted and listed in `corpus.skipped`.
    check: "none", "header" (opens every audio file) or "samples" (decodes them); manifests are decoded, others opened.
    """
    options = {"on_error": on_error} | ({"check": check} if check else {})
    if Path(name).suffix.lower() in MANIFESTS:
        from mer_kit.corpora.manifest import load

        return load(Path(name), **options)
    if name not in CORPORA:
        raise unknown("corpus", name, (*CORPORA, "a path to a .csv or .tsv manifest"))
    load: Callable[..., Corpus] = import_module(f"mer_kit.corpora.{name}").load
    folder = {} if name == "duet" else {"folder": data_folder(name, data_dir)}
    corpus = load(**folder, **options)
    if classes is None or classes == len(corpus.label_set):
        return corpus
    valid = {n: s for n, s in LABEL_SETS.items() if n.startswith(f"{name}-")}
    if f"{name}-{classes}" not in valid:
        raise unknown("label set", f"{name}-{classes}", valid)
    return corpus.with_label_set(valid[f"{name}-{classes}"])


def data_folder(name: str, data_dir: str | Path | None = None) -> Path:
    """Where a real corpus lies: `data_dir`, or `$MER_KIT_DATA/<name>`."""
    root = os.environ.get("MER_KIT_DATA")
    folder = Path(data_dir) if data_dir else Path(root, name) if root else None
    if folder is None:
        raise Missing(f"the corpus {name!r} is not part of mer_kit; say where it lies with data_dir=…, "
                      f"or put it under $MER_KIT_DATA/{name}. Without downloads, use 'duet'")
    if not folder.is_dir():
        raise Missing(f"the corpus {name!r} was looked for in {folder}, which is no folder")
    return folder
