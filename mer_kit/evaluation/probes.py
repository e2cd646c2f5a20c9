"""Linear probes: what plain statistics of the words and of the voice can do, the floor under every model.

A probe is fitted on a fold's training part and gives class probabilities for its test part.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from joblib import Parallel, delayed
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from mer_kit.corpora.audio import AudioReader
from mer_kit.corpora.audit import seen_in_training
from mer_kit.corpora.corpus import Corpus
from mer_kit.corpora.protocols import Fold, Protocol
from mer_kit.encoders.acoustics import LOWEST_PITCH, VOICED, pitch_and_voicing

FRAME_MS, HOP_MS = 40, 20


def bag_of_words() -> Pipeline:
    """Which words occur -> logistic regression."""
    return make_pipeline(CountVectorizer(binary=True, token_pattern=r"(?u)\b\w+\b"), LogisticRegression(max_iter=1000))


def linear() -> Pipeline:
    """Standardised statistics -> logistic regression."""
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))


def prosody(samples: np.ndarray, sample_rate: int = 16_000) -> dict[str, float]:
    """Pitch, energy and rate statistics of one clip (n,).

    Pitch in semitones above 60 Hz and energy in dB over the loud frames: mean, deviation, 10th and 90th percentile;
    rate as energy peaks a second, the share of voiced frames, and the clip's seconds.
    """
    frame, hop = sample_rate * FRAME_MS // 1000, sample_rate * HOP_MS // 1000
    padded = np.pad(samples, (0, max(0, frame - len(samples))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, frame)[::hop]
    energy = 10 * np.log10((frames**2).mean(axis=1) + 1e-9)
    loud = energy > energy.max() - 30
    pitch, voicing = (t.numpy() for t in pitch_and_voicing(torch.from_numpy(frames[loud]), sample_rate))
    pitch, voiced = 12 * np.log2(pitch / LOWEST_PITCH), voicing > VOICED
    rises = np.diff(energy) > 0
    peaks = (rises[:-1] & ~rises[1:] & loud[1:-1]).sum()
    seconds = len(samples) / sample_rate
    statistics = {"seconds": seconds, "voiced": voiced.mean(), "rate": peaks / seconds}
    for name, track in (("pitch", pitch[voiced] if voiced.any() else np.zeros(1)), ("energy", energy[loud])):
        low, high = np.percentile(track, [10, 90])
        statistics |= {f"{name}_mean": track.mean(), f"{name}_sd": track.std(), f"{name}_p10": low, f"{name}_p90": high}
    return statistics


def prosody_table(corpus: Corpus) -> pd.DataFrame:
    """`prosody` of every labelled utterance, rows by id, columns by statistic."""
    corpus.require("audio")
    reader, scored = AudioReader(), [u for u in corpus if u.label is not None]
    rows = Parallel(n_jobs=-1, prefer="threads")(delayed(lambda u: prosody(reader(u)))(u) for u in scored)
    return pd.DataFrame(rows, index=pd.Index([u.id for u in scored], name="id"))


def probe(model: Pipeline, inputs: pd.Series | pd.DataFrame, labels: pd.Series, fold: Fold) -> pd.DataFrame:
    """Fit on the fold's training part; class probabilities of its test part, (n_test, C), rows by id.

    inputs, labels: by utterance id.
    """
    train, test = list(fold.train), list(fold.test)
    model.fit(inputs.loc[train], labels.loc[train])
    return pd.DataFrame(model.predict_proba(inputs.loc[test]), pd.Index(test, name="id"), model.classes_)


def run_probes(corpus: Corpus, protocol: Protocol, sound: pd.DataFrame | None = None) -> pd.DataFrame:
    """Bag of words, voice statistics and their late fusion over all folds, whichever inputs the corpus has.

    sound: `prosody_table(corpus)`, where it is at hand. Returns columns protocol (its title), inputs ("text", "voice",
    "text + voice"), fold, id, truth, predicted, seen (the text stands in training).
    """
    targets, runs = corpus.targets.set_index("id"), []
    if sound is None and targets["audio"].notna().all():
        sound = prosody_table(corpus)
    for fold in protocol.folds:
        outcomes = {}
        if targets["text"].notna().all():
            outcomes["text"] = probe(bag_of_words(), targets["text"], targets["label"], fold)
        if sound is not None:
            outcomes["voice"] = probe(linear(), sound, targets["label"], fold)
        if len(outcomes) == 2:
            outcomes["text + voice"] = late_fusion(*outcomes.values())
        seen = seen_in_training(corpus, fold)
        runs += [pd.DataFrame({"protocol": protocol.title, "inputs": inputs, "fold": fold.name, "id": p.index,
                               "truth": targets["label"].loc[p.index].to_numpy(),
                               "predicted": p.idxmax(axis=1).to_numpy(), "seen": seen.loc[p.index].to_numpy()})
                 for inputs, p in outcomes.items()]
    return pd.concat(runs, ignore_index=True)


def late_fusion(*probabilities: pd.DataFrame) -> pd.DataFrame:
    """The product of several probes' probabilities, normalised: independent witnesses under equal priors."""
    product = np.prod([p.to_numpy() for p in probabilities], axis=0)
    return pd.DataFrame(product / product.sum(axis=1, keepdims=True), probabilities[0].index, probabilities[0].columns)
