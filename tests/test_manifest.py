"""Manifests of one's own: what is read, what is filled in, and what a whole file may be refused for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from mer_kit.corpora import load_corpus
from mer_kit.corpora.audio import AudioReader
from mer_kit.corpora.manifest import load
from mer_kit.errors import BadInput, MerKitError, Missing

TWO_ROWS = "text,speaker,label\nYes!,Ann,joy\nNo.,Ben,sadness\n"


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.fixture
def clip(tmp_path) -> Path:
    """0.5 s: a rising ramp, so that every part of it can be told."""
    sf.write(tmp_path / "clip.wav", np.linspace(0.1, 0.6, 4_000), 8_000, subtype="FLOAT")
    return tmp_path / "clip.wav"


def test_text_only_with_defaults(tmp_path):
    corpus = load(write(tmp_path / "mine.csv", TWO_ROWS))
    assert (corpus.name, corpus.label_set.name, corpus.label_set.classes) == ("mine", "mine-2", ("joy", "sadness"))
    first = corpus["mine_00002"]
    assert (first.text, first.speaker, first.session, first.dialogue) == ("Yes!", "Ann", "Ann", "mine_00002")
    assert (first.turn, first.audio, first.start, first.end, first.segment) == (0, None, None, None, False)
    with pytest.raises(Missing, match="has no audio"):
        corpus.require("audio")


def test_audio_only_with_paths_beside_the_manifest_or_absolute(tmp_path, clip):
    corpus = load(write(tmp_path / "mine.csv", f"audio,speaker,label\nclip.wav,Ann,joy\n{clip},Ben,sadness\n"))
    assert [u.audio for u in corpus] == [clip, clip] and [u.text for u in corpus] == [None, None]
    with pytest.raises(Missing, match="has no text"):
        corpus.require("text")


def test_an_empty_audio_column_is_text_only_and_an_empty_text_beside_audio_is_an_empty_text(tmp_path, clip):
    text_only = load(write(tmp_path / "a.csv", "audio,text,speaker,label\n,Yes,Ann,joy\n,No,Ben,anger\n"))
    assert text_only.table["audio"].isna().all()
    both = load(write(tmp_path / "b.csv", "audio,text,speaker,label\nclip.wav,,Ann,joy\nclip.wav,No,Ben,anger\n"))
    assert both.table["text"].tolist() == ["", "No"]


def test_start_and_end_choose_a_part_of_the_file(tmp_path, clip):
    corpus = load(write(tmp_path / "m.csv", "id,audio,speaker,label,start,end\n"
                                            "whole,clip.wav,A,joy,,\npart,clip.wav,B,anger,0.25,0.375\n"))
    read = AudioReader(sample_rate=8_000)
    assert [corpus[i].segment for i in ("whole", "part")] == [False, True]
    np.testing.assert_array_equal(read(corpus["part"]), read(corpus["whole"])[2_000:3_000])


def test_times_of_a_text_are_times_in_its_dialogue(tmp_path):
    corpus = load(write(tmp_path / "m.csv", "id,text,speaker,label,dialogue,start,end\nb,No,B,joy,d,3.5,4\n"
                                            "a,Yes,A,anger,d,1,2.25\n"))
    assert corpus.table["id"].tolist() == ["a", "b"]
    assert (corpus["a"].start, corpus["a"].end, corpus["a"].segment, corpus["b"].turn) == (1.0, 2.25, False, 1)


def test_within_a_dialogue_turn_goes_before_start_and_start_before_the_line_and_turns_count_anew(tmp_path):
    head = "id,text,speaker,label,dialogue"
    rows = f"{head},start,end,turn\nc,x,A,joy,d,1,2,10\na,x,B,joy,d,5,6,2\nb,x,A,anger,d,3,4,9\nz,x,B,joy,c,,,\n"
    corpus = load(write(tmp_path / "m.csv", rows))
    assert corpus.table["id"].tolist() == ["a", "b", "c", "z"]  # d's first session name, A, goes before B
    assert corpus.table["turn"].tolist() == [0, 1, 2, 0]
    by_start = load(write(tmp_path / "n.csv", rows.replace("turn", "no")))
    assert by_start.table["id"].tolist() == ["c", "b", "a", "z"]
    by_line = load(write(tmp_path / "o.csv", f"{head}\nc,x,A,joy,d\na,x,B,anger,d\nb,x,A,joy,d\n"))
    assert by_line.table["id"].tolist() == ["c", "a", "b"]


def test_a_dialogue_stays_whole_where_sessions_default_to_speakers(tmp_path):
    rows = "".join(f"t{i},{'AB'[i % 2]},{('joy', 'anger')[i % 2]},d\n" for i in range(6))
    corpus = load(write(tmp_path / "m.csv", "text,speaker,label,dialogue\n" + rows))
    assert corpus.table["text"].tolist() == [f"t{i}" for i in range(6)]
    assert corpus.table["turn"].tolist() == list(range(6))
    assert corpus.history("m_00005")["text"].tolist() == ["t0", "t1", "t2"]


@pytest.mark.parametrize("content", [
    b"\xef\xbb\xbf" + TWO_ROWS.encode(),
    TWO_ROWS.replace("\n", "\r\n").encode(),
    TWO_ROWS.replace("\n", "\r").encode(),
    TWO_ROWS.strip().encode(),
    ("\n" + TWO_ROWS.replace("\n", "\n\n  \n")).encode(),
    TWO_ROWS.replace("text,speaker,label", ' Text ,"SPEAKER", label').encode(),
], ids=["byte order mark", "CRLF", "CR", "no last newline", "blank lines", "header in other case"])
def test_harmless_forms(content, tmp_path):
    corpus = load(write(tmp_path / "mine.csv", content))
    assert corpus.table["text"].tolist() == ["Yes!", "No."] and corpus.table["speaker"].tolist() == ["Ann", "Ben"]


@pytest.mark.parametrize("text", [
    "<b>bold</b><script>alert(1)</script> & $x$", "😀👩‍👩‍👧 wow", "שלום, מה שלומך?", "مرحبا", "naïve ﬁancé\u2028next",
    " ".join(["word"] * 10_000), 'She said: "no, no"', "=1+1", "nan", "null", "None", "0012",
])
def test_texts_come_as_they_are(text, tmp_path):
    quoted = '"' + text.replace('"', '""') + '"'
    for suffix, separator in ((".csv", ","), (".tsv", "\t")):
        rows = [["text", "speaker", "label"], [quoted, "Ann", "joy"], ["x", "Ben", "anger"]]
        path = write(tmp_path / f"mine{suffix}", "\n".join(separator.join(row) for row in rows))
        assert load(path).table["text"].iloc[0] == text


def test_names_that_look_like_missing_values_or_numbers_stay_names(tmp_path):
    corpus = load(write(tmp_path / "m.csv", "id,text,speaker,label,session\n007,a,NA,joy,01\nnan,b,None,anger,1\n"))
    assert [(u.id, u.speaker, u.session) for u in corpus] == [("007", "NA", "01"), ("nan", "None", "1")]


def test_classes_are_sorted_and_two_spellings_of_one_emotion_are_one_class(tmp_path):
    corpus = load(write(tmp_path / "m.csv", "text,speaker,label\na,A,sad\nb,A,angry\nc,A,ang\nd,A,hap\n"))
    assert corpus.label_set.classes == ("anger", "hap", "sad")
    assert sorted(corpus.table["label"]) == ["anger", "anger", "hap", "sad"]
    assert sorted(corpus.table["raw_label"]) == ["ang", "angry", "hap", "sad"]
    assert "labels ang, angry are one emotion" in corpus.notes[0]
    assert len(set(corpus.label_set.palette.values())) == 3


def test_skipping_a_class_away_shrinks_the_label_set(tmp_path):
    content = TWO_ROWS + "Hm,,fear\n"
    assert load(write(tmp_path / "m.csv", content), on_error="skip").label_set.name == "m-2"


@pytest.mark.parametrize(("name", "content", "words"), [
    ("m.csv", "text,label\na,joy\n", [":1: missing column: speaker; got 2 columns (text, label)", "add or rename"]),
    ("m.csv", "speaker,label\nA,joy\n", [":1: missing column: audio or text; got 2 columns (speaker, label)"]),
    ("m.csv", "text,label,path\na,joy,x\n", [":1: missing column: speaker; got 3 columns (text, label, path)"]),
    ("m.csv", "text,speaker,label,text\na,A,joy,b\n", [":1: column 'text' stands there twice", "(text, speaker, "]),
    ("m.csv", "text;speaker;label\na;A;joy\n", [":1: the columns are separated by ';', expected ','", "'text;speaker"]),
    ("m.csv", "text\tspeaker\tlabel\na\tA\tjoy\n", [r":1: the columns are separated by '\t', expected ','"]),
    ("m.tsv", TWO_ROWS, [r":1: the columns are separated by ',', expected '\t'", "'text,speaker,label'"]),
    ("m.csv", '"text"|"speaker"|"label"\na|A|joy\n', [":1: the columns are separated by '|'"]),
    ("m.csv", "text,speaker,lable\na,A,joy\n", [":1: unknown column 'lable'; did you mean 'label'?"]),
    ("m.csv", "text,speaker,label,sesion\na,A,joy,1\n", [":1: unknown column 'sesion'; did you mean 'session'?"]),
    ("m.csv", "text,speaker,label\n", ["m.csv:1: 0 rows follow, none of them usable"]),
    ("m.csv", "", [":1: the manifest is empty (0 bytes)"]),
    ("m.csv", "\ufeff\n \n", [":1: the manifest is empty"]),
    ("m.csv", TWO_ROWS.encode("utf-16"), [":1: the file is in UTF-16", r"b'\xff\xfe'"]),
    ("m.csv", b"text,speaker,label,\xe9t\xe9\na,A,joy,\n", [":1: the header is damaged", r"\xe9t\xe9"]),
    ("m.csv", 'text,"speaker,label\na,A,joy\n', [":1: the header is damaged", '"speaker,label']),
    ("m.csv", "text,speaker,label\na,A,joy\nb,B,joy\n", ["column label holds one class only, 'joy'"]),
    ("m.csv", "text,speaker,label\na,A,angry\nb,B,anger\n", ["one class only"]),
    ("m.txt", TWO_ROWS, ["unknown manifest extension '.txt'; expected one of: .csv, .tsv"]),
])
def test_damage_of_the_whole_file_always_raises(name, content, words, tmp_path):
    path = write(tmp_path / name, content)
    for on_error in ("raise", "skip"):
        with pytest.raises(BadInput) as error:
            load(path, on_error=on_error)
        assert all(part in str(error.value) for part in words), str(error.value)
        assert name in str(error.value) or name == "m.txt"


def test_columns_that_mean_nothing_are_noted_and_near_names_only_where_the_true_one_is_absent(tmp_path):
    corpus = load(write(tmp_path / "m.csv", "text,speaker,label,labels,age\na,A,joy,x,3\nb,A,anger,y,4\n"))
    assert "'labels', 'age'" in corpus.notes[0] and len(corpus) == 2


def test_no_file_wrong_option(tmp_path):
    with pytest.raises(Missing, match=r"the manifest .*gone\.csv is not there"):
        load(tmp_path / "gone.csv")
    path = write(tmp_path / "m.csv", TWO_ROWS)
    with pytest.raises(BadInput, match="unknown check 'sample'; expected one of: none, header, samples; did you mean"):
        load(path, check="sample")
    with pytest.raises(BadInput, match="unknown on_error 'ignore'"):
        load(path, on_error="ignore")


def test_load_corpus_takes_a_path_and_hashes_by_content(tmp_path):
    one = load_corpus(write(tmp_path / "m.csv", TWO_ROWS))
    (tmp_path / "elsewhere").mkdir()
    two = load_corpus(str(write(tmp_path / "elsewhere" / "m.csv", TWO_ROWS.replace("\n", "\r\n"))))
    changed = load_corpus(write(tmp_path / "m.csv", TWO_ROWS.replace("No.", "No!")))
    assert one.hash == two.hash != changed.hash
    with pytest.raises(MerKitError, match="not there"):
        load_corpus(tmp_path / "none.tsv")
