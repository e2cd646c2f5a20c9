"""Labels made of other keywords, against the whole model with its label embeddings set by hand."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_experiments import SMALL, experiments_on, slice_of_duet

from mer_kit.batch import Padded
from mer_kit.errors import BadInput
from mer_kit.guidance.label_embeddings import GuidanceConfig
from mer_kit.training import edited_labels
from mer_kit.training.attention import word_attention
from mer_kit.training.edited_labels import EditedLabels
from mer_kit.training.restore import restored


@pytest.fixture(scope="module", autouse=True)
def small():
    with experiments_on(slice_of_duet()):
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return restored(SMALL, tmp_path_factory.mktemp("ledger"), progress=False, device="cpu")


@pytest.fixture(scope="module")
def edited(trained):
    return EditedLabels(trained)


@pytest.fixture(scope="module")
def other(edited):
    """Keywords with a class's dropped, one's swapped for another's, one's grown."""
    mine = edited.words
    return mine | {"sad": mine["happy"], "happy": mine["happy"][:2], "angry": (*mine["angry"], "thunder")}


def with_labels(trained, L_t, fusion="C1"):
    """The whole model, its label embeddings put in their place."""
    model = deepcopy(trained.model)
    model.L_t.data = L_t.clone()
    model.config = replace(model.config, fusion=fusion)
    return replace(trained, model=model)


def by_hand(trained, words):
    """The mean of a class's token states, one class at a time, marks left out, at length √d."""
    tokenizer, rows = trained.stage.text(trained.fold)[0], []
    for c in trained.stage.corpus.label_set.classes:
        ids = torch.tensor([tokenizer(" ".join(words[c]))["input_ids"]])
        with torch.no_grad():
            states = trained.model.text_encoder(whole(ids)).values[0, 1:-1]
        mean = states.mean(dim=0)
        rows.append(mean / mean.norm() * len(mean) ** 0.5)
    return torch.stack(rows)


def whole(ids):
    """Token ids (1, tokens) without padding."""
    return Padded(ids, torch.ones_like(ids, dtype=torch.bool))


def test_its_words_are_those_that_the_run_started_from(edited, trained):
    train = trained.stage.rows.loc[list(trained.fold.train)]
    for c, own in edited.words.items():
        texts = " ".join(train["text"][train["label"] == c]).lower()
        assert 1 <= len(own) <= 9 and all(word in texts for word in own)


def test_a_label_moves_by_the_difference_of_the_embeddings(edited, trained, other):
    torch.testing.assert_close(edited.embedded(other), by_hand(trained, other), atol=1e-4, rtol=1e-4)
    expected = trained.model.L_t.detach() + by_hand(trained, other) - by_hand(trained, edited.words)
    torch.testing.assert_close(edited.moved(other), expected, atol=2e-4, rtol=1e-4)
    same = [list(edited.classes).index(c) for c in edited.classes if other[c] == edited.words[c]]
    torch.testing.assert_close(edited.moved(other)[same], trained.model.L_t.detach()[same], atol=1e-5, rtol=0)
    assert (edited.moved(other) - trained.model.L_t).norm(dim=1)[list(edited.classes).index("sad")] > 0.1


@pytest.mark.parametrize("fusion", ["C1", "C2"])
def test_it_says_what_the_whole_model_says_with_these_labels(trained, other, fusion):
    of = EditedLabels(with_labels(trained, trained.model.L_t.detach(), fusion))
    put = with_labels(trained, of.moved(other), fusion)
    said = of.said(of.model(other)).set_index("id")
    expected = put.predict(trained.fold.test).set_index("id").loc[said.index]
    p = list(expected.filter(like="p_"))
    np.testing.assert_allclose(said[p].astype(float), expected[p].astype(float), atol=1e-4)
    assert (said["truth"] == expected["truth"]).all()
    learnt = of.said(of.model(of.words)).set_index("id").loc[said.index]
    moved = np.abs(learnt[p].astype(float) - said[p].astype(float)).to_numpy().max()
    assert (moved > 1e-5) == (fusion == "C2"), "labels enter the fusion of C2, and that of C1 not"


def test_classes_by_words_are_the_nearest_label_on_average_over_own_tokens(edited, trained, other):
    L_t, classes = edited.moved(other).numpy(), edited.classes
    said = edited.said(edited.model(other)).set_index("id")["by_words"]
    encoder, inputs = trained.model.text_encoder, trained.stage.text(trained.fold)[1]
    for utterance in trained.fold.test[:12]:
        ids, own = inputs(utterance)
        with torch.no_grad():
            states = encoder(whole(ids[None])).values[0].numpy()
        means = [np.mean([h @ label / np.linalg.norm(h) / np.linalg.norm(label) for h in states[own.numpy()]])
                 for label in L_t]
        best = np.sort(means)
        assert said[utterance] == classes[int(np.argmax(means))] or best[-1] - best[-2] < 1e-5


def test_it_looks_where_the_whole_model_looks(edited, trained, other):
    utterance = trained.fold.test[3]
    put = with_labels(trained, edited.moved(other))
    expected = word_attention(put.samples([utterance]), utterance, trained.stage.corpus[utterance].text)
    found = edited.looks(edited.model(other), utterance)
    assert found.shape == (len(trained.stage.corpus[utterance].text.split()), 4)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_only_the_head_is_trained_again_on_the_training_part_and_always_the_same(edited, trained, other, monkeypatch):
    seen = []

    def watched(model, batches, *told, **more):
        seen.extend(u for batch in batches for u in batch.ids)
        return fit(model, batches, *told, **more)

    fit = edited_labels.fit
    monkeypatch.setattr(edited_labels, "fit", watched)
    before = {name: w.clone() for name, w in trained.model.state_dict().items()}
    moved, first, again = edited.model(other), *(edited.model(other, retrain=True) for _ in range(2))
    assert sorted(set(seen)) == sorted(trained.fold.train)
    torch.testing.assert_close(first.L_t, moved.L_t, atol=0, rtol=0)
    torch.testing.assert_close(first.L_s, moved.L_s, atol=0, rtol=0)
    assert not torch.equal(first.W, moved.W) and not torch.equal(first.classify[1].weight, moved.classify[1].weight)
    assert torch.equal(first.W, again.W) and not first.training
    assert all(torch.equal(before[name], w) for name, w in trained.model.state_dict().items()), "the run stays"


def test_what_cannot_be_embedded_is_refused(edited):
    for words, said in (({"sad": ()}, "class 'sad' has no keyword"), ({"glad": ("x",)}, "unknown class 'glad'"),
                        ({"sad": ("漢字",)}, "no token for the keyword '漢字'")):
        with pytest.raises(BadInput, match=said):
            edited.model(edited.words | words)


@pytest.mark.parametrize(("changed", "said"), [
    ({"model": "text"}, "got the model 'text'; expected 'lemer'"),
    ({"guidance": GuidanceConfig("random")}, "semantic='random'"),
    ({"guidance": GuidanceConfig(control="shuffled")}, "control='shuffled'")])
def test_labels_that_are_made_of_no_words_are_refused(trained, changed, said):
    with pytest.raises(BadInput, match=said):
        EditedLabels(replace(trained, experiment=replace(trained.experiment, **changed)))


def test_label_words_and_synonyms_are_what_their_runs_started_from(trained):
    words = EditedLabels(replace(trained, experiment=replace(SMALL, guidance=GuidanceConfig("label words")))).words
    assert words == {c: (c,) for c in trained.stage.corpus.label_set.classes}
    other = replace(SMALL, guidance=GuidanceConfig("label words", control="synonyms"))
    assert EditedLabels(replace(trained, experiment=other)).words["angry"] == ("furious",)
