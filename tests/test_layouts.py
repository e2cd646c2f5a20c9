"""The whole way from a corpus to a release on disk and back."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
import soundfile as sf

from mer_kit.corpora import Corpus, duet, iemocap, make_table, meld
from mer_kit.corpora.layouts import write_as_iemocap, write_as_meld
from mer_kit.corpora.prepare import prepare_meld
from mer_kit.errors import BadInput, Missing
from mer_kit.labels import SEVEN, label_set

needs_ffmpeg = pytest.mark.skipif(not shutil.which("ffmpeg"), reason="the program ffmpeg is not installed")


def small_corpus(folder, sessions=5, dialogues=1, turns=4):
    """Sine tones of their own pitch each, turns that overlap, every emotion."""
    emotions, rows = SEVEN.split(), []
    for s in range(1, sessions + 1):
        for d in range(dialogues):
            for t in range(turns):
                number, name = len(rows), f"S{s}_d{d:02}_t{t:02}"
                tone = 0.3 * np.sin(2 * np.pi * (200 + 20 * number) * np.arange(3200) / 16_000)
                sf.write(folder / f"{name}.wav", tone, 16_000)
                rows.append({"id": name, "dialogue": f"S{s}_d{d:02}", "speaker": f"Session{s}_{'FM'[t % 2]}",
                             "session": f"Session{s}", "text": f"“Well, {name}”", "audio": str(folder / f"{name}.wav"),
                             "start": 100 + 0.15 * t, "end": 100.2 + 0.15 * t, "raw_label": emotions[number % 7]})
    return Corpus("small", label_set("duet-7"), make_table(rows, label_set("duet-7")), "none")


def pitch(path):
    samples, rate = sf.read(path)
    return np.abs(np.fft.rfft(samples, 16_000)).argmax() * rate / 16_000


def test_as_iemocap_and_back(tmp_path):
    corpus = small_corpus(tmp_path, dialogues=2)
    names = write_as_iemocap(corpus, tmp_path / "release")
    back = iemocap.load(tmp_path / "release", check="samples")
    assert len(back) == len(corpus) == 40 and len(back.skipped) == 0
    was, now = corpus.table.set_index("id"), back.table.set_index("id").loc[names[corpus.table["id"]]]
    assert now["text"].tolist() == was["text"].tolist()
    assert now["turn"].tolist() == was["turn"].tolist()
    assert now["start"].tolist() == pytest.approx(was["start"].tolist())
    assert now["session"].tolist() == was["session"].tolist()
    assert now["speaker"].tolist() == [f"Ses0{s[7]}{s[-1]}" for s in was["speaker"]]
    emotion = {"ang": "anger", "dis": "disgust", "fea": "fear", "hap": "joy", "exc": "joy", "neu": "neutral",
               "sad": "sadness", "sur": "surprise"}
    assert now["raw_label"].map(emotion).tolist() == was["raw_label"].tolist()
    assert now["raw_label"].isin(["hap", "exc"]).sum() == 6 and (now["raw_label"] == "exc").sum() == 3
    assert [pitch(a) for a in now["audio"][:3]] == pytest.approx([200, 220, 240], abs=5)
    assert names.iloc[0] == "Ses01F_impro01_F000" and names.iloc[5] == "Ses01M_impro01_M000"


def test_the_texts_of_an_iemocap_dialogue_stand_as_in_the_release(tmp_path):
    write_as_iemocap(small_corpus(tmp_path, sessions=1), tmp_path)
    evaluation = (tmp_path / "Session1/dialog/EmoEvaluation/Ses01F_impro01.txt").read_text().splitlines()
    assert evaluation[:6] == [
        "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]", "",
        "[100.0000 - 100.2000]\tSes01F_impro01_F000\tang\t[2.5000, 3.5000, 3.0000]",
        "C-E2:\tAnger;\t()", "C-E4:\tAnger; Other;\t(hard to tell)", "A-E3:\tval 2; act 4; dom  5;\t()"]
    turns = [line.split("\t")[1][-4:] for line in evaluation if line.startswith("[")]
    assert turns == ["F000", "F001", "M000", "M001"]
    spoken = (tmp_path / "Session1/dialog/transcriptions/Ses01F_impro01.txt").read_text(encoding="utf-8").splitlines()
    assert spoken[1] == "Ses01F_impro01_M000 [100.1500-100.3500]: “Well, S1_d00_t01”"
    assert spoken[-1] == "Ses01F_impro01_MXX0 [100.6500-101.6500]: [BREATHING]"


def test_forty_dialogues_a_session_fit_the_grammar_of_ids(tmp_path):
    corpus = small_corpus(tmp_path, sessions=1, dialogues=40, turns=1)
    names = write_as_iemocap(corpus, tmp_path / "release")
    assert names.nunique() == 40 and names.iloc[39] == "Ses01M_script02_0_F000"
    assert len(iemocap.load(tmp_path / "release")) == 40


def test_a_corpus_that_the_layout_cannot_hold_is_refused(tmp_path):
    corpus = small_corpus(tmp_path, sessions=2, turns=1)
    with pytest.raises(BadInput, match="got 2 sessions; this layout holds 3 to 99"):
        write_as_meld(corpus, tmp_path)
    table = corpus.table
    with pytest.raises(Missing, match="utterance S1_d00_t00 has no start"):
        write_as_iemocap(replace(corpus, table=table.assign(start=None)), tmp_path)
    with pytest.raises(BadInput, match="got the speaker 'Ann'; expected a name that ends in F or M"):
        write_as_iemocap(replace(corpus, table=table.assign(speaker="Ann")), tmp_path)
    with pytest.raises(BadInput, match="unknown emotion 'bored'"):
        write_as_iemocap(replace(corpus, table=table.assign(raw_label="bored")), tmp_path)


@needs_ffmpeg
def test_as_meld_and_back(tmp_path):
    corpus = small_corpus(tmp_path, sessions=3, dialogues=2, turns=2)
    names = write_as_meld(corpus, tmp_path / "release")
    assert b"\r\n1," in (tmp_path / "release/MELD.Raw/train_sent_emo.csv").read_bytes()
    assert (prepare_meld(tmp_path / "release", on_error="raise")["status"] == "ready").all()
    back = meld.load(tmp_path / "release", check="samples")
    was, now = corpus.table, back.table.set_index("id").loc[names[corpus.table["id"]]]
    assert len(back) == 12 and len(back.skipped) == 0
    for column in ("text", "speaker", "raw_label", "turn"):
        assert now[column].tolist() == was[column].tolist()
    assert now["start"].tolist() == pytest.approx(was["start"].tolist(), abs=5e-4)
    assert now["split"].tolist() == ["train"] * 4 + ["dev"] * 4 + ["test"] * 4
    assert now["session"].tolist() == [f"S0{s[-1]}E01" for s in was["session"]]
    assert [pitch(a) for a in now["audio"][:3]] == pytest.approx([200, 220, 240], abs=5)


@needs_ffmpeg
def test_some_of_duet_both_ways(tmp_path):
    corpus = duet.load()
    table = corpus.table[corpus.table["dialogue"].isin(corpus.table.groupby("session")["dialogue"].min())]
    table = table.groupby("dialogue").head(2).reset_index(drop=True)
    corpus = replace(corpus, table=table)
    names = write_as_iemocap(corpus, tmp_path / "i")
    texts = iemocap.load(tmp_path / "i", check="samples").table.set_index("id")["text"]
    assert texts[names[table["id"]]].tolist() == table["text"].tolist()
    names = write_as_meld(corpus, tmp_path / "m")
    prepare_meld(tmp_path / "m", on_error="raise")
    texts = meld.load(tmp_path / "m", check="samples").table.set_index("id")["text"]
    assert texts[names[table["id"]]].tolist() == table["text"].tolist()
