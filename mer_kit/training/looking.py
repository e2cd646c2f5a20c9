"""Where trained models look in an utterance: on its words and in time, ready to be drawn, and against the cues.

LE-MER and LSGMER look by classes (G_t and G_s; what labels attend to), JFM by the joint vectors of each of its blocks,
of which the mean is taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from torch import Tensor

from mer_kit.errors import BadInput, Missing
from mer_kit.evaluation.grounding import frame_grounding, grounding_table, token_grounding, words_from_pieces
from mer_kit.training.attention import samples_of
from mer_kit.training.restore import Trained

BLOCKS = ("#0B6E8F", "#B2452B", "#2B2B2B", "#8C6BB1", "#4D9221")  # colours of JFM's blocks
SYMBOLS = {"lemer": ("$G_s$ (cosine)", "$G_t$ (cosine)"),
           "lsgmer": ("weight of a frame", "weight of a word"),
           "jfm": ("weight of a patch", "weight of a word")}


@dataclass(frozen=True)
class Seen:
    """An utterance's values of frames (frames, n) and words (words, n; -inf: cut off), and the class it is taken for.

    n: classes, or JFM's blocks.
    """

    of_frames: np.ndarray
    of_words: np.ndarray
    predicted: int


@dataclass(frozen=True)
class Look:
    """What `plots.attention_in_time` draws of an utterance: its fields are that function's arguments."""

    of_frames: np.ndarray
    of_words: np.ndarray
    lines: Mapping[str, str]
    symbols: tuple[str, str]
    samples: np.ndarray
    words: list[str]
    word_starts: tuple[float, ...]
    word_ends: tuple[float, ...]
    frame_rate: float
    truth: pd.Series | None
    title: str


def seen_in(trained: Trained, utterances: Iterable[str]) -> Iterator[tuple[str, Seen]]:
    """Where a model looks in each of some utterances; Missing for a model that looks nowhere by name."""
    rows, words = trained.stage.rows, trained.stage.text(trained.fold)[1].words
    for batch, output in trained.outputs(utterances):
        samples = samples_of(trained.model, [(batch, output)], words, maps=0)
        for utterance, predicted in zip(batch.ids, output.logits.argmax(dim=1).tolist(), strict=True):
            frames, tokens = _attended(trained, samples, utterance)
            word_of, count = samples[f"words/{utterance}"].tolist(), len(rows.at[utterance, "text"].split())
            of_words = np.stack([words_from_pieces(column, word_of, count) for column in tokens.T.numpy()], axis=1)
            yield utterance, Seen(frames.numpy(), of_words, predicted)


def _attended(trained: Trained, samples: Mapping[str, Tensor], utterance: str) -> tuple[Tensor, Tensor]:
    """Values of frames or steps in time (frames, n), and of tokens (tokens, n)."""
    if f"label_frame/{utterance}" in samples:
        return samples[f"label_frame/{utterance}"], samples[f"label_token/{utterance}"]
    if f"joint_patch/{utterance}" in samples:
        patches, tokens = (samples[f"{name}/{utterance}"].mean(dim=2) for name in ("joint_patch", "joint_token"))
        return patches[1:].unflatten(0, (-1, trained.model.speech_encoder.rows)).mean(dim=1), tokens
    raise Missing(f"this {trained.experiment.model} has no attention of labels or joint vectors on both words and "
                  "frames; take lemer, lsgmer with LSMA, or jfm with joint vectors")


def look(trained: Trained, utterance: str, show_text: bool = True) -> Look:
    """Where a model looks in one utterance, with its sound, its words and their places.

    Words have their known places where the corpus has them, else even ones. show_text: False writes "word 1" instead
    of a licensed corpus's words. BadInput for an utterance without words.
    """
    from mer_kit.corpora.audio import AudioReader  # here: soundfile may be absent where no sound is read

    stage, row = trained.stage, trained.stage.rows.loc[utterance]
    if not (row["text"] or "").split():
        raise BadInput(f"utterance {utterance!r} has no words; expected one with words and sound")
    [(_, seen)] = seen_in(trained, [utterance])
    samples, words = AudioReader()(stage.corpus[utterance]), row["text"].split()
    truth = None if stage.corpus.truth is None else stage.corpus.truth.loc[utterance]
    even = np.linspace(0, len(samples) / AudioReader.sample_rate, len(words) + 1)
    starts, ends = (even[:-1], even[1:]) if truth is None else (truth["word_starts"], truth["word_ends"])
    classes, model = stage.corpus.label_set.classes, trained.experiment.model
    lines = {f"block {n}": BLOCKS[(n - 1) % len(BLOCKS)] for n in range(1, seen.of_frames.shape[1] + 1)}
    return Look(seen.of_frames, np.where(np.isfinite(seen.of_words), seen.of_words, np.nan),
                lines if model == "jfm" else stage.corpus.label_set.palette, SYMBOLS[model], samples,
                words if show_text else [f"word {i}" for i in range(1, len(words) + 1)], tuple(starts), tuple(ends),
                float(trained.model.speech_encoder.frame_rate), truth,
                f"{utterance}: {row['label'] or 'history'}, taken for {classes[seen.predicted]}")


def cue_grounding(models: Mapping[str, Trained]) -> pd.DataFrame:
    """Does each model's largest value stand on the cue, over the test part of its fold? The first is in question.

    Read in the column of the predicted class, or JFM's last block. All models are of one corpus and fold. Columns part
    ("words", "voice"), and those of `grounding_table`. Missing for a corpus whose cues are not known.
    """
    first = next(iter(models.values()))
    corpus, rows = first.stage.corpus, first.stage.rows
    if corpus.truth is None:
        raise Missing(f"the cues of {corpus.name} are not known; take duet, whose making is")
    words, voice = {}, {}
    for name, trained in models.items():
        utterances = [u for u in trained.fold.test if (rows.at[u, "text"] or "").split()]
        last = trained.experiment.model == "jfm"
        seen = {u: (s, -1 if last else s.predicted) for u, s in seen_in(trained, utterances)}
        words[name] = token_grounding({u: s.of_words[:, at] for u, (s, at) in seen.items()}, corpus.truth)
        voice[name] = frame_grounding({u: s.of_frames[:, at] for u, (s, at) in seen.items()}, corpus.truth,
                                      float(trained.model.speech_encoder.frame_rate))
    return pd.concat([grounding_table(of, rows["dialogue"]).assign(part=part)
                      for part, of in (("words", words), ("voice", voice))], ignore_index=True)
