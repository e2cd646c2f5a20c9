"""Finished models asked under damage: noise, muted sound, lost words; what they say, and how their gates answer.

`sweep` asks them along one kind of damage, from none to the worst, and `by_level` sums up what came of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from zlib import crc32

import numpy as np
import pandas as pd

from mer_kit.corpora import corrupt
from mer_kit.errors import BadInput, unknown
from mer_kit.evaluation.statistics import cluster_interval
from mer_kit.training.restore import Trained

SNRS = (20, 10, 0)  # dB
LOST = (0.25, 0.5)  # shares of the words
MISSING = ("sound", "words", "both")
CLEAN = MappingProxyType({  # kind of damage -> its level that is none; of "history", all turns that are read
    "noise": math.inf, "words lost": 0.0, "words replaced": 0.0, "missing": "nothing"})


def damage(snr_db: float | None = None, muted: bool = False, words_lost: float = 0.0,
           seed: int = 0) -> dict[str, Callable]:
    """What is done to `words` and `sound` (see `Trained.outputs`): noise at `snr_db` or silence, a share of words lost.

    The same utterance is damaged the same, as by `damages`; what is left as it is stands under no name.
    """
    sound = {"sound": _muted} if muted else {}
    if snr_db is not None and not muted:
        sound = {"sound": _Noise(snr_db, seed)}
    return sound | ({"words": partial(_shortened, rate=words_lost, seed=seed)} if words_lost else {})


def damages(seed: int = 0) -> dict[str, dict[str, Callable]]:
    """Name -> what is done to `words` and `sound` (see `Trained.outputs`), from none to all of each modality.

    White noise lies at SNRS decibels below each clip's own power. An utterance has its own noise and loses its own
    words, by `seed` and its id, whatever else is asked; words that are lost at one rate are lost at a higher one.
    """
    noise = {f"noise at {snr} dB": damage(snr, seed=seed) for snr in SNRS}
    fewer = {f"{rate:.0%} of words lost": damage(words_lost=rate, seed=seed) for rate in LOST}
    return {"as it is": damage(), **noise, "sound muted": damage(muted=True), **fewer,
            "all words lost": damage(words_lost=1.0, seed=seed)}


def under(models: Mapping[str, Trained], damages: Mapping[str, Mapping[str, Callable]]) -> pd.DataFrame:
    """What each model says of the test part of its fold under each damage.

    Columns system, damage, fold, dialogue, and those of `Trained.predict`; gates of a model without one are NaN. Tables
    of several folds may be put under one another.
    """
    return pd.concat([
        trained.predict(trained.fold.test, **damage).join(trained.stage.rows["dialogue"], on="id").assign(
            system=system, damage=name, fold=trained.fold.name)
        for system, trained in models.items() for name, damage in damages.items()], ignore_index=True)


def sweep(models: Mapping[str, Trained], kind: str, levels: Iterable[float | str], as_it_is: pd.DataFrame,
          seed: int = 0) -> pd.DataFrame:
    """What each model says of its test part at each level of one kind of damage, the same for all of them.

    kind: "noise" (SNR in dB), "words lost" or "words replaced" (word error rate, 0 to 1; by words of the training
    part), "missing" (of MISSING), "history" (turns before). as_it_is: of `under(models, {"as it is": {}})`, which is
    the first level, so that it is computed once for all kinds. A model that reads fewer turns of history than a level
    says the same as it is. Columns those of `under`, and level.
    """
    if kind not in (*CLEAN, "history"):
        raise unknown("kind of damage", kind, (*CLEAN, "history"))
    clean = CLEAN.get(kind, max(trained.stage.encoders.history_turns for trained in models.values()))
    parts = [as_it_is.assign(level=clean)]
    for level in levels:
        for system, trained in models.items() if level != clean else ():
            given = _at_level(kind, level, trained, seed)
            said = under({system: trained}, {kind: given}) if given else as_it_is[as_it_is["system"] == system]
            parts.append(said.assign(level=level))
    return pd.concat(parts, ignore_index=True).assign(damage=kind)


def by_level(answers: pd.DataFrame, reference: float | str | None = None) -> pd.DataFrame:
    """WA of each system at each level, and how far it is from that at the reference level, the first if not said.

    answers: columns system, level, id, dialogue, truth, predicted, and fold, seed where there are several. Fractions.
    Columns system, level, mean, low, high; change, change_low, change_high, over the same utterances. Intervals of 95 %
    over resampled dialogues (where each is one utterance, over utterances, which are taken as independent then).
    """
    key = [c for c in ("fold", "seed", "id") if c in answers]
    answers, rows = answers.assign(right=(answers["truth"] == answers["predicted"]).astype(float)), []
    for system, of in answers.groupby("system", sort=False):
        known = of[of["level"] == (of["level"].iloc[0] if reference is None else reference)][[*key, "right"]]
        for level, at in of.groupby("level", sort=False):
            both = at.merge(known, on=key, suffixes=("", "_known"), validate="one_to_one")
            change = cluster_interval(both["right"] - both["right_known"], both["dialogue"])
            rows.append({"system": system, "level": level, **cluster_interval(at["right"], at["dialogue"])._asdict(),
                         **dict(zip(("change", "change_low", "change_high"), change, strict=True))})
    return pd.DataFrame(rows)


def gates_under(answers: pd.DataFrame) -> pd.DataFrame:
    """The audio's weight in the gate, by system and damage in the order of `answers`, a table of `under`.

    Columns system, damage, mean, low, high (a 95 % interval over dialogues), WA.
    """
    without = answers.reindex(columns=["gate_audio"])["gate_audio"].isna()
    if without.any():
        names = ", ".join(answers["system"][without].unique())
        raise BadInput(f"got no gate of {names}; expected models with a gate alone, such as lsgmer")
    return pd.DataFrame([
        {"system": system, "damage": damage, **cluster_interval(of["gate_audio"], of["dialogue"])._asdict(),
         "WA": (of["truth"] == of["predicted"]).mean()}
        for (system, damage), of in answers.groupby(["system", "damage"], sort=False)])


def _at_level(kind: str, level: float | str, trained: Trained, seed: int) -> dict:
    """Damage of a kind as `Trained.predict` takes it; empty where the model reads the same."""
    match kind:
        case "noise":
            return damage(level, seed=seed)
        case "words lost":
            return damage(words_lost=level, seed=seed)
        case "words replaced":
            texts = trained.stage.rows.loc[list(trained.fold.train), "text"].fillna("")
            known = sorted(set(" ".join(texts).split()))
            return {"words": partial(_replaced, rate=level, vocabulary=known, seed=seed)}
        case "missing":
            if level not in MISSING:
                raise unknown("missing modality", level, (CLEAN[kind], *MISSING))
            return damage(muted=level in ("sound", "both"), words_lost=float(level in ("words", "both")), seed=seed)
    return {"history_turns": int(level)} if level < trained.stage.encoders.history_turns else {}


@dataclass(frozen=True)
class _Noise:
    """Samples (n,) with noise; silence has no power to measure it by and stays silent. Alike are equal."""

    snr_db: float
    seed: int

    def __call__(self, utterance: str, samples: np.ndarray) -> np.ndarray:
        return corrupt.add_noise(samples, self.snr_db, _own(utterance, self.seed)) if samples.any() else samples


def _muted(utterance: str, samples: np.ndarray) -> np.ndarray:
    return corrupt.mute(samples)


def _shortened(utterance: str, text: str, rate: float, seed: int) -> str:
    return corrupt.drop_words(text, rate, _own(utterance, seed))


def _replaced(utterance: str, text: str, rate: float, vocabulary: list[str], seed: int) -> str:
    return corrupt.substitute_words(text, rate, vocabulary, _own(utterance, seed))


def _own(utterance: str, seed: int) -> tuple[int, int]:
    """An utterance's own seed, the same in every process."""
    return seed, crc32(utterance.encode())
