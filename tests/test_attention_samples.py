"""Attention of trained models: cut to what is real, brought to words, measured where the cue is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from small_lemer import FRAMES, TOKENS, C, batch_of, close, model, unimodal

from mer_kit.corpora import load_corpus
from mer_kit.corpora.audio import AudioReader
from mer_kit.errors import BadInput, Missing
from mer_kit.evaluation.grounding import frame_grounding, loudest_frame, rarest_word, token_grounding
from mer_kit.training.attention import (
    attention_samples,
    features_of,
    grounding,
    grounding_summary,
    word_attention,
)

RATE = 25.0  # frames a second


@pytest.fixture
def lemer():
    made = model()
    made.speech_encoder.frame_rate = RATE
    return made


def words_of(utterance: str) -> torch.Tensor:
    return torch.arange(TOKENS[int(utterance[1])]) - 1


def test_samples_are_those_of_each_utterance_alone(lemer):
    samples = attention_samples(lemer.train(), [batch_of((0, 1), padding=2), batch_of((2,))], words_of, maps=2)
    assert lemer.training and samples.pop("frame_rate") == RATE
    for i, (tokens, frames) in enumerate(zip(TOKENS, FRAMES, strict=True)):
        output = lemer.eval()(batch_of((i,)))
        alone = output.attention | {"features": output.features}
        assert samples[f"label_token/u{i}"].shape == (tokens, C) and samples[f"label_frame/u{i}"].shape == (frames, C)
        kept = [key.split("/")[0] for key in samples if key.endswith(f"/u{i}")]
        assert sorted(kept) == sorted(["label_token", "label_frame", "features", "words",
                                       *["token_frame", "guided"] * (i < 2)])
        for name in set(kept) - {"words"}:
            close(samples[f"{name}/u{i}"], alone[name][0])
        assert samples[f"words/u{i}"].tolist() == words_of(f"u{i}").tolist()
    assert not any(values.requires_grad for values in samples.values())


def test_a_unimodal_model_gives_what_it_has():
    text = attention_samples(unimodal("text"), [batch_of()])
    assert sorted(text) == [f"{name}/u{i}" for name in ("features", "label_token") for i in range(3)]
    plain = unimodal("speech", labelled=False)
    samples = attention_samples(plain, [batch_of()], words_of)
    assert sorted(samples) == ["features/u0", "features/u1", "features/u2"]
    with torch.no_grad():
        close(torch.stack(list(samples.values())), plain.eval()(batch_of()).features)


def test_features_are_rows_by_utterance(lemer):
    samples = attention_samples(lemer, [batch_of()])
    table = features_of(SimpleNamespace(attention=samples))
    assert table.index.tolist() == ["u0", "u1", "u2"]
    assert (table.loc["u1"].to_numpy() == samples["features/u1"].numpy()).all()
    with pytest.raises(Missing, match=r"keeps no features.*delete abc in its ledger"):
        features_of(SimpleNamespace(attention={}, folder=Path("runs/abc")))


def test_a_model_that_names_no_features_keeps_none(lemer):
    whole = lemer.forward
    lemer.forward = lambda batch: replace(whole(batch), features=None, attention={})
    assert attention_samples(lemer, [batch_of()], words_of) == {}


def test_attention_of_unknown_axes_is_refused(lemer):
    whole = lemer.forward
    lemer.forward = lambda batch: replace(whole(batch), attention={"label_tokens": torch.zeros(3, 7, C)})
    with pytest.raises(BadInput, match=r"unknown attention 'label_tokens'.*did you mean 'label_token'"):
        attention_samples(lemer, [batch_of()])


def test_words_take_the_largest_of_their_tokens():
    samples = {"label_token/u": torch.tensor([[9.0, 9], [0.1, 0.4], [0.3, 0.2], [-1, -2], [9, 9]]),
               "words/u": torch.tensor([-1, 0, 0, 1, -1])}
    found = word_attention(samples, "u", "one two three")
    assert found == pytest.approx(np.array([[0.3, 0.4], [-1, -2], [-np.inf, -np.inf]]))


@pytest.fixture(scope="module")
def corpus():
    return load_corpus("duet")


@pytest.fixture(scope="module")
def looked(corpus):
    """Predictions of a dialogue, and attention whose predicted column is 1 on each cue and -1 on it in all others."""
    rows, truth = corpus.targets[corpus.targets["dialogue"].isin(["S1_d00", "S1_d01"])], corpus.truth
    said = pd.DataFrame({"id": rows["id"], "predicted": np.resize(corpus.label_set.classes, len(rows))})
    samples = {"frame_rate": torch.tensor(RATE)}
    for row, name in zip(rows.itertuples(), said["predicted"], strict=True):
        cue = truth.loc[row.id]
        middle = (np.arange(int(RATE * 4)) + 0.5) / RATE
        on_word = np.isin(np.arange(len(row.text.split())), cue.cue_tokens)
        on_frame = (middle > cue.span_start) & (middle < cue.span_end)
        for part, on in (("label_token", on_word), ("label_frame", on_frame)):
            G = -torch.from_numpy(on).float()[:, None].repeat(1, C)
            G[:, corpus.label_set.index(name)] *= -1
            samples[f"{part}/{row.id}"] = G
        samples[f"words/{row.id}"] = torch.arange(len(on_word))
    return said, samples


def flat(samples: dict) -> dict:
    return {key: torch.zeros_like(v) for key, v in samples.items() if key.startswith("label_")}


def test_grounding_reads_the_predicted_column_beside_its_baselines(corpus, looked):
    said, samples = looked
    training = corpus.targets["id"][corpus.targets["session"] != "Session1"]
    table = grounding(corpus, said, samples, flat(samples), training)
    of = {key: rows.reset_index(drop=True) for key, rows in table.groupby(["part", "source"])}
    assert sorted(of) == [("voice", "loudest frame"), ("voice", "model"), ("voice", "untrained"),
                          ("words", "model"), ("words", "rarest word"), ("words", "untrained")]
    for part in ("words", "voice"):
        assert of[part, "model"]["hit"].eq(1).all() and len(of[part, "model"]) > 5
        untrained = of[part, "untrained"]
        assert untrained["hit"].tolist() == untrained["hit_chance"].tolist() and untrained["auc"].dropna().eq(0.5).all()
    texts = corpus.table.set_index("id")["text"]
    cued = of["words", "model"]["id"]
    rarest = token_grounding(rarest_word(texts[cued], texts[training]), corpus.truth)
    assert of["words", "rarest word"]["ap"].to_numpy() == pytest.approx(rarest["ap"].to_numpy())
    heard = {u: AudioReader()(corpus[u]) for u in of["voice", "model"]["id"]}
    loudest = frame_grounding(loudest_frame(heard, RATE), corpus.truth, RATE)
    assert of["voice", "loudest frame"]["ap"].to_numpy() == pytest.approx(loudest["ap"].to_numpy())
    assert (table.dtypes.iloc[3:] == "float32").all()


def test_grounding_measures_what_there_is(corpus, looked):
    said, samples = looked
    text = {key: v for key, v in samples.items() if not key.startswith("label_frame")}
    assert grounding(corpus, said, text, flat(text), corpus.targets["id"])["part"].unique().tolist() == ["words"]
    assert grounding(replace(corpus, truth=None), said, samples, flat(samples), corpus.targets["id"]) is None
    assert grounding(corpus, said, {}, {}, corpus.targets["id"]) is None


def run_of(**hits) -> SimpleNamespace:
    """A run with the hits of each source on utterances u0, u1, ..."""
    rows = [("words", source, f"u{i}", hit, hit, hit, 0.25, 0.5)
            for source, values in hits.items() for i, hit in enumerate(values)]
    columns = ["part", "source", "id", "hit", "ap", "auc", "hit_chance", "ap_chance"]
    return SimpleNamespace(grounding=pd.DataFrame(rows, columns=columns))


def test_the_summary_sets_the_first_system_against_all_else():
    ours = [run_of(model=[1.0, 1, 0, 1], untrained=[0.0, 0, 0, 1]), run_of(model=[1.0, 0, 0, 1], untrained=[0.0] * 4)]
    shuffled = [run_of(model=[0.0, 0, 1, 0], untrained=[1.0] * 4)]
    table = grounding_summary({"C1": ours, "shuffled": shuffled}, {f"u{i}": f"d{i % 2}" for i in range(4)})
    hits = table[table["measure"] == "hit"].set_index("source")
    assert hits.index.tolist() == ["C1", "shuffled", "untrained", "chance"] and table["part"].eq("words").all()
    assert hits["mean"].tolist() == pytest.approx([0.625, 0.25, 0.125, 0.25])  # two seeds are averaged
    assert hits["ahead"].tolist() == pytest.approx([0, 0.375, 0.5, 0.375]) and hits["utterances"].eq(4).all()
    with pytest.raises(BadInput, match="'shuffled' measures 3 utterances, 'C1' 4"):
        grounding_summary({"C1": ours, "shuffled": [run_of(model=[0.0, 0, 1])]}, {f"u{i}": "d" for i in range(4)})
