"""What a corpus holds, and what slips from training into test."""

from __future__ import annotations

from types import MappingProxyType

import numpy as np
import pandas as pd
import pytest
import soundfile as sf

from mer_kit.corpora import make_table
from mer_kit.corpora.audit import audit, describe, durations, normalise, seen_in_training
from mer_kit.corpora.corpus import Corpus
from mer_kit.corpora.protocols import Fold, Protocol, make_protocol
from mer_kit.labels import LabelSet, label_set

LABELS = LabelSet("toy-2", ("joy", "anger"), MappingProxyType({"joy": "joy", "anger": "anger"}))


def corpus_of(*rows: tuple) -> Corpus:
    """Rows of id, dialogue, speaker, session, text, raw label."""
    names = ("id", "dialogue", "speaker", "session", "text", "raw_label")
    table = [dict(zip(names, row, strict=True), audio=None, start=float(i), end=i + 0.5) for i, row in enumerate(rows)]
    return Corpus("toy", LABELS, make_table(table, LABELS), "none", notes=("read so",))


SMALL = corpus_of(("a", "d1", "Ann", "s1", "Oh, my God!", "joy"), ("b", "d1", "Ben", "s1", "Well.", "anger"),
                  ("c", "d2", "Ann", "s2", "oh my god", "joy"), ("d", "d2", "Cem", "s2", "?!", "anger"),
                  ("e", "d2", "Cem", "s2", "...", "other"), ("f", "d2", "Ann", "s2", None, "anger"))


def test_counts_hold_every_class_and_the_history():
    counts = describe(SMALL).counts
    assert set(counts) == {"session", "speaker"}
    assert counts["session"].loc["s2"].to_dict() == {"joy": 1, "anger": 2, "history": 1, "all": 4}
    assert counts["speaker"]["all"].to_dict() == {"Ann": 3, "Ben": 1, "Cem": 2}


def test_a_split_is_counted_where_there_is_one():
    table = SMALL.table.assign(split=["train", "train", "dev", "dev", "dev", None])
    counts = describe(Corpus("toy", LABELS, table, "none")).counts["split"]
    assert counts["all"].to_dict() == {"train": 2, "dev": 3, "none": 1}


def test_durations_by_class_in_seconds_and_hours():
    description = describe(SMALL)
    table = description.durations
    assert table.index.tolist() == ["joy", "anger", "labelled", "all"]
    assert table["utterances"].tolist() == [2, 3, 5, 6]
    assert (table[["min (s)", "median (s)", "max (s)"]] == 0.5).all(axis=None)
    assert table.loc["all", "total (h)"] == pytest.approx(3 / 3600)
    assert description.notes == ("read so",) and description.skipped.empty


def test_durations_come_from_the_header_or_the_part(tmp_path):
    sf.write(tmp_path / "a.wav", np.zeros(12_000), 8_000)
    table = SMALL.table.assign(audio=[str(tmp_path / "a.wav")] * 2 + [None] * 4, segment=[True] + [False] * 5)
    table.loc[5, ["start", "end"]] = np.nan
    seconds = durations(Corpus("toy", LABELS, table, "none"))
    np.testing.assert_allclose(seconds[["a", "b", "c"]], [0.5, 1.5, 0.5])
    assert np.isnan(seconds["f"])


def test_no_times_at_all_give_no_durations():
    table = SMALL.table.assign(start=None, end=None)
    assert describe(Corpus("toy", LABELS, table, "none")).durations["total (h)"].isna().all()


@pytest.mark.parametrize(("text", "expected"), [
    ("Oh,  my GOD… Don’t!", "oh my god dont"), ("¿Qué?", "qué"), ("Straße", "strasse"), ("😀 ok.", "😀 ok"),
    ("मैं ठीक हूँ।", "मैं ठीक हूँ"), ("שלום, לך!", "שלום לך"), ("ＦＵＬＬ\twidth", "full width"), ("?!", ""), ("", ""),
])
def test_normalised_texts(text, expected):
    assert normalise(text) == expected


def test_seen_texts_are_those_whose_words_stand_in_training():
    seen = seen_in_training(SMALL, Fold("x", ("a", "b", "d"), (), ("c", "e", "f")))
    assert seen.to_dict() == {"c": True, "e": False, "f": False}  # marks alone, and no text, are not seen
    assert seen.dtype == bool


def test_audit_counts_what_stands_in_two_parts():
    protocol = Protocol("toy", (Fold("x", ("a",), ("b",), ("c", "f")), Fold("y", ("b",), (), ("d",))), "dev")
    table = audit(SMALL, protocol)
    assert table.loc["x"].to_dict() == {"speakers in two parts": 1, "dialogues in two parts": 1, "test utterances": 2,
                                        "texts seen in training": 1, "share seen": 0.5}
    assert table.loc["y"].tolist() == [0, 0, 1, 0, 0.0]


def test_meld_repeats_texts_from_training_in_test(shared):
    """Independently counted: 331 of 2,610 test texts stand in training to the letter; normalised, it must be more."""
    meld = {part: pd.read_csv(shared / f"data/meld/{part}_sent_emo.csv") for part in ("train", "dev", "test")}
    rows = [{"id": f"{part}{i}", "dialogue": f"{part}{d}", "speaker": s, "session": part, "text": t, "audio": None,
             "start": float(i), "end": i + 1.0, "raw_label": e, "split": part} for part, frame in meld.items()
            for i, (d, s, t, e) in enumerate(frame[["Dialogue_ID", "Speaker", "Utterance", "Emotion"]].values)]
    corpus = Corpus("meld", label_set("meld-7"), make_table(rows, label_set("meld-7")), "GPL-3")
    found = audit(corpus, make_protocol(corpus, "official")).loc["official"]
    train = {normalise(t) for t in meld["train"]["Utterance"]} - {""}
    assert found["texts seen in training"] == sum(normalise(t) in train for t in meld["test"]["Utterance"]) > 331
    assert found["test utterances"] == 2610 and found["dialogues in two parts"] == 0
    assert found["speakers in two parts"] >= 6  # the six friends
