"""MELD's loader: literal rows, one test a quirk, and the real transcripts."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import soundfile as sf

from mer_kit.corpora import load_corpus
from mer_kit.corpora.meld import CLIPS, RELEASE, load
from mer_kit.errors import BadInput, Missing

HEADER = "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime\r\n"
ROWS = {
    "train": '1,"Oh, well…",Richard’s Date,joy,positive,0,1,8,21,"00:16:21,940","00:16:23,442"\r\n'
             '2,No “way”!,Phoebe/Waitress,anger,negative,0,3,8,21,"0:16:16,059","0:16:21,731"\r\n'
             '3,Go.,Nurse #1,neutral,neutral,125,3,9,23,"00:06:44,000","00:06:47,28"\r\n',
    "dev": '1,Hi,Ross,sadness,negative,110,7,1,1,"00:00:01,000","00:00:02,000"\r\n',
    "test": '1,Hi,Ross,fear,negative,0,0,3,19,"1:00:01,500","1:00:02,000"\r\n',
}


@pytest.fixture
def folder(tmp_path):
    for split, rows in ROWS.items():
        (tmp_path / f"{split}_sent_emo.csv").write_bytes((HEADER + rows).encode())
    return tmp_path


def edit(folder, old, new, split="train"):
    path = folder / f"{split}_sent_emo.csv"
    data, old, new = path.read_bytes(), *(s if isinstance(s, bytes) else s.encode() for s in (old, new))
    assert data.count(old) == 1
    path.write_bytes(data.replace(old, new))
    return path


def tone(path, seconds=1.0):
    path.parent.mkdir(parents=True, exist_ok=True)
    sf.write(path, np.full(int(16_000 * seconds), 0.1), 16_000)


def add_wavs(folder):
    for split, clip in (("train", "dia0_utt1"), ("train", "dia0_utt3"), ("test", "dia0_utt0")):
        tone(folder / "wav" / split / f"{clip}.wav")


def counts_notes(corpus):
    return [note for note in corpus.notes if "full release" not in note]


def test_rows_become_turns_in_the_order_of_their_ids(folder):
    corpus = load(folder)
    train = corpus.table[corpus.table["split"] == "train"]
    assert train["id"].tolist() == ["train_dia0_utt1", "train_dia0_utt3", "train_dia125_utt3"]
    assert train["turn"].tolist() == [0, 1, 0]  # ids that start at 1 and leave one out; start times that run backwards
    assert train["dialogue"].tolist() == ["train_dia0", "train_dia0", "train_dia125"]
    assert train["session"].tolist() == ["S08E21", "S08E21", "S09E23"]
    assert train["label"].tolist() == train["raw_label"].tolist() == ["joy", "anger", "neutral"]
    assert train["text"].tolist() == ["Oh, well…", "No “way”!", "Go."]
    assert train["speaker"].tolist() == ["Richard’s Date", "Phoebe/Waitress", "Nurse #1"]
    assert "start times run backwards in 1 dialogues; turns follow Utterance_ID" in corpus.notes


def test_the_same_ids_in_two_splits_are_two_dialogues(folder):
    assert {"train_dia0", "test_dia0", "dev_dia110"} < set(load(folder).table["dialogue"])


def test_both_time_formats_and_a_fraction_of_two_digits(folder):
    table = load(folder).table.set_index("id")
    assert table.loc["train_dia0_utt1", ["start", "end"]].tolist() == [981.94, 983.442]
    assert table.loc["train_dia0_utt3", ["start", "end"]].tolist() == [976.059, 981.731]
    assert table.loc["train_dia125_utt3", "end"] == 407.28
    assert table.loc["test_dia0_utt0", "start"] == 3601.5


def test_odd_durations_are_kept_and_listed(folder):
    edit(folder, '"00:00:02,000"', '"00:00:01,000"', "dev")
    edit(folder, '"1:00:02,000"', '"1:05:06,44"', "test")
    note, = (n for n in load(folder).notes if "odd duration" in n)
    assert note == "2 rows of odd duration were kept: dev_dia110_utt7 0.000 s, test_dia0_utt0 304.940 s"


def test_a_byte_order_mark_and_plain_line_ends_are_fine(folder):
    path = folder / "train_sent_emo.csv"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\r\n", b"\n"))
    assert len(load(folder)) == 5


def test_an_older_copy_in_cp1252_is_read_as_such_and_noted_once(folder):
    path = folder / "train_sent_emo.csv"
    path.write_bytes(path.read_bytes().decode().encode("cp1252"))
    assert b"well\x85" in path.read_bytes() and b"Richard\x92s" in path.read_bytes()
    corpus = load(folder)
    assert corpus.table["text"].tolist() == ["Hi", "Hi", "Oh, well…", "No “way”!", "Go."]
    assert counts_notes(corpus).count("train_sent_emo.csv: lines that are not UTF-8 were read as cp1252") == 1
    edit(folder, b"Nurse #1", b"Nurse \x81")
    with pytest.raises(BadInput, match=r"train_sent_emo.csv:4: expected UTF-8 or cp1252"):
        load(folder)


def test_repeated_rows_are_kept_and_counted(folder):
    same = '4,Go.,Nurse #1,neutral,neutral,126,4,9,23,"00:06:44,000","00:06:47,280"\r\n'
    for split in ("train", "test"):
        path = folder / f"{split}_sent_emo.csv"
        path.write_bytes(path.read_bytes() + same.encode())
    corpus = load(folder)
    assert len(corpus) == 7
    assert "repeated rows were kept: 1 within a split, 1 across splits" in corpus.notes


@pytest.mark.parametrize(("old", "new", "line", "words"), [
    (",anger,", ",rage,", 3, ["column Emotion", "'rage'", "anger, disgust, fear"]),
    ('"0:16:16,059"', "0:16:16.059", 3, ["column StartTime", "'0:16:16.059'", "HH:MM:SS,mmm"]),
    (",125,3,", ",x,3,", 4, ["column Dialogue_ID", "'x'", "whole number"]),
    ("Nurse #1", " ", 4, ["column Speaker", "a name"]),
    (",0,3,8", ",0,1,8", 3, ["train_dia0_utt1", "once"]),
    ('"00:06:44,000"', '"00:06:48,000"', 4, ["train_dia125_utt3", "start before the end"]),
    ('3,Go.,', '3,"Go.,', 4, ["quotes"]),
    ("3,Go.,", "3,", 4, ["expected 11 columns", "not 10"]),
])
def test_anything_else_is_named_by_file_line_and_value(folder, old, new, line, words):
    path = edit(folder, old, new)
    with pytest.raises(BadInput) as error:
        load(folder)
    assert str(error.value).startswith(f"{path}:{line}: ") and all(word in str(error.value) for word in words)
    corpus = load(folder, on_error="skip")
    assert len(corpus) == 4 and corpus.skipped["where"].tolist() == [f"{path}:{line}"]


def test_columns_are_found_by_name_and_a_missing_one_is_named(folder):
    path = folder / "dev_sent_emo.csv"
    frame = pd.read_csv(path)
    frame[frame.columns[::-1]].assign(more=1).to_csv(path, index=False)
    assert load(folder)["dev_dia110_utt7"].label == "sadness"
    frame.drop(columns="Speaker").to_csv(path, index=False)
    with pytest.raises(BadInput, match=r"dev_sent_emo.csv:1: got 10 columns \(Sr No., Utterance.*lack Speaker;"):
        load(folder)
    frame.assign(more="joy").rename(columns={"more": "Emotion"}).to_csv(path, index=False)
    with pytest.raises(BadInput, match=r"dev_sent_emo.csv:1: column 'Emotion' stands there twice"):
        load(folder)
    path.write_text("")
    with pytest.raises(BadInput, match=r"dev_sent_emo.csv:1: got 0 columns"):
        load(folder)


def test_the_tables_are_found_where_the_archives_unpack(folder):
    for split in ROWS:
        (folder / "MELD.Raw" / split / CLIPS[split]).mkdir(parents=True)
    for split in ("train", "dev"):
        (folder / f"{split}_sent_emo.csv").rename(folder / "MELD.Raw" / split / f"{split}_sent_emo.csv")
    (folder / "test_sent_emo.csv").rename(folder / "MELD.Raw" / "test_sent_emo.csv")
    corpus = load(folder)
    assert len(corpus) == 5 and corpus.table["audio"].isna().all()
    assert f"text alone: the clips are not yet wav files; run: mer-kit prepare meld {folder}" in corpus.notes
    (folder / "MELD.Raw" / "test_sent_emo.csv").unlink()
    with pytest.raises(Missing, match=r"^test_sent_emo.csv not found"):
        load(folder)


def test_prepared_sound_is_found_and_unusable_clips_of_the_release_stay_as_history(folder):
    add_wavs(folder)
    corpus = load(folder)
    assert corpus["train_dia0_utt3"].audio == folder / "wav" / "train" / "dia0_utt3.wav"
    broken = corpus["train_dia125_utt3"]
    assert (broken.text, broken.audio, broken.label) == ("Go.", None, None)
    corpus.require("audio")
    assert counts_notes(corpus)[-2:] == [
        "train_dia125_utt3: its clip is broken in the release; it stays as history, unlabelled",
        "dev_dia110_utt7: its clip is missing in the release; it stays as history, unlabelled"]
    tone(folder / "wav" / "dev" / "dia110_utt7.wav")
    assert load(folder)["dev_dia110_utt7"].label == "sadness"


def test_any_other_clip_without_sound_is_named(folder):
    add_wavs(folder)
    (folder / CLIPS["train"]).mkdir()
    (folder / CLIPS["train"] / "dia0_utt3.mp4").touch()
    (folder / "wav" / "train" / "dia0_utt3.wav").unlink()
    with pytest.raises(BadInput, match=r"wav/train/dia0_utt3.wav: utterance train_dia0_utt3.*missing.*prepare meld"):
        load(folder)
    corpus = load(folder, on_error="skip")
    assert len(corpus) == 4 and corpus.skipped["utterance"].tolist() == ["train_dia0_utt3"]
    assert not any("no row" in note for note in corpus.notes)


def test_clips_without_a_row_and_longer_than_it_are_counted(folder):
    add_wavs(folder)
    clips = folder / CLIPS["test"]
    clips.mkdir()
    for name in ("dia0_utt0", "dia108_utt2", "final_videos_testdia0_utt1", "._dia0_utt0"):
        (clips / f"{name}.mp4").touch()
    corpus = load(folder)
    assert "test: 2 clips have no row and are not used: dia108_utt2, final_videos_testdia0_utt1" in corpus.notes
    assert not any("longer than" in note for note in corpus.notes)  # 1.0 s for 0.5 s: not over half a second
    tone(folder / "wav" / "test" / "dia0_utt0.wav", 1.6)
    note = "test: 1 clips are over 0.5 s longer than their row, most: test_dia0_utt0 by 1.1 s"
    assert note in load(folder).notes and note not in load(folder, check="none").notes


def test_counts_that_differ_are_named_by_split_and_class(folder):
    note, = (n for n in load(folder).notes if n.startswith("dev differs"))
    assert note == ("dev differs from the full release: all got 1, expected 1109; anger got 0, expected 153; "
                    "disgust got 0, expected 22; fear got 0, expected 40; joy got 0, expected 163; "
                    "neutral got 0, expected 470; sadness got 1, expected 111; surprise got 0, expected 150")


def test_the_real_transcripts(shared):
    corpus = load_corpus("meld", shared / "data" / "meld")
    table = corpus.table
    assert table["split"].value_counts().to_dict() == {"train": 9989, "dev": 1109, "test": 2610}
    assert table.groupby("split")["dialogue"].nunique().to_dict() == {"train": 1038, "dev": 114, "test": 280}
    for split, counts in RELEASE.items():
        assert table[table["split"] == split]["label"].value_counts().sort_index().tolist() == list(counts)
    assert table["speaker"].nunique() == 304 and "train_dia60" not in set(table["dialogue"])
    assert corpus["train_dia437_utt2"].end == 407.28 and len(corpus.skipped) == 0 and not corpus.embeddable
    assert corpus.notes == (
        "5 rows of odd duration were kept: train_dia309_utt0 41.040 s, train_dia338_utt3 0.006 s, "
        "test_dia38_utt4 304.940 s, test_dia155_utt3 0.000 s, test_dia220_utt0 235.068 s",
        "start times run backwards in 31 dialogues; turns follow Utterance_ID",
        "repeated rows were kept: 5 within a split, 1 across splits",
        "text alone: no clips and no wav files beside the CSV files")


def test_the_real_transcripts_as_an_older_copy(shared, tmp_path):
    for split in CLIPS:
        name = f"{split}_sent_emo.csv"
        text = (shared / "data" / "meld" / name).read_bytes().decode()
        (tmp_path / name).write_bytes(text.encode("cp1252"))
    older, real = load(tmp_path), load(shared / "data" / "meld")
    assert older.table.equals(real.table)
    assert [n.split(":")[0] for n in older.notes[:3]] == [f"{split}_sent_emo.csv" for split in CLIPS]
