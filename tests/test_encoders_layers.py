"""Layers of BERT and ViT by themselves: as within their models, padding, neighbours, what is refused."""

from __future__ import annotations

import pytest
import torch
from small_experiments import SIZES, bert_in, wav2vec2_in

from mer_kit.batch import Padded
from mer_kit.encoders.layers import KINDS, layers_of, pretrained_language, small_language
from mer_kit.encoders.patches import small_vision
from mer_kit.errors import BadInput, Missing
from mer_kit.models.jfm_streams import through

LENGTHS = (5, 2, 7)


def states(dim: int) -> list[torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    return [torch.randn(n, dim, generator=random) for n in LENGTHS]


def test_layers_of_a_bert_are_its_encoder(tmp_path):
    """Layer after layer over the embeddings is the model's own forward pass, padding and all."""
    from transformers import AutoModel

    folder = bert_in(tmp_path)
    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    ids = Padded.of([torch.arange(5, 5 + n) for n in LENGTHS])
    expected = model(ids.values, attention_mask=ids.mask.long()).last_hidden_state
    layers = pretrained_language(folder).eval()
    said = through(layers, Padded(model.embeddings(ids.values), ids.mask))
    torch.testing.assert_close(said.values[ids.mask], expected[ids.mask], atol=1e-5, rtol=1e-4)
    assert not said.values[~ids.mask].any() and len(layers) == 1 and layers[0].dim == SIZES["hidden_size"]


@pytest.mark.parametrize("kind", [k for k in KINDS if k not in ("bert", "vit")])
def test_other_kinds_of_bert_are_their_encoders_too(kind):
    from transformers import AutoConfig, AutoModel

    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, vocab_size=20, **SIZES | {"num_hidden_layers": 2}, pad_token_id=1)
    model = AutoModel.from_config(config).eval()
    ids = Padded.of([torch.arange(5, 5 + n) for n in LENGTHS])
    states = model(ids.values, attention_mask=ids.mask.long(), output_hidden_states=True).hidden_states
    said = through(layers_of(model).eval(), Padded(states[0], ids.mask))
    torch.testing.assert_close(said.values[ids.mask], states[2][ids.mask], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("layers", [small_language(2, 8, 2), small_vision(2, 8, 2).layers], ids=["BERT", "ViT"])
def test_padding_neighbours_and_attention(layers):
    sequences = states(8)
    for layer in layers.eval():
        x = Padded.of(sequences)
        together, attention = layer(x)
        rubbish, _ = layer(Padded(x.values + 9 * ~x.mask[..., None], x.mask))
        torch.testing.assert_close(rubbish.values, together.values)
        torch.testing.assert_close(attention.sum(dim=2), torch.ones(3, 7))
        assert not attention.masked_select(~x.mask[:, None].expand_as(attention)).any()
        for i, sequence in enumerate(sequences):
            alone, alone_attention = layer(Padded.of([sequence]))
            n = len(sequence)
            torch.testing.assert_close(together.values[i, :n], alone.values[0], atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(attention[i, :n, :n], alone_attention[0], atol=1e-5, rtol=1e-4)


def test_attention_is_the_mean_of_the_heads():
    layer = small_language(1, 8, 2).eval()[0]
    x = states(8)[0]
    asking = layer.layer.attention.self
    q, k = (part(x).view(len(x), 2, 4).transpose(0, 1) for part in (asking.query, asking.key))
    expected = (q @ k.transpose(1, 2) / 2).softmax(dim=-1).mean(dim=0)
    torch.testing.assert_close(layer(Padded.of([x]))[1][0], expected)


def test_small_layers_are_the_same_for_the_same_seed_and_leave_the_generator_alone():
    torch.manual_seed(7)
    before = torch.get_rng_state()
    a, b, c = small_language(2, 8, 2), small_language(2, 8, 2), small_language(2, 8, 2, seed=1)
    assert torch.equal(before, torch.get_rng_state())
    query = [layers[1].layer.attention.self.query.weight for layers in (a, b, c)]
    assert torch.equal(query[0], query[1]) and not torch.equal(query[0], query[2])


def test_what_is_refused(tmp_path):
    folder = bert_in(tmp_path / "bert")
    with pytest.raises(BadInput, match="got 3 blocks for a model of 1 layers"):
        pretrained_language(folder, 3)
    with pytest.raises(BadInput, match="layers of a Wav2Vec2Model are of the kind 'wav2vec2'; expected one of: bert,"):
        pretrained_language(wav2vec2_in(tmp_path / "wave", quantizer=False))
    with pytest.raises(Missing, match="small_language"):
        pretrained_language(tmp_path / "nothing")
