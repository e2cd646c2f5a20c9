"""The generating process of `duet`, and the ideal observer who knows it.

The process (duet_data/process.toml holds every number):

    e_1 ~ prior,  e_t = e_{t-1} with probability `keep`, else e_t ~ prior               emotion of turn t
    words_t | e_t : a cue of e_t (true), of another emotion (misleading), or a filler
    voice_t | e_t : the style of e_t (true), of another emotion (misleading), or plain  independent of the words

The ideal observer sees the cue word and the style without error, and applies Bayes' rule.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.resources import files

import numpy as np


@dataclass(frozen=True)
class Turn:
    """What the process draws for one turn; None where there is no cue."""

    emotion: int
    text_cue: int | None  # the emotion whose lexicon gave the cue
    word: str | None
    voice_cue: int | None  # the emotion whose style is heard


class Process:
    """The process of process.toml: its probabilities, how to draw from it, and the likelihoods of what is seen.

    Emotions are numbered in the order of `emotions`; C = 7.
    """

    def __init__(self, settings: dict):
        self.settings = settings
        self.emotions = tuple(settings["emotion"]["prior"])
        self.prior = np.array(list(settings["emotion"]["prior"].values()))  # (C,)
        self.keep = settings["emotion"]["keep"]

    @cached_property
    def transition(self) -> np.ndarray:
        """P(next emotion | emotion), (C, C), rows sum to one; `prior` is its stationary distribution."""
        return self.keep * np.eye(len(self.prior)) + (1 - self.keep) * self.prior

    def cue_given_emotion(self, channel: str) -> np.ndarray:
        """P(cue of class k | emotion e), (C, C + 1), for channel "text" or "voice"; the last column is "no cue"."""
        true, misleading = self.settings[channel]["true_cue"], self.settings[channel]["misleading_cue"]
        others = self.prior * (1 - np.eye(len(self.prior)))
        cues = true * np.eye(len(self.prior)) + misleading * others / others.sum(axis=1, keepdims=True)
        return np.column_stack([cues, np.full(len(cues), 1 - true - misleading)])

    @lru_cache(maxsize=64)  # noqa: B019 (one process lives as long as the program)
    def word_given_class(self, session: int, emotion: int) -> dict[str, float]:
        """P(word | a cue of this emotion, session): Zipf weights over the words that are heard in the session."""
        lexicon = self.settings["lexicon"][self.emotions[emotion]]
        limited = self.settings["only_in_sessions"]
        weights = {w: (k + 2.0) ** -self.settings["text"]["zipf"] for k, w in enumerate(lexicon)
                   if session in limited.get(w, [session])}
        total = sum(weights.values())
        return {w: x / total for w, x in weights.items()}

    def draw_dialogue(self, rng: np.random.Generator, session: int, turns: int) -> list[Turn]:
        """One dialogue's turns, drawn from the process."""
        classes = len(self.prior)
        drawn, emotion = [], None
        for _ in range(turns):
            source = self.prior if emotion is None else self.transition[emotion]
            emotion = int(rng.choice(classes, p=source))
            text, voice = (int(rng.choice(classes + 1, p=self.cue_given_emotion(channel)[emotion]))
                           for channel in ("text", "voice"))
            words = self.word_given_class(session, text) if text < classes else {}
            word = str(rng.choice(list(words), p=list(words.values()))) if words else None
            drawn.append(Turn(emotion, text if words else None, word, voice if voice < classes else None))
        return drawn

    def text_likelihood(self, word: str | None, session: int) -> np.ndarray:
        """P(cue word, or its absence | emotion), (C,). A word shared by two lexicons counts for both."""
        cues = self.cue_given_emotion("text")
        if word is None:
            return cues[:, -1]
        return cues[:, :-1] @ [self.word_given_class(session, k).get(word, 0.0) for k in range(len(self.prior))]

    def voice_likelihood(self, style: int | None) -> np.ndarray:
        """P(style, or plain speech | emotion) for every emotion, (C,)."""
        return self.cue_given_emotion("voice")[:, -1 if style is None else style]

    def posterior(self, now: np.ndarray, past: np.ndarray, dialogue: np.ndarray, turns: int) -> np.ndarray:
        """P(emotion | what is seen now and in up to `turns` turns before), (n, C), by the forward algorithm.

        now, past: likelihoods (n, C) of what the observer uses of the current and of the former turns (ones = nothing);
        dialogue: (n,) numbers; rows stand in time order within a dialogue.
        """
        belief = np.tile(self.prior, (len(now), 1))
        for lag in range(turns, 0, -1):
            valid = np.zeros(len(now), dtype=bool)
            valid[lag:] = dialogue[lag:] == dialogue[:-lag]
            updated = belief[valid] * past[np.flatnonzero(valid) - lag]
            belief[valid] = updated / updated.sum(axis=1, keepdims=True) @ self.transition
        belief *= now
        return belief / belief.sum(axis=1, keepdims=True)


@lru_cache(maxsize=1)
def process() -> Process:
    """The process that made `duet`."""
    return Process(tomllib.loads(files("mer_kit.corpora").joinpath("duet_data/process.toml").read_text("utf-8")))
