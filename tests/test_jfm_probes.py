"""What is measured of JFM beside its scores: what its vectors carry, and what its sizes cost."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from small_experiments import SMALL, experiments_on, slice_of_duet

from mer_kit.batch import Batch, Padded
from mer_kit.errors import Missing
from mer_kit.models.jfm import JFMConfig
from mer_kit.training.experiments import stage_of
from mer_kit.training.jfm_probes import _with_strangers, cue_probe, strangers
from mer_kit.training.measured import measured_costs
from mer_kit.training.restore import restored
from mer_kit.training.studies import Study

SMALL_JFM = replace(SMALL, model="jfm", jfm=JFMConfig(extractor=1, feed_forward=16, heads=2, tokens="current"))
ALONE = replace(SMALL_JFM, jfm=replace(SMALL_JFM.jfm, joint=0))


@pytest.fixture(scope="module", autouse=True)
def small():
    with experiments_on(slice_of_duet()):
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    ledger = tmp_path_factory.mktemp("ledger")
    return {name: restored(e, ledger, progress=False) for name, e in (("JFM", SMALL_JFM), ("w/o v_j", ALONE))}


def test_strangers_move_a_stream_through_vectors_alone(trained):
    with torch.no_grad():
        for parameter in trained["JFM"].model.fusion.parameters():
            parameter.mul_(3)  # an epoch of this size carries little
    test = trained["JFM"].fold.test
    moved, still = (strangers(t, test).set_index(["stream", "partner"]) for t in trained.values())
    for stream in ("text", "mel"):
        assert moved.loc[(stream, "own"), "moved"] == 0 and moved.loc[(stream, "a stranger's"), "moved"] > 1e-3
        assert still.loc[(stream, "a stranger's"), "moved"] == pytest.approx(0, abs=1e-5)
        assert still.loc[(stream, "own"), "WA"] == still.loc[(stream, "a stranger's"), "WA"]


def test_a_stranger_brings_all_of_the_other_modality():
    text = Padded.of([torch.arange(3), torch.arange(5, 7)])
    speech = Padded.of([torch.ones(2, 4), torch.zeros(3, 4)])
    batch = Batch(("a", "b"), torch.tensor([0, 1]), text, text.values > 1, speech)
    heard, read = _with_strangers(batch, "text"), _with_strangers(batch, "mel")
    assert heard.text is batch.text and torch.equal(heard.speech.values[0], speech.values[1])
    assert heard.speech.lengths.tolist() == [3, 2]
    assert read.speech is batch.speech and read.text.values.tolist() == [[5, 6, 0], [0, 1, 2]]
    assert torch.equal(read.current[1], batch.current[0]) and read.text.lengths.tolist() == [2, 3]


def test_a_probe_finds_a_cue_that_is_carried_on_purpose(trained, monkeypatch):
    """Where the CLS of text simply holds the voice's cue, the probe is always right; of mel it knows no more."""
    jfm = trained["w/o v_j"]
    truth, classes = jfm.stage.corpus.truth, sorted(set(jfm.stage.corpus.truth["emotion"]))
    usual, [d_m] = jfm.model.forward, jfm.model.norm.normalized_shape

    def telling(batch):
        output = usual(batch)
        for row, u in enumerate(batch.ids):
            if (cue := truth.at[u, "voice_cue"]) is not None:
                output.features[row, :len(classes)] = 9 * torch.eye(len(classes))[classes.index(cue)]
        return output

    before = cue_probe({"as it is": jfm}).set_index("stream")
    monkeypatch.setattr(jfm.model, "forward", telling)
    after = cue_probe({"telling": jfm}).set_index("stream")
    assert after.loc["text", "accuracy"] == 1 and before.loc["text", "accuracy"] < 0.9 and d_m > 0
    assert after.loc["mel"].drop("system").equals(before.loc["mel"].drop("system"))
    test = truth.loc[list(jfm.fold.test)]
    assert after["n"].to_dict() == {"text": test["voice_cue"].notna().sum(), "mel": test["text_cue"].notna().sum()}


def test_a_corpus_without_known_cues_is_refused(trained):
    jfm = trained["JFM"]
    stage = type("Stage", (), {"corpus": replace(stage_of(SMALL_JFM).corpus, truth=None)})()
    with pytest.raises(Missing, match="the cues of duet are not known"):
        cue_probe({"JFM": replace(jfm, stage=stage)})


def test_more_blocks_and_vectors_cost_more():
    """A vector of either side is 16 numbers a block; its cost is that exactly."""
    rows = {"usual": SMALL_JFM, "twice the vectors": replace(SMALL_JFM, jfm=replace(SMALL_JFM.jfm, joint=8)),
            "three blocks": replace(SMALL_JFM, jfm=replace(SMALL_JFM.jfm, blocks=3))}
    table = measured_costs(Study("", rows, reference="usual"), steps=1, device="cpu")
    assert list(table.index) == list(rows) and (table["s a step"] > 0).all()
    alone = Study("", {"usual": SMALL_JFM}, reference="usual")
    assert measured_costs(alone, steps=0, device="cpu")["s a step"].isna().all()
    usual = table.loc["usual"]
    assert 1e6 * (table.loc["twice the vectors", "million parameters"] - usual["million parameters"]) == pytest.approx(
        2 * 4 * (16 + 16))
    assert table.loc["twice the vectors", "GiB"] > usual["GiB"] < table.loc["three blocks", "GiB"]
