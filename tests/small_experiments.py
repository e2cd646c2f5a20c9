"""Experiments at their smallest: a slice of duet, offline encoders of one layer, and checkpoints like the hub's."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mer_kit.corpora import Corpus, load_corpus
from mer_kit.encoders.text import train_tokenizer
from mer_kit.training import experiments
from mer_kit.training.experiments import Encoders, Experiment

TINY = Encoders(vocabulary=300, history_turns=2, text_dim=16, text_layers=1, speech_dim=16, speech_layers=1,
                clusters=30)
SMALL = Experiment(encoders=TINY, epochs=1)
SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}


def slice_of_duet() -> Corpus:
    """The first three dialogues of each session."""
    corpus = load_corpus("duet")
    kept = corpus.table["dialogue"].str[-2:].isin(["00", "01", "02"])
    return replace(corpus, table=corpus.table[kept].reset_index(drop=True))


@contextmanager
def experiments_on(corpus: Corpus):
    """Meanwhile experiments load this corpus, whatever they ask for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiments, "load_corpus", lambda *_: corpus)
        experiments._stage.cache_clear()
        yield
    experiments._stage.cache_clear()


def bert_in(folder: Path, seed: int = 0) -> str:
    """A folder with a BERT that knows duet's words."""
    from transformers import BertConfig, BertModel

    tokenizer = train_tokenizer(load_corpus("duet").table["text"], 200)
    torch.manual_seed(seed)
    BertModel(BertConfig(vocab_size=len(tokenizer), **SIZES)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def wav2vec2_in(folder: Path, quantizer: bool = True) -> str:
    """A folder with a wav2vec2, as it was pretrained, or as it is left without its quantizer."""
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2ForPreTraining

    torch.manual_seed(0)
    model = Wav2Vec2ForPreTraining(Wav2Vec2Config(
        **SIZES, conv_dim=(8, 8, 8), conv_kernel=(10, 8, 8), conv_stride=(10, 8, 8), conv_bias=True,
        feat_extract_norm="layer", do_stable_layer_norm=True, num_conv_pos_embeddings=4, num_codevectors_per_group=16,
        num_conv_pos_embedding_groups=2, codevector_dim=8, proj_codevector_dim=8))
    (model if quantizer else model.wav2vec2).save_pretrained(folder)
    Wav2Vec2FeatureExtractor().save_pretrained(folder)
    return str(folder)
