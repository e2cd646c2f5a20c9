"""Where models look: values brought to words and frames, and against the cues, by loops over hand-made attention."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_looks import BLOCKS, CORPUS, IDS, RATE, ROWS, C, attention_of, frames_of, trained, words_of

from mer_kit.corpora.audio import AudioReader
from mer_kit.errors import BadInput, Missing
from mer_kit.evaluation.grounding import frame_grounding, token_grounding
from mer_kit.training.looking import cue_grounding, look, seen_in


def test_labels_look_at_words_by_their_largest_token():
    for utterance, seen in seen_in(trained("lsgmer"), IDS):
        attention, _ = attention_of("lsgmer", utterance)
        assert (seen.of_frames == attention["label_frame"][0].numpy()).all()
        assert seen.predicted == (C - 1 if utterance == IDS[0] else 0)
        for word in range(len(CORPUS[utterance].text.split())):
            own = [t for t, of in enumerate(words_of(utterance).tolist()) if of == word]
            for c in range(C):
                assert seen.of_words[word, c] == max(attention["label_token"][0, t, c].item() for t in own)


def test_joint_vectors_look_by_blocks_without_the_cls():
    [(utterance, seen)] = seen_in(trained("jfm"), IDS[:1])
    attention, _ = attention_of("jfm", utterance)
    assert seen.of_frames.shape == (frames_of(utterance), BLOCKS)
    for step, block in ((0, 0), (3, 1)):
        cells = [attention["joint_patch"][0, 1 + ROWS * step + row, block].mean().item() for row in range(ROWS)]
        assert seen.of_frames[step, block] == pytest.approx(sum(cells) / ROWS, abs=1e-6)
    last = attention["joint_token"][0, -2].mean(dim=-1)
    assert seen.of_words[-1] == pytest.approx(last.numpy(), abs=1e-6)


def test_a_model_that_looks_nowhere_is_named():
    model = trained("lsgmer")
    whole = model.outputs
    model.outputs = lambda utterances: ((b, replace(o, attention={})) for b, o in whole(utterances))
    with pytest.raises(Missing, match="this lsgmer has no attention of labels or joint vectors"):
        next(seen_in(model, IDS))


def test_a_look_holds_the_sound_and_the_places_of_words():
    found, row = look(trained(), IDS[0]), CORPUS.truth.loc[IDS[0]]
    assert found.words == CORPUS[IDS[0]].text.split() and found.frame_rate == RATE
    assert found.word_starts == row["word_starts"] and found.word_ends == row["word_ends"]
    assert (found.samples == AudioReader()(CORPUS[IDS[0]])).all() and found.lines == CORPUS.label_set.palette
    assert found.title == f"{IDS[0]}: {CORPUS[IDS[0]].label}, taken for {CORPUS.label_set.classes[-1]}"
    vectors = look(trained("jfm"), IDS[0])
    assert list(vectors.lines) == ["block 1", "block 2"] and len(set(vectors.lines.values())) == 2


def test_words_without_known_places_stand_evenly_and_may_be_hidden():
    found = look(trained(corpus=replace(CORPUS, truth=None)), IDS[0], show_text=False)
    seconds = len(found.samples) / 16_000
    assert found.truth is None and found.word_starts[0] == 0 and found.word_ends[-1] == pytest.approx(seconds)
    assert np.diff(found.word_starts) == pytest.approx(seconds / len(found.words))
    assert found.words[:2] == ["word 1", "word 2"]


def test_a_word_that_was_cut_off_is_not_drawn():
    model = trained()
    model.stage.text = lambda fold: (None, type("Cut", (), {"words": staticmethod(
        lambda u: torch.where(words_of(u) == 1, -1, words_of(u)))}))
    found = look(model, IDS[0])
    assert np.isnan(found.of_words[1]).all() and np.isfinite(found.of_words[[0, 2]]).all()


def test_an_utterance_without_words_is_refused():
    table = CORPUS.table.assign(text=CORPUS.table["text"].where(CORPUS.table["id"] != IDS[0], ""))
    with pytest.raises(BadInput, match=f"utterance '{IDS[0]}' has no words"):
        look(trained(corpus=replace(CORPUS, table=table)), IDS[0])


def test_grounding_reads_the_predicted_column_or_the_last_block():
    table = cue_grounding({"LE-MER": trained(), "JFM": trained("jfm")})
    by = table[table["measure"] == "ap"].set_index(["part", "source"])["mean"]
    assert set(by.index) == {(p, s) for p in ("words", "voice") for s in ("LE-MER", "JFM", "chance")}
    for name, model in (("LE-MER", "lemer"), ("JFM", "jfm")):
        seen = dict(seen_in(trained(model), IDS))
        column = {u: -1 if model == "jfm" else seen[u].predicted for u in IDS}
        words = token_grounding({u: seen[u].of_words[:, column[u]] for u in IDS}, CORPUS.truth)
        voice = frame_grounding({u: seen[u].of_frames[:, column[u]] for u in IDS}, CORPUS.truth, RATE)
        assert by["words", name] == pytest.approx(words["ap"].mean())
        assert by["voice", name] == pytest.approx(voice["ap"].mean())
    with pytest.raises(Missing, match="the cues of duet are not known"):
        cue_grounding({"LE-MER": trained(corpus=replace(CORPUS, truth=None))})
