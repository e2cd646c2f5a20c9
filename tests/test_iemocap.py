"""IEMOCAP's loader on a literal piece of a release, one test a quirk."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import soundfile as sf

from mer_kit.corpora import load_corpus
from mer_kit.corpora.iemocap import LABELS, RELEASE, TURN, load
from mer_kit.errors import BadInput, Missing

HEADER = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"
EVALUATIONS = {
    1: ("Ses01F_impro05", HEADER +
        "[140.2250 - 145.6000]\tSes01F_impro05_F019\tang\t[1.5000, 4.0000, 4.5000]\n"
        "C-E1:\tAnger;\t()\n"
        "C-E3:\tAnger; Other;\t(threatening, belligerent)\n"
        "C-F1:\tAnger;\t()\n"
        "A-E4:\tval 1; act 4; dom  5;\t(comment)\n"
        "A-F1:\tval 1; act 5; dom  ;\t()\n"
        "\n"
        "[9.5000 - 12.0000]\tSes01F_impro05_F020\texc\t[4.0000, 4.0000, 3.0000]\n"
        "C-E1:\tExcited;\t()\n"
        "\n"
        "[11.0000 - 13.2500]\tSes01F_impro05_M003\txxx\t[2.5000, 2.5000, 2.5000]\n"
        "C-M1:\tOther;\t()\n"),
    5: ("Ses05M_script01_1b", HEADER +
        "[6.2901 - 8.2357]\tSes05M_script01_1b_F003\thap\t[4.0000, 3.0000, 2.0000]\n"
        "[8.0000 - 9.0000]\tSes05M_script01_1b_M004\tneu\t[2.5000, 2.5000, 2.5000]\n"),
}
TRANSCRIPTIONS = {
    1: "Ses01F_impro05_F020 [009.5000-012.0000]: I got in! [LAUGHTER]\n"
       "Ses01F_impro05_M003 [011.0000-013.2500]: You did?\n"
       "Ses01F_impro05_MXX0 [014.0000-014.5000]: [BREATHING]\n"
       "F: Mm-hm.\n"
       "Ses01F_impro05_F019 [140.2250-145.6000]: What: again?\n",
    5: "Ses05M_script01_1b_F003 [006.2901-008.2357]: Excuse me.\n"
       "Ses05M_script01_1b_M004 [008.0000-009.0000]: Yes.\n",
}


@pytest.fixture
def release(tmp_path):
    for session, (dialogue, evaluation) in EVALUATIONS.items():
        root = tmp_path / f"Session{session}"
        wavs = root / "sentences" / "wav" / dialogue
        for folder in (root / "dialog" / "EmoEvaluation", root / "dialog" / "transcriptions", wavs):
            folder.mkdir(parents=True)
        (root / "dialog" / "EmoEvaluation" / f"{dialogue}.txt").write_text(evaluation)
        (root / "dialog" / "transcriptions" / f"{dialogue}.txt").write_text(TRANSCRIPTIONS[session])
        for line in evaluation.splitlines():
            if line.startswith("["):
                sf.write(wavs / f"{line.split(chr(9))[1]}.wav", np.full(1600, 0.1), 16_000)
    return tmp_path


def edit(release, kind, old, new, session=1):
    path = release / f"Session{session}" / "dialog" / kind / f"{EVALUATIONS[session][0]}.txt"
    text = path.read_bytes()
    assert text.count(old.encode()) == 1
    path.write_bytes(text.replace(old.encode(), new if isinstance(new, bytes) else new.encode()))
    return path


def test_turns_follow_start_times_not_names_and_header_and_raters_are_no_turns(release):
    table = load(release).table
    assert table["id"].tolist() == ["Ses01F_impro05_F020", "Ses01F_impro05_M003", "Ses01F_impro05_F019",
                                    "Ses05M_script01_1b_F003", "Ses05M_script01_1b_M004"]
    assert table["turn"].tolist() == [0, 1, 2, 0, 1]
    assert table["start"].tolist() == [9.5, 11.0, 140.225, 6.2901, 8.0]
    assert table["end"].tolist() == [12.0, 13.25, 145.6, 8.2357, 9.0]


def test_the_talker_is_the_suffix_of_the_id(release):
    table = load(release).table
    assert table["speaker"].tolist() == ["Ses01F", "Ses01M", "Ses01F", "Ses05F", "Ses05M"]
    assert table["dialogue"].tolist() == ["Ses01F_impro05"] * 3 + ["Ses05M_script01_1b"] * 2
    assert table["session"].tolist() == ["Session1"] * 3 + ["Session5"] * 2


def test_happy_holds_excited_and_labels_outside_the_four_stay_as_history(release):
    corpus = load(release)
    assert corpus.table["raw_label"].tolist() == ["exc", "xxx", "ang", "hap", "neu"]
    assert corpus.table["label"].tolist() == ["happy", None, "angry", "happy", "neutral"]
    six = load_corpus("iemocap", release, classes=6)
    assert six.table["label"].tolist() == ["excited", None, "angry", "happy", "neutral"]
    assert not corpus.embeddable and "California" in corpus.licence


def test_words_keep_their_marks_and_colons_and_audio_is_the_sentence(release):
    corpus = load(release)
    assert corpus.table["text"].tolist() == ["I got in! [LAUGHTER]", "You did?", "What: again?", "Excuse me.", "Yes."]
    wav = release / "Session1" / "sentences" / "wav" / "Ses01F_impro05" / "Ses01F_impro05_F019.wav"
    assert corpus["Ses01F_impro05_F019"].audio == wav


def test_transcriptions_without_label_or_id_are_counted(release):
    notes = load(release).notes
    assert "1 transcription lines without a label were passed over" in notes
    assert "1 transcription lines without an id were passed over" in notes


@pytest.mark.parametrize("name", ["Ses05M_script01_1b_F003", "Ses05F_script02_2_M041", "Ses01F_impro01_F000",
                                  "Ses03M_impro05a_M010", "Ses04F_script03_1_F000"])
def test_every_form_of_id_is_read(name):
    assert TURN.fullmatch(f"[1.0000 - 2.0000]\t{name}\tneu\t[2.5000, 2.5000, 2.5000]")[3] == name


@pytest.mark.parametrize("name", ["Ses06F_impro01_F000", "Ses01F_impro01_F00", "Ses01F_impro10_F000",
                                  "Ses01F_impro01_MXX0"])
def test_no_other_id_is_read(name):
    assert not TURN.fullmatch(f"[1.0000 - 2.0000]\t{name}\tneu\t[2.5000, 2.5000, 2.5000]")


def test_attributes_without_dominance_are_no_hindrance(release):
    edit(release, "EmoEvaluation", "[1.5000, 4.0000, 4.5000]", "[1.5000, 4.0000]")
    assert len(load(release)) == 5


@pytest.mark.parametrize(("kind", "old", "new", "line", "words"), [
    ("EmoEvaluation", "\tang\t", "\tangry\t", 3, ["'angry'", "ang, hap, exc", "Ses01F_impro05_F019"]),
    ("EmoEvaluation", "C-E1:\tAnger", "Z-E1:\tAnger", 4, ["Z-E1:\\tAnger", "rater"]),
    ("EmoEvaluation", "[140.2250 - 145.6000]", "[145.6000 - 140.2250]", 3, ["start before the end"]),
    ("EmoEvaluation", "impro05_F020", "impro05_F019", 10, ["Ses01F_impro05_F019", "once"]),
    ("EmoEvaluation", "Ses01F_impro05_F020", "Ses01F_impro06_F020", 10, ["Ses01F_impro06_F020", "in its own"]),
    ("transcriptions", "[011.0000-013.2500]", "[011.0000]", 2, ["[011.0000]", "id [start-end]: words"]),
    ("transcriptions", "Ses01F_impro05_M003", "Ses01F_impro05_F020", 2, ["Ses01F_impro05_F020", "one transcription"]),
    ("transcriptions", "You did?", b"You did\x85", 2, ["UTF-8"]),
])
def test_anything_else_is_named_by_file_line_and_value(release, kind, old, new, line, words):
    path = edit(release, kind, old, new)
    with pytest.raises(BadInput) as error:
        load(release)
    assert f"{path}:{line}: " in str(error.value)
    assert all(word in str(error.value) for word in words)
    skipped = load(release, on_error="skip").skipped
    assert f"{path}:{line}" in skipped["where"].tolist()


def test_a_session_under_another_name_is_refused(release):
    (release / "Session5").rename(release / "Session4")
    with pytest.raises(BadInput, match=r"Ses05M_script01_1b_F003.*in its own .*session"):
        load(release)


def test_a_missing_transcription_is_named_and_can_be_skipped(release):
    path = edit(release, "transcriptions", "Ses01F_impro05_M003 [011.0000-013.2500]: You did?\n", "")
    where = r"EmoEvaluation/Ses01F_impro05.txt:13: utterance Ses01F_impro05_M003"
    with pytest.raises(BadInput, match=f"{where}.*transcription"):
        load(release)
    path.unlink()
    corpus = load(release, on_error="skip")
    assert len(corpus) == 2 and corpus.skipped["utterance"].str[-4:].tolist() == ["F019", "F020", "M003"]


def test_a_missing_evaluation_and_a_missing_or_empty_wav_are_named(release):
    wav = release / "Session5" / "sentences" / "wav" / "Ses05M_script01_1b" / "Ses05M_script01_1b_M004.wav"
    wav.write_bytes(b"")
    with pytest.raises(BadInput, match=r"Ses05M_script01_1b_M004.*0 bytes"):
        load(release)
    wav.unlink()
    with pytest.raises(BadInput, match=r"Ses05M_script01_1b_M004.*missing"):
        load(release)
    assert len(load(release, on_error="skip")) == 4
    assert len(load(release, check="none")) == 5
    (release / "Session5" / "dialog" / "EmoEvaluation" / "Ses05M_script01_1b.txt").unlink()
    with pytest.raises(BadInput, match=r"EmoEvaluation/Ses05M_script01_1b.txt: .*evaluation file"):
        load(release)


def test_files_of_macos_are_ignored(release):
    for kind in ("EmoEvaluation", "transcriptions"):
        (release / "Session1" / "dialog" / kind / "._Ses01F_impro05.txt").write_bytes(b"\x00\x05\x16\x07")
    assert len(load(release)) == 5


def test_a_release_without_sound_is_text_alone(release):
    for session in (1, 5):
        shutil.rmtree(release / f"Session{session}" / "sentences")
    corpus = load(release)
    assert corpus.table["audio"].isna().all()
    assert "no sentences/wav: read as text alone" in corpus.notes


def test_the_full_release_folder_is_found_and_no_release_is_missing(release, tmp_path):
    outer = tmp_path / "outer"
    outer.mkdir()
    with pytest.raises(Missing, match="Session1/dialog"):
        load(outer)
    shutil.copytree(release / "Session5", outer / "IEMOCAP_full_release" / "Session5")
    assert len(load(outer)) == 2


def test_the_known_counts_are_those_of_the_fact_table():
    totals = [sum(counts) for counts in RELEASE.values()]
    assert totals == [1819, 1811, 2136, 2103, 2170]
    assert dict(zip(LABELS, map(sum, zip(*RELEASE.values(), strict=True)), strict=True)) == {
        "ang": 1103, "hap": 595, "exc": 1041, "sad": 1084, "neu": 1708, "fru": 1849, "xxx": 2507, "sur": 107, "fea": 40,
        "dis": 2, "oth": 3}
    assert [sum(counts[:5]) for counts in RELEASE.values()] == [1085, 1023, 1151, 1031, 1241]


def test_notes_name_session_and_class_that_differ(release, monkeypatch):
    here = {"ang": 1, "exc": 1, "xxx": 1}, {"hap": 1, "neu": 2}
    known = {s: tuple(n.get(label, 0) for label in LABELS) for s, n in zip(("Session1", "Session5"), here, strict=True)}
    monkeypatch.setattr("mer_kit.corpora.iemocap.RELEASE", known | {"Session3": RELEASE["Session3"]})
    about = [note for note in load(release).notes if note.startswith("Session")]
    assert about == ["Session5 differs from the full release: all got 2, expected 3; 4-class got 2, expected 3; "
                     "neu got 1, expected 2",
                     "Session3 is absent; the full release has 2136 utterances in it"]
