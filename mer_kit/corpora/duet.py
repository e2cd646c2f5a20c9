"""The embedded corpus `duet`: synthetic dialogues whose generating process, and so the best possible score, is known.

1,885 English utterances in dyadic dialogues, five sessions of two speakers each, seven emotions. Its process stands in
duet_process.py and duet_data/process.toml; `ceilings()` is what an ideal observer of given inputs can reach.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import numpy as np
import pandas as pd

from mer_kit.corpora.audio import fault
from mer_kit.corpora.corpus import Corpus, make_table
from mer_kit.corpora.duet_process import process
from mer_kit.corpora.intake import Intake
from mer_kit.labels import emotion_of, label_set

DATA = Path(str(files("mer_kit.corpora") / "duet_data"))
NOW = ("text", "voice", "text + voice")
HISTORY = ("none", "text", "voice", "text + voice")
LICENCE = "MIT, as mer_kit; synthetic sentences and synthetic speech, free to use, play and show"


def load(on_error: str = "raise", check: str = "none") -> Corpus:
    """The corpus with its 4-class view ("duet-4"); `load_corpus("duet", classes=7)` gives all seven.

    `truth`, indexed by utterance id, holds what the process drew:

    emotion                 the emotion of the turn, one of seven
    text_cue, cue_word      the emotion whose lexicon gave the cue, and the cue; None without one
    cue_tokens              the places of the cue among `text.split()`, a tuple
    voice_cue               the emotion whose style is heard; None: plain speech
    span_start, span_end    seconds of that style's span in the clip; NaN without one
    word_starts, word_ends  seconds of every word of `text.split()`, tuples
    """
    intake = Intake(on_error)
    drawn = pd.read_csv(DATA / "utterances.csv", keep_default_na=False, na_values=[""])
    drawn["audio"] = [str(DATA / "audio" / f"{name}.ogg") for name in drawn["id"]]
    faults = {row.id: fault(row.audio, check) for row in drawn.itertuples()} if check != "none" else {}
    for name, why in faults.items():
        if why:
            intake.reject(f"{DATA / 'utterances.csv'}", name, why, name)
    kept = drawn[~drawn["id"].isin([n for n, why in faults.items() if why])]
    truth = kept.set_index("id").rename(columns={"raw_label": "emotion"})
    for column, kind in (("cue_tokens", int), ("word_starts", float), ("word_ends", float)):
        truth[column] = [tuple(map(kind, str(v).split())) if not pd.isna(v) else () for v in truth[column]]
    for column in ("text_cue", "cue_word", "voice_cue"):
        truth[column] = truth[column].astype(object).where(truth[column].notna(), None)
    fields = ["emotion", "text_cue", "cue_word", "cue_tokens", "voice_cue", "span_start", "span_end",
              "word_starts", "word_ends"]
    labels = label_set("duet-4")
    return Corpus("duet", labels, make_table(kept.to_dict("records"), labels), LICENCE, embeddable=True,
                  truth=truth[fields], skipped=intake.skipped)


def posteriors(corpus: Corpus, now: str = "text + voice", history: str = "none", turns: int = 10) -> pd.DataFrame:
    """The ideal observer's probability of each class for each labelled utterance, (n, C), rows by utterance id.

    now: what is seen of the utterance itself, one of NOW; history: of up to `turns` turns before it, one of HISTORY.
    The observer knows that the utterance is one of the label set's classes; former turns may be of any emotion.
    """
    table, this = corpus.table, process()
    truth = corpus.truth.loc[table["id"]]
    emotion = {name: i for i, name in enumerate(this.emotions)}
    text = np.array([this.text_likelihood(word, int(session[-1]))
                     for word, session in zip(truth["cue_word"], table["session"], strict=True)])
    voice = np.array([this.voice_likelihood(emotion.get(style)) for style in truth["voice_cue"]])
    seen = {"none": np.ones_like(text), "text": text, "voice": voice, "text + voice": text * voice}
    dialogue = table["dialogue"].factorize()[0]
    belief = this.posterior(seen[now], seen[history], dialogue, 0 if history == "none" else turns)
    columns = [emotion[emotion_of(c)] for c in corpus.label_set.classes]
    scored = table["label"].notna().to_numpy()
    of_class = belief[scored][:, columns]
    return pd.DataFrame(of_class / of_class.sum(axis=1, keepdims=True), table["id"][scored], corpus.label_set.classes)


def ceilings(corpus: Corpus | None = None, turns: int = 10) -> pd.DataFrame:
    """The accuracy that the ideal observer expects to reach, for every set of inputs, with and without history.

    Exact, given the inputs of these very utterances: the mean over them of the largest posterior probability. No model
    of the same inputs can expect to do better. Columns: now, history, ceiling, reached (by the observer, on the labels
    as drawn: differs from `ceiling` by chance alone), chance (1 / C).
    """
    corpus = corpus or load()
    labels = corpus.targets["label"].to_numpy()
    rows = []
    for now in NOW:
        for history in HISTORY:
            p = posteriors(corpus, now, history, turns)
            reached = (p.columns.to_numpy()[p.to_numpy().argmax(axis=1)] == labels).mean()
            rows.append((now, history, p.max(axis=1).mean(), reached, 1 / len(p.columns)))
    return pd.DataFrame(rows, columns=["now", "history", "ceiling", "reached", "chance"])
