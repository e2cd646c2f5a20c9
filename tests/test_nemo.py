"""nEMO's loader: literal rows, and the real corpus."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile as sf

from mer_kit.corpora import load_corpus
from mer_kit.corpora.nemo import load
from mer_kit.errors import BadInput, Missing

TSV = ("file_id\temotion\traw_text\tnormalized_text\tspeaker_id\tgender\tage\n"
       "WR0_surprised_64.wav\tsurprised\tUcho wykrywa dźwięki.\tucho wykrywa dźwięki\t        WR0\tmale\t23\n"
       'EB0_anger_1.wav\tanger\t"Tak" – mówi.\ttak mówi\t        EB0\tfemale\t23\n')


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "samples").mkdir()
    (tmp_path / "data.tsv").write_text(TSV, encoding="utf-8")
    for name in ("WR0_surprised_64.wav", "EB0_anger_1.wav"):
        sf.write(tmp_path / "samples" / name, np.full(2400, 0.1), 24_000)
    return tmp_path


def test_a_recording_is_a_dialogue_of_its_own_and_its_speaker_the_session(folder):
    corpus = load(folder)
    first, second = corpus
    assert (first.id, first.dialogue, first.turn, first.speaker, first.session) == \
        ("EB0_anger_1", "EB0_anger_1", 0, "EB0", "EB0")
    assert (first.text, first.start, first.end, first.label) == ('"Tak" – mówi.', None, None, "angry")
    assert first.audio == folder / "samples" / "EB0_anger_1.wav"
    assert (second.speaker, second.label) == ("WR0", None)
    assert corpus.table["raw_label"].tolist() == ["anger", "surprised"]
    assert corpus.notes == () and not corpus.embeddable and "NC" in corpus.licence


@pytest.mark.parametrize(("named", "there"), [(".wav", ".opus"), (".opus", ".wav")])
def test_either_ending_will_do_and_is_noted_once(folder, named, there):
    (folder / "data.tsv").write_text(TSV.replace(".wav", named), encoding="utf-8")
    for wav in (folder / "samples").glob("*.wav"):
        wav.rename(wav.with_suffix(there))
    corpus = load(folder)
    assert [u.audio.suffix for u in corpus] == [there, there]
    assert corpus.notes == (f"data.tsv names {named} files; the recordings are {there} files of the same names",)


@pytest.mark.parametrize(("old", "new", "words"), [
    ("\tanger\t", "\tangry\t", ["data.tsv:3: ", "'angry'", "anger, fear, happiness"]),
    ("        EB0", "        ", ["data.tsv:3: ", "speaker_id"]),
    ("EB0_anger_1.wav", "EB0_anger_2.wav", ["data.tsv:3: ", "EB0_anger_2", "missing"]),
    ("EB0_anger_1.wav", "WR0_surprised_64.wav", ["data.tsv:3: ", "once"]),
    ("\tfemale\t23", "\tfemale", ["data.tsv:3: ", "expected 7 columns", "not 6"]),
])
def test_a_bad_row_is_named_and_can_be_skipped(folder, old, new, words):
    assert TSV.count(old) == 1
    (folder / "data.tsv").write_text(TSV.replace(old, new), encoding="utf-8")
    with pytest.raises(BadInput) as error:
        load(folder)
    assert all(word in str(error.value) for word in words)
    corpus = load(folder, on_error="skip")
    assert len(corpus) == 1 and len(corpus.skipped) == 1


def test_missing_columns_and_a_missing_table_are_named(folder):
    (folder / "data.tsv").write_text(TSV.replace("\t", ","), encoding="utf-8")
    with pytest.raises(BadInput, match=r"data.tsv:1: got 1 columns .*lack file_id, emotion.*'\\t'"):
        load(folder)
    (folder / "data.tsv").unlink()
    with pytest.raises(Missing, match=r"no data\.tsv"):
        load(folder)


def test_a_wrong_check_lists_the_right_ones(folder):
    with pytest.raises(BadInput, match="none, header, samples"):
        load(folder, check="sample")


def test_the_real_corpus(shared):
    corpus = load_corpus("nemo", shared / "data" / "nemo")
    table = corpus.table
    assert len(corpus) == 4481 and table["speaker"].nunique() == 9 and len(corpus.skipped) == 0
    assert table["raw_label"].value_counts().to_dict() == {
        "neutral": 809, "sadness": 769, "happiness": 749, "anger": 749, "fear": 736, "surprised": 669}
    assert len(corpus.targets) == 3076 and corpus.notes == ()
    assert (table["turn"] == 0).all() and (table["session"] == table["speaker"]).all()
    assert table["text"].nunique() == 90
