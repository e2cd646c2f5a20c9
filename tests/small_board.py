"""Recorded runs of the papers' tables, at their smallest: probabilities drawn at random, no training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from mer_kit.training import board, comparison
from mer_kit.training.experiments import Experiment, _said
from mer_kit.training.runs import Outcome, record, run_once
from mer_kit.training.studies import Study

CLASSES = ["angry", "happy", "sad", "neutral"]
SIZE = 48  # utterances of a run
USUAL = {"duet": "duet-4/session-out", "nemo": "nemo-4/speaker-out-5", "iemocap": "iemocap-4/session-out"}


def keep(experiment: Experiment, results, strength: float, seconds: float = 36.0) -> None:
    """Record a run, right the more often the greater its strength: dialogues of four, or of one on nEMO."""
    draw = np.random.default_rng([experiment.fold, int(1000 * strength), len(experiment.model)])
    logits = draw.normal(size=(SIZE, 4)) + strength * np.eye(4)[np.arange(SIZE) % 4]
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    alone = experiment.corpus == "nemo"
    said = pd.DataFrame({"id": [f"{experiment.fold}u{i}" for i in range(SIZE)],
                         "truth": [CLASSES[i % 4] for i in range(SIZE)],
                         "predicted": np.array(CLASSES)[p.argmax(axis=1)],
                         "dialogue": [f"{experiment.fold}d{i if alone else i // 4}" for i in range(SIZE)],
                         "speaker": [f"s{i % 3}" for i in range(SIZE)],
                         **{f"p_{c}": p[:, k] for k, c in enumerate(CLASSES)}})
    config = _said(experiment) | {"corpus_hash": "0", "protocol": USUAL[experiment.corpus]}
    history = pd.DataFrame({"seconds": [seconds]})
    record(run_once(results / "ledger", config, lambda _: Outcome(said, history)), results / "kept")


def keep_rows(study: Study, names: list[str], results, corpus: str = "duet", folds=(0, 1)) -> None:
    for fold in folds:
        for k, name in enumerate(names):
            keep(replace(study.rows[name], corpus=corpus, fold=fold), results, 0.5 + 0.5 * k)


TABLE_3 = board.STUDIES["le-mer/table-3"]
ABLATED = board.STUDIES["jfm/table-2"]


def keep_some(folder):
    """Record LE-MER's C1 and C4, JFM with and without ICL, and LSGMER on two folds of duet; return where."""
    keep_rows(TABLE_3, ["C4 only A_r", "C1 attention constraint"], folder)
    keep_rows(ABLATED, ["w/o ICL", "JFM"], folder)
    keep_rows(comparison.SYSTEMS, ["LSGMER"], folder)
    return folder / "kept"
