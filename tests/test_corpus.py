"""The contract: utterances in time order, labels with one colour each, hashes, intake, and errors that mend."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from mer_kit.corpora import data_folder, load_corpus, make_table
from mer_kit.corpora.corpus import COLUMNS, Corpus
from mer_kit.corpora.intake import Intake
from mer_kit.errors import BadInput, MerKitError, Missing, pick, unknown
from mer_kit.labels import COLOURS, LABEL_SETS, LabelSet, colour, emotion_of, label_set

FOUR = label_set("iemocap-4")


def row(uid: str, dialogue: str, start: float, raw: str, **more) -> dict:
    return {"id": uid, "dialogue": dialogue, "speaker": "F", "session": "S1", "text": f"text of {uid}", "audio": None,
            "start": start, "end": start + 1, "raw_label": raw} | more


ROWS = [row("b", "d2", 5.0, "exc"), row("a", "d2", 1.0, "xxx"), row("c", "d2", 5.0, "ang"), row("z", "d1", 9.0, "neu")]


def corpus_of(rows: list[dict], labels: LabelSet = FOUR) -> Corpus:
    return Corpus("toy", labels, make_table(rows, labels), "none")


def test_rows_stand_in_time_order_within_sorted_dialogues_with_turns_counted():
    table = make_table(ROWS, FOUR)
    assert table.columns.tolist() == list(COLUMNS)
    assert table["id"].tolist() == ["z", "a", "b", "c"]  # b and c start together: by id
    assert table["turn"].tolist() == [0, 0, 1, 2]
    assert table["label"].tolist() == ["neutral", None, "happy", "angry"]
    assert make_table(ROWS[::-1], FOUR).equals(table)


def test_a_dialogue_that_spans_sessions_stays_in_time_order():
    rows = [row(str(i), "d", float(i), "ang", session=f"S{i % 2}") for i in range(4)]
    assert make_table(rows, FOUR)[["id", "turn"]].values.tolist() == [["0", 0], ["1", 1], ["2", 2], ["3", 3]]


def test_no_rows_are_refused():
    with pytest.raises(BadInput, match="no utterance was found"):
        make_table([], FOUR)


def test_iteration_lookup_targets_and_history():
    corpus = corpus_of(ROWS)
    assert len(corpus) == 4 and [u.id for u in corpus] == ["z", "a", "b", "c"]
    utterance = corpus["b"]
    assert (utterance.turn, utterance.label, utterance.audio, utterance.start) == (1, "happy", None, 5.0)
    assert corpus["a"].label is None
    assert corpus.targets["id"].tolist() == ["z", "b", "c"]
    assert corpus.history("c")["id"].tolist() == ["a", "b"]
    assert corpus.history("c", turns=1)["id"].tolist() == ["b"]
    assert corpus.history("c", turns=0).empty and corpus.history("z").empty
    with pytest.raises(BadInput, match="unknown utterance 'q'"):
        corpus["q"]


def test_another_label_set_keeps_the_utterances_and_relabels():
    six = corpus_of(ROWS).with_label_set(label_set("iemocap-6"))
    assert six.table["label"].tolist() == ["neutral", None, "excited", "angry"]
    assert six.with_label_set(FOUR).hash == corpus_of(ROWS).hash != six.hash


def test_a_missing_modality_is_named_with_the_first_utterance():
    rows = [*ROWS[:3], ROWS[3] | {"text": None}]
    with pytest.raises(Missing, match=r"no text for 1 of 3 labelled utterances \(first: z\)"):
        corpus_of(rows).require("text")
    corpus_of(ROWS).require("text")
    corpus_of([ROWS[1] | {"text": None}, *ROWS[2:]]).require("text")  # a turn that is history may lack it


@pytest.mark.parametrize("change", [{"text": "other"}, {"raw_label": "sad"}, {"speaker": "M"}, {"start": 0.5},
                                    {"dialogue": "d3"}, {"id": "bb"}, {"session": "S2"}])
def test_the_hash_moves_with_whatever_can_change_a_result(change):
    assert corpus_of([ROWS[0] | change, *ROWS[1:]]).hash != corpus_of(ROWS).hash


def test_the_hash_knows_sound_by_name_and_size_not_by_folder(tmp_path):
    def with_sound(folder: str, size: int) -> str:
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "a.wav").write_bytes(b"x" * size)
        return corpus_of([ROWS[0] | {"audio": str(tmp_path / folder / "a.wav")}, *ROWS[1:]]).hash

    assert with_sound("here", 5) == with_sound("there", 5) != with_sound("here", 6)
    assert corpus_of(ROWS[::-1]).hash == corpus_of(ROWS).hash


def test_every_label_of_every_set_has_the_one_colour_of_its_emotion():
    assert len(set(COLOURS.values())) == len(COLOURS)
    for labels in LABEL_SETS.values():
        assert labels.name.endswith(f"-{len(labels)}")
        assert len(set(labels.palette.values())) == len(labels)  # no two classes look the same
        assert labels.palette == {c: COLOURS[emotion_of(c)] for c in labels.classes}
        assert [labels.index(c) for c in labels.classes] == list(range(len(labels)))
    assert colour("ang") == colour("angry") == colour("anger") and colour("hap") == colour("happiness") == colour("joy")
    assert colour("exc") != colour("hap")


def cie_lab(linear: np.ndarray) -> np.ndarray:
    """Linear sRGB (n, 3) -> CIE L*a*b* under D65."""
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = linear.clip(0, 1) @ to_xyz.T / [0.9505, 1, 1.089]
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116).T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)


@pytest.mark.parametrize("seen", [
    np.eye(3),
    np.array([[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]]),  # protanopia, Viénot 1999
    np.array([[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]]),  # deuteranopia, Viénot 1999
], ids=["normal", "protanopia", "deuteranopia"])
def test_colours_stay_apart_for_colour_blind_readers(seen):
    """No two emotions come nearer than 9 units of CIE L*a*b* (about 2 can just be told apart)."""
    rgb = np.array([[int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)] for c in COLOURS.values()])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    assert pdist(cie_lab(linear @ seen.T)).min() > 9


@pytest.mark.parametrize(("call", "words"), [
    (lambda: emotion_of("angri"), "unknown emotion label 'angri'; expected one of: anger, .*did you mean 'angry'"),
    (lambda: label_set("iemocap-5"), "unknown label set 'iemocap-5'; expected one of: duet-4.*did you mean 'iemocap-"),
    (lambda: FOUR.index("joy"), "unknown class 'joy'; expected one of: angry, happy, sad, neutral"),
    (lambda: load_corpus("dute"), "unknown corpus 'dute'; expected one of: duet, nemo, .* did you mean 'duet'"),
    (lambda: load_corpus("duet", classes=5), "unknown label set 'duet-5'; expected one of: duet-4, duet-7"),
    (lambda: pick("colour", "rde", {"red": 1}), "unknown colour 'rde'; expected one of: red; did you mean 'red'"),
    (lambda: Intake("ignore"), "unknown on_error 'ignore'; expected one of: raise, skip"),
])
def test_unknown_names_list_the_valid_ones_and_the_nearest(call, words):
    with pytest.raises(BadInput, match=words):
        call()


def test_a_far_name_has_no_nearest_and_any_object_can_be_wrong():
    assert str(unknown("corpus", "xyz", ["duet"])) == "unknown corpus 'xyz'; expected one of: duet"
    assert "unknown k '3'" in str(unknown("k", 3, [1, 2]))
    assert pick("colour", "red", {"red": 1}) == 1
    assert issubclass(BadInput, ValueError) and issubclass(BadInput, MerKitError) and issubclass(Missing, MerKitError)


def test_intake_raises_or_lists():
    with pytest.raises(BadInput, match=r"^a\.csv:3: utterance u1: the clip is silent; got 'x\.wav'\. Mend it, or pass"):
        Intake().reject("a.csv:3", "x.wav", "the clip is silent", "u1")
    intake = Intake("skip")
    assert intake.skipped.empty and intake.skipped.columns.tolist() == ["where", "utterance", "value", "reason"]
    intake.reject("a.csv:3", Path("x.wav"), "the clip is silent", "u1")
    intake.reject("a.csv:4", 7, "no id")
    assert intake.skipped["where"].tolist() == ["a.csv:3", "a.csv:4"]
    assert intake.skipped["value"].tolist() == ["x.wav", "7"] and intake.skipped["utterance"].isna().tolist() == [0, 1]
    assert intake.skipped["reason"].tolist() == ["the clip is silent", "no id"]
    intake.note("read as cp1252")
    intake.note("read as cp1252")
    assert intake.notes == ["read as cp1252"]


def test_where_real_corpora_are_looked_for(tmp_path, monkeypatch):
    monkeypatch.delenv("MER_KIT_DATA", raising=False)
    with pytest.raises(Missing, match=r"'meld' is not part of mer_kit; say where .*MER_KIT_DATA/meld.*use 'duet'"):
        load_corpus("meld")
    with pytest.raises(Missing, match=r"was looked for in .*nowhere, which is no folder"):
        data_folder("meld", tmp_path / "nowhere")
    monkeypatch.setenv("MER_KIT_DATA", str(tmp_path))
    (tmp_path / "meld").mkdir()
    assert data_folder("meld") == tmp_path / "meld" and data_folder("meld", tmp_path) == tmp_path


def test_a_corpus_can_be_sent_to_another_process():
    corpus = load_corpus("duet")
    copy = pickle.loads(pickle.dumps(corpus))
    assert copy.hash == corpus.hash and copy.label_set == corpus.label_set
