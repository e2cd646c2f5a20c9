"""What explorers are tested on, here and in a browser: small runs on a slice of duet in which one text is markup."""

from __future__ import annotations

from dataclasses import replace

from small_experiments import SMALL, slice_of_duet

from mer_kit.corpora import Corpus
from mer_kit.models.lsgmer import LSGMERConfig

NASTY = '<img src=x onerror="window.ran=1"> I am happy'  # as many words as what it stands in for
PLANTED = "S1_d01_t01"  # the utterance that says it
SMALL_LSGMER = replace(SMALL, model="lsgmer", lsgmer=LSGMERConfig(dim=16, heads=2))
ASKED = {"LE-MER": SMALL, "LSGMER": SMALL_LSGMER}


def planted() -> Corpus:
    """The slice, with markup for the words of one utterance."""
    corpus = slice_of_duet()
    text = corpus.table["text"].where(corpus.table["id"] != PLANTED, NASTY)
    return replace(corpus, table=corpus.table.assign(text=text))
