"""Finished models asked under damage: noise, muted sound, lost words; what they say, and how their gates answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from zlib import crc32

import numpy as np
import pandas as pd

from mer_kit.corpora import corrupt
from mer_kit.errors import BadInput
from mer_kit.evaluation.statistics import cluster_interval
from mer_kit.training.restore import Trained

SNRS = (20, 10, 0)  # dB
LOST = (0.25, 0.5)  # shares of the words


def damage(snr_db: float | None = None, muted: bool = False, words_lost: float = 0.0,
           seed: int = 0) -> dict[str, Callable]:
    """What is done to `words` and `sound` (see `Trained.outputs`): noise at `snr_db` or silence, a share of words lost.

    The same utterance is damaged the same, as by `damages`; what is left as it is stands under no name.
    """
    sound = {"sound": _muted} if muted else {}
    if snr_db is not None and not muted:
        sound = {"sound": partial(_noisy, snr_db=snr_db, seed=seed)}
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


def _noisy(utterance: str, samples: np.ndarray, snr_db: float, seed: int) -> np.ndarray:
    """Samples (n,) with noise; silence has no power to measure it by and stays silent."""
    return corrupt.add_noise(samples, snr_db, _own(utterance, seed)) if samples.any() else samples


def _muted(utterance: str, samples: np.ndarray) -> np.ndarray:
    return corrupt.mute(samples)


def _shortened(utterance: str, text: str, rate: float, seed: int) -> str:
    return corrupt.drop_words(text, rate, _own(utterance, seed))


def _own(utterance: str, seed: int) -> tuple[int, int]:
    """An utterance's own seed, the same in every process."""
    return seed, crc32(utterance.encode())
