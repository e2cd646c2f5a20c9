"""Damage on purpose: noise at a given SNR, muted sound, lost and replaced words at a given word error rate.

All return new values and leave their input as it is; the same seed gives the same damage. Give each utterance its own
seed, such as `(seed, row)`, or all of them hear the same noise.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from mer_kit.errors import BadInput, pick


def add_noise(samples: np.ndarray, snr_db: float, seed: int | Sequence[int], kind: str = "white") -> np.ndarray:
    """Samples (n,) with noise `snr_db` decibels below their mean power, exactly.

    kind: "white"; "pink" (power falls as 1 / frequency); "babble" (the clip's own long-term spectrum in random phases,
    which masks speech as a crowd does, without words). Silent samples have no SNR: refused.
    """
    if samples.ndim != 1 or len(samples) < 2 or samples.dtype.kind != "f":
        raise BadInput(f"got {samples.dtype} samples {samples.shape}, expected floats (n,), n > 1; mix down first")
    power = np.mean(np.square(samples, dtype=np.float64))
    if not 0 < power < math.inf:
        raise BadInput(f"got samples of mean power {power:g}, expected finite sound; leave silent clips as they are")
    if not math.isfinite(snr_db):
        raise BadInput(f"got an SNR of {snr_db} dB, expected a finite number; use the clean samples, or mute()")
    noise = np.random.default_rng(seed).standard_normal(len(samples))
    shape = pick("noise", kind, {"white": None,
                                 "pink": lambda spectrum: np.maximum(np.arange(len(spectrum)), 1) ** -0.5,
                                 "babble": lambda _: np.abs(np.fft.rfft(samples))})
    if shape:
        spectrum = np.fft.rfft(noise)
        noise = np.fft.irfft(spectrum * shape(spectrum), len(samples))
    noise *= math.sqrt(power / 10 ** (snr_db / 10) / np.mean(noise**2))
    return (samples + noise).astype(samples.dtype)


def mute(samples: np.ndarray) -> np.ndarray:
    """Silence of the same length."""
    return np.zeros_like(samples)


def drop_words(text: str, rate: float, seed: int | Sequence[int]) -> str:
    """The text with each word lost with probability `rate`, which is the word error rate to be expected."""
    words, hit = _hit(text, rate, seed)[:2]
    return " ".join(word for word, lost in zip(words, hit, strict=True) if not lost)


def substitute_words(text: str, rate: float, vocabulary: Iterable[str], seed: int | Sequence[int]) -> str:
    """The text with each word replaced, with probability `rate`, by one of `vocabulary` that the text does not hold.

    So every replacement is one word error, and `rate` is the word error rate to be expected.
    """
    words, hit, rng = _hit(text, rate, seed)
    own = {word.casefold() for word in words}
    others = sorted(word for word in set(vocabulary) if word.casefold() not in own)
    if hit.any() and not others:
        raise BadInput(f"the vocabulary holds no word that is not in the text {text[:60]!r}; expected at least one")
    return " ".join(others[rng.integers(len(others))] if wrong else word
                    for word, wrong in zip(words, hit, strict=True))


def _hit(text: str, rate: float, seed: int | Sequence[int]) -> tuple[list[str], np.ndarray, np.random.Generator]:
    """The words, which of them the error hits, and the generator for what comes next."""
    if not 0 <= rate <= 1:
        raise BadInput(f"got a word error rate of {rate}, expected a number from 0 to 1")
    words, rng = text.split(), np.random.default_rng(seed)
    return words, rng.random(len(words)) < rate, rng
