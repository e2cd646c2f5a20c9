"""What explorers are tested on, here and in a browser: small runs on a slice of duet in which one text is markup."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from small_experiments import SMALL, slice_of_duet

from mer_kit.corpora import Corpus
from mer_kit.models.lsgmer import LSGMERConfig
from mer_kit.training.attention import features_of
from mer_kit.training.experiments import run

NASTY = '<img src=x onerror="window.ran=1"> I am happy'  # as many words as what it stands in for
PLANTED = "S1_d01_t01"  # the utterance that says it
SMALL_LSGMER = replace(SMALL, model="lsgmer", lsgmer=LSGMERConfig(dim=16, heads=2))
ASKED = {"LE-MER": SMALL, "LSGMER": SMALL_LSGMER}
HONEST = replace(SMALL, model="text")  # to be set beside itself under flawed protocols


def planted() -> Corpus:
    """The slice, with markup for the words of one utterance."""
    corpus = slice_of_duet()
    text = corpus.table["text"].where(corpus.table["id"] != PLANTED, NASTY)
    return replace(corpus, table=corpus.table.assign(text=text))


def spaces_of(ledger: Path | str) -> dict:
    """What the runs of ASKED in a ledger make of their test part, with their labels, for `embedding_explorer`."""
    from mer_kit.widgets import Space  # here: where no widget is asked for, jupyter may be absent

    runs = {name: run(e, ledger, progress=False, device="cpu") for name, e in ASKED.items()}
    labels = {"LE-MER": lambda w: np.concatenate([w["L_t"], w["L_s"]], axis=1), "LSGMER": lambda w: w["L"].numpy()}
    return {name: Space(features_of(of), of.predictions.set_index("id")["predicted"], labels[name](of.weights))
            for name, of in runs.items()}
