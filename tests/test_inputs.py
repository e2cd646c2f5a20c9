"""From utterances to tensors: history spliced by the paper's rule, sound computed once, frozen states, batches."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import soundfile as sf
import torch
from small_inputs import RATE, clips, make

from mer_kit.corpora import load_corpus
from mer_kit.corpora.corpus import Corpus, make_table
from mer_kit.encoders.acoustics import acoustic_frames
from mer_kit.encoders.text import train_tokenizer
from mer_kit.errors import BadInput, Missing
from mer_kit.features.inputs import SpeechInputs, TextInputs, collate
from mer_kit.features.store import FeatureStore


class Words:
    """A tokenizer whose tokens are words, numbered as they come; [CLS] 1, [SEP] 2."""

    cls_token_id, sep_token_id = 1, 2

    def __init__(self):
        self.number = {}

    def __call__(self, texts, add_special_tokens, verbose):
        return {"input_ids": [[self.number.setdefault(w, 10 + len(self.number)) for w in t.split()] for t in texts]}

    def read(self, ids) -> str:
        names = {n: w for w, n in self.number.items()} | {1: "[", 2: "]"}
        return " ".join(names[int(i)] for i in ids)


def spliced(utterance: str, corpus=None, **options) -> tuple[str, str, dict]:
    words = Words()
    inputs = TextInputs(corpus or make(), words, **options)
    ids, current = inputs(utterance)
    assert ids.dtype == torch.int64 and current.dtype == torch.bool and ids.shape == current.shape
    return words.read(ids), words.read(ids[current]), dict(+inputs.counts)


# text

@pytest.mark.parametrize(("utterance", "text", "own"), [
    ("d0", "[ one two three ]", "one two three"),
    ("d1", "[ one two three ] four five ]", "four five"),
    ("d2", "[ one two three ] four five ] ]", "]"),  # nothing said: its last mark
    ("d3", "[ one two three ] four five ] six ]", "six"),
    ("d6", "[ one two three ] four five ] six ] seven eight nine ten ] two ]", "two"),
])
def test_history_stands_before_the_utterance_oldest_first(utterance, text, own):
    assert spliced(utterance) == (text, own, {})


def test_history_can_be_shortened_or_left_out_and_never_comes_from_another_dialogue():
    assert spliced("d6", history_turns=0)[:2] == ("[ two ]", "two")
    assert spliced("d6", history_turns=2)[0] == "[ seven eight nine ten ] two ]"  # the turn without text is one of two
    assert spliced("d4", history_turns=3)[0] == "[ four five ] six ] seven eight nine ten ]"
    both = make()
    other = make(["other words"], dialogue="e")
    joined = replace(both, table=make_table(
        [*both.table.to_dict("records"), *other.table.to_dict("records")], both.label_set, "turn"))
    assert spliced("e0", joined)[0] == "[ other words ]" and spliced("d1", joined)[0] == spliced("d1")[0]


@pytest.mark.parametrize(("limit", "text", "counts"), [
    (17, "[ one two three ] four five ] six ] seven eight nine ten ] two ]", {}),
    (16, "[ four five ] six ] seven eight nine ten ] two ]", {"histories cut": 1}),
    (13, "[ four five ] six ] seven eight nine ten ] two ]", {"histories cut": 1}),
    (12, "[ six ] seven eight nine ten ] two ]", {"histories cut": 1}),
    (7, "[ two ]", {"histories cut": 1}),  # the turn that does not fit is not jumped over
])
def test_whole_turns_are_left_out_the_oldest_first(limit, text, counts):
    assert spliced("d6", max_tokens=limit) == (text, "two", counts)


def test_an_utterance_too_long_by_itself_loses_its_end_and_all_is_counted_once():
    assert spliced("d4", max_tokens=5) == ("[ seven eight nine ]", "seven eight nine",
                                            {"histories cut": 1, "texts cut": 1})
    words = Words()
    inputs = TextInputs(make(), words, max_tokens=5)
    for _ in range(2):
        lengths = [len(inputs(f"d{i}")[0]) for i in range(7)]
    assert max(lengths) == 5 and inputs.counts["texts cut"] == 1


def test_a_real_tokenizer_any_text_and_the_papers_limits():
    tokenizer = train_tokenizer(load_corpus("duet").targets["text"])
    texts = ["😀 ☃", "שלום עולם", "<b>no</b> markup", "word " * 10_000, "so happy"]
    inputs = TextInputs(make(texts), tokenizer)
    for i in range(5):
        ids, current = inputs(f"d{i}")
        assert 3 <= len(ids) <= 150 and current.any() and ids[0] == tokenizer.cls_token_id
        assert ids[-1] == tokenizer.sep_token_id and not current[-1]
    assert len(inputs("d3")[0]) == 150 and inputs.counts["texts cut"] == 1
    ids, current = inputs("d4")
    assert tokenizer.decode(ids[current]) == "so happy"


def test_text_inputs_refuse_what_they_cannot_do():
    with pytest.raises(Missing, match="has no text for 1 of 1 labelled"):
        TextInputs(replace(make(["a"]), table=make(["a"]).table.assign(text=None)), Words())
    with pytest.raises(BadInput, match="max_tokens is 2; expected 3 or more"):
        TextInputs(make(), Words(), max_tokens=2)
    with pytest.raises(BadInput, match="unknown utterance 'd77'"):
        TextInputs(make(), Words())("d77")


# speech

@pytest.fixture
def sounding(tmp_path) -> Corpus:
    return clips(tmp_path)


def test_frames_and_waves_are_those_of_the_file(sounding):
    samples = torch.from_numpy(sf.read(sounding["d2"].audio, dtype="float32")[0])
    assert SpeechInputs(sounding, "waves")("d2").equal(samples)
    assert SpeechInputs(sounding)("d2").equal(acoustic_frames(samples))


def test_long_clips_are_cut_short_ones_padded_and_both_counted(sounding):
    inputs = SpeechInputs(sounding, "waves", max_seconds=1.0).fill(sounding.table["id"])
    assert [len(inputs(f"d{i}")) for i in (0, 1, 2, 3)] == [1_600, 4_000, 16_000, 16_000]
    assert (inputs.counts["padded"], inputs.counts["cut"]) == (1, 1)


def test_sound_is_computed_once_here_and_in_the_next_process(sounding, tmp_path, monkeypatch):
    folder = tmp_path / "store"
    first = SpeechInputs(sounding, store=FeatureStore(folder)).fill(sounding.table["id"])
    assert first.store.counts == {"computed": 7}
    memory = SpeechInputs(sounding)
    expected = memory("d3")
    monkeypatch.setattr("mer_kit.features.inputs.acoustics.acoustic_frames", lambda s: pytest.fail("computed again"))
    assert memory("d3") is expected
    again = SpeechInputs(sounding, store=FeatureStore(folder))
    assert again("d3").equal(expected) and again.store.counts == {"read": 1}


def test_other_sound_or_another_recipe_is_another_feature(sounding, tmp_path):
    store = FeatureStore(tmp_path / "store")
    SpeechInputs(sounding, store=store)("d3")
    SpeechInputs(sounding, max_seconds=1.0, store=store)("d3")
    SpeechInputs(sounding, "waves", store=store)("d3")
    samples, _ = sf.read(sounding["d3"].audio, dtype="float32")
    sf.write(sounding["d3"].audio, samples * 0.99, RATE, subtype="FLOAT")
    SpeechInputs(sounding, store=store)("d3")
    part = replace(sounding, table=sounding.table.assign(start=0.2, end=0.7, segment=True))
    assert len(SpeechInputs(part, store=store)("d3")) == 1 + (8_000 - 400) // 160
    assert store.counts == {"computed": 5}


def test_bad_sound_is_named(sounding):
    sf.write(sounding["d1"].audio, np.full(4_000, np.nan), RATE, subtype="FLOAT")
    sounding["d2"].audio.unlink()
    inputs = SpeechInputs(sounding)
    with pytest.raises(BadInput, match=r"1\.wav: utterance d1: the audio holds NaN"):
        inputs("d1")
    with pytest.raises(BadInput, match=r"2\.wav: utterance d2: the audio file is missing"):
        inputs("d2")
    with pytest.raises(Missing, match="has no audio for 6 of 6 labelled"):
        SpeechInputs(make())
    with pytest.raises(BadInput, match=r"unknown kind of speech input 'wave'.*did you mean 'waves'"):
        SpeechInputs(sounding, "wave")


def test_frames_of_duet_are_finite_voiced_in_part_and_of_one_scale():
    corpus = load_corpus("duet")
    inputs = SpeechInputs(corpus).fill(corpus.table["id"][:100])
    frames = torch.cat([inputs(u) for u in corpus.table["id"][:100]])
    assert frames.isfinite().all() and 0.3 < (frames[:, 81] > 0.45).float().mean() < 0.95
    assert frames.abs().max() < 15  # of one scale with the bands


# batches

def test_a_batch_of_ragged_utterances(sounding):
    words = Words()
    text, speech = TextInputs(make(), words, history_turns=1), SpeechInputs(sounding)
    batch = collate(["d1", "d4", "d2"], text, speech, {"d1": 2, "d4": 0, "d2": 3})
    assert batch.ids == ("d1", "d4", "d2") and batch.labels.tolist() == [2, 0, 3] and len(batch) == 3
    for i, u in enumerate(batch.ids):
        ids, current = text(u)
        assert batch.text.values[i, : len(ids)].equal(ids) and batch.text.mask[i].sum() == len(ids)
        assert batch.current[i, : len(ids)].equal(current) and not batch.current[i, len(ids) :].any()
        assert batch.speech.values[i, : len(speech(u))].equal(speech(u))
        assert batch.speech.mask[i].sum() == len(speech(u)) and not batch.speech.values[i, len(speech(u)) :].any()


def test_a_batch_of_one_modality_or_without_labels(sounding):
    batch = collate(["d1"], speech_inputs=SpeechInputs(sounding, "waves"))
    assert (batch.text, batch.current, batch.labels) == (None, None, None) and batch.speech.values.shape == (1, 4_000)
    batch = collate(["d1"], TextInputs(make(), Words()), labels={"d1": 1})
    assert batch.speech is None and batch.labels.tolist() == [1]


def test_inputs_and_encoders_import_where_sound_and_notebooks_are_absent():
    absent = ("soundfile", "jupyterlab", "papermill", "plotly", "dask", "ipywidgets")
    code = (f"import sys; sys.modules.update(dict.fromkeys({absent}))\n"
            "import mer_kit.features.inputs, mer_kit.features.batching\n"
            "import mer_kit.encoders.text, mer_kit.encoders.speech\n"
            "assert 'transformers' not in sys.modules and 'torchaudio' not in sys.modules")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
