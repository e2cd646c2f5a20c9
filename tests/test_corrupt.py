"""Damage on purpose is exact in size, the same for the same seed, and never done to its input."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mer_kit.corpora.corrupt import add_noise, drop_words, mute, substitute_words
from mer_kit.errors import BadInput

TONE = (0.2 * np.sin(np.arange(16_000) * 2 * np.pi * 440 / 16_000)).astype(np.float32)
KINDS = ("white", "pink", "babble")


def snr(clean: np.ndarray, noisy: np.ndarray) -> float:
    noise = noisy.astype(np.float64) - clean
    return 10 * np.log10(np.mean(clean.astype(np.float64) ** 2) / np.mean(noise**2))


def word_errors(reference: list[str], heard: list[str]) -> int:
    """Levenshtein distance over words, by the textbook table."""
    row = list(range(len(heard) + 1))
    for i, a in enumerate(reference, 1):
        diagonal, row[0] = row[0], i
        for j, b in enumerate(heard, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (a != b))
    return row[-1]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("snr_db", [-10, 0, 5.5, 30])
def test_the_snr_is_exact(kind, snr_db):
    noisy = add_noise(TONE, snr_db, seed=3, kind=kind)
    assert snr(TONE, noisy) == pytest.approx(snr_db, abs=0.01)
    assert noisy.dtype == np.float32 and noisy.shape == TONE.shape


@pytest.mark.parametrize("length", [2, 3, 160, 161])
def test_short_clips_of_even_and_odd_length(length):
    clip = np.linspace(0.1, 0.5, length)
    assert snr(clip, add_noise(clip, 10, seed=0, kind="pink")) == pytest.approx(10, abs=1e-9)


def test_noise_is_made_by_its_seed_and_leaves_the_input():
    before = TONE.copy()
    first = add_noise(TONE, 10, seed=(7, 1))
    np.testing.assert_array_equal(first, add_noise(TONE, 10, seed=(7, 1)))
    assert not np.array_equal(first, add_noise(TONE, 10, seed=(7, 2)))
    np.testing.assert_array_equal(TONE, before)


def test_the_colours_of_noise():
    """White is level, pink loses 3 dB an octave, babble stands where the clip does."""
    loud = np.random.default_rng(0).standard_normal(160_000)

    def octave(kind: str, low: int) -> float:
        spectrum = np.abs(np.fft.rfft(add_noise(loud, 0, seed=1, kind=kind) - loud)) ** 2
        return 10 * np.log10(spectrum[10 * low : 20 * low].mean())  # 0.1 Hz a bin

    assert octave("white", 2_000) - octave("white", 1_000) == pytest.approx(0, abs=0.3)
    assert octave("pink", 2_000) - octave("pink", 1_000) == pytest.approx(-3, abs=0.3)
    babble = np.abs(np.fft.rfft(add_noise(TONE, 0, seed=1, kind="babble").astype(float) - TONE)) ** 2
    assert babble[440] / babble.sum() > 0.99


@pytest.mark.parametrize(("samples", "snr_db", "kind", "words"), [
    (np.zeros(100), 10, "white", "mean power 0, expected finite sound"),
    (np.full(100, np.nan), 10, "white", "mean power nan"),
    (np.ones((2, 100)), 10, "white", r"samples \(2, 100\), expected floats \(n,\)"),
    (np.ones(100, dtype=np.int16), 10, "white", "got int16 samples"),
    (np.ones(0), 10, "white", "n > 1"),
    (TONE, np.nan, "white", "an SNR of nan dB"),
    (TONE, np.inf, "white", "an SNR of inf dB"),
    (TONE, 10, "pnik", "unknown noise 'pnik'; expected one of: white, pink, babble; did you mean 'pink'"),
])
def test_bad_sound_is_refused(samples, snr_db, kind, words):
    with pytest.raises(BadInput, match=words):
        add_noise(samples, snr_db, seed=0, kind=kind)


def test_mute_is_silence_of_the_same_shape():
    silent = mute(TONE)
    assert silent.shape == TONE.shape and silent.dtype == TONE.dtype and not silent.any() and TONE.any()


WORDS = [f"w{i % 50}" for i in range(4_000)]


@pytest.mark.parametrize("rate", [0.1, 0.3])
def test_the_word_error_rate_is_the_rate(rate):
    """Over 4,000 words the share is within four standard errors, and each text's edits are exactly its hits."""
    dropped = drop_words(" ".join(WORDS), rate, seed=1).split()
    replaced = substitute_words(" ".join(WORDS), rate, ["x", "y", "w1"], seed=1).split()
    margin = 4 * (rate * (1 - rate) / len(WORDS)) ** 0.5
    assert 1 - len(dropped) / len(WORDS) == pytest.approx(rate, abs=margin)
    assert sum(a != b for a, b in zip(WORDS, replaced, strict=True)) / len(WORDS) == pytest.approx(rate, abs=margin)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from("abcde"), max_size=25), st.floats(0, 1), st.integers(0, 99))
def test_every_hit_is_one_word_error(words, rate, seed):
    text = " ".join(words)
    dropped = drop_words(text, rate, seed).split()
    assert word_errors(words, dropped) == len(words) - len(dropped)
    replaced = substitute_words(text, rate, ["a", "x", "y"], seed).split()
    hits = sum(a != b for a, b in zip(words, replaced, strict=True))
    assert word_errors(words, replaced) == hits
    assert hits == len(words) - len(dropped)  # the same seed hits the same words
    assert substitute_words(text, rate, {"y", "x"}, seed) == substitute_words(text, rate, ["x", "y", "y"], seed)


def test_a_vocabulary_given_as_a_set_gives_the_same_words_in_every_process():
    heard = substitute_words("a b c d e f", 1, {f"w{i:02}" for i in range(20)}, seed=5)
    assert heard == "w11 w08 w02 w00 w00 w00"


def test_the_limits_of_the_rate():
    assert drop_words("So  it is", 0, 0) == substitute_words("So  it is", 0, [], 0) == "So it is"
    assert drop_words("So it is", 1, 0) == "" == drop_words("", 0.5, 0)
    assert set(substitute_words("So it is", 1, ["SO", "no"], 0).split()) == {"no"}


@pytest.mark.parametrize("rate", [-0.1, 1.1, np.nan])
def test_bad_rates_are_refused(rate):
    for damage in (lambda: drop_words("a b", rate, 0), lambda: substitute_words("a b", rate, ["c"], 0)):
        with pytest.raises(BadInput, match="expected a number from 0 to 1"):
            damage()


def test_a_vocabulary_without_other_words_is_refused():
    with pytest.raises(BadInput, match="holds no word that is not in the text 'so So'"):
        substitute_words("so So", 1, ["SO", "so"], 0)
