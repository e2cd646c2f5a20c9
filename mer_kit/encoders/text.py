"""Text encoders: token ids (batch, tokens) -> states (batch, tokens, dim), and the tokenizers that go with them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mer_kit.batch import Padded
from mer_kit.encoders.hub import HubEncoder, from_hub, load_model
from mer_kit.errors import BadInput

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

MARKS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
OFFLINE = "the offline text encoder (train_tokenizer and offline_text_encoder)"


def train_tokenizer(texts: Iterable[str], size: int = 2000) -> PreTrainedTokenizerFast:
    """A lower-case vocabulary of up to `size` entries learnt on the training texts of a fold, the same for any order.

    A quarter of it is for marks and pieces (letters, then the most frequent pairs of pieces), at the start of a word
    and within it ("##"), so that unseen words are spelt rather than unknown; the rest for whole words seen twice or
    more, the most frequent first. Ties go by the alphabet: the library's own WordPiece trainer breaks them at random.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True, strip_accents=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    texts = list(texts)
    words = Counter(word for text in texts for word, _ in
                    tokenizer.pre_tokenizer.pre_tokenize_str(tokenizer.normalizer.normalize_str(text)))
    if not words:
        raise BadInput(f"none of the {len(texts)} training texts holds a word; a tokenizer is learnt from words")
    letters = _ranked(Counter("".join(words.elements())))[: size // 16]
    tokenizer.train_from_iterator(sorted(words.elements()), trainers.BpeTrainer(
        vocab_size=size // 8, initial_alphabet=letters, limit_alphabet=len(letters), show_progress=False))
    pieces = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().get)
    frequent = [word for word in _ranked(words) if words[word] > 1]
    vocabulary = list(dict.fromkeys([*MARKS, *pieces, *(f"##{p}" for p in pieces), *frequent]))[:size]
    tokenizer.model = models.WordPiece({w: i for i, w in enumerate(vocabulary)}, unk_token="[UNK]")
    return _finished(tokenizer)


def _ranked(counts: Counter[str]) -> list[str]:
    return sorted(counts, key=lambda name: (-counts[name], name))


def _finished(tokenizer) -> PreTrainedTokenizerFast:
    """With [CLS] and [SEP] around texts as BERT has them."""
    from tokenizers import decoders, processors
    from transformers import PreTrainedTokenizerFast

    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(m, tokenizer.token_to_id(m)) for m in ("[CLS]", "[SEP]")])
    names = {f"{m[1:-1].lower()}_token": m for m in MARKS}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)


def load_tokenizer(source: str | Path) -> PreTrainedTokenizerFast:
    """The tokenizer of a Hugging Face id or folder."""
    from transformers import AutoTokenizer

    return from_hub("tokenizer", source, OFFLINE, AutoTokenizer.from_pretrained)


class TextEncoder(HubEncoder):
    """Any Hugging Face text encoder (BERT, RoBERTa, MiniLM ...): token ids (batch, tokens) -> (batch, tokens, dim).

    layer, frozen: see HubEncoder. Raises BadInput for texts longer than the model's table of positions.
    """

    inputs = ("input_ids",)

    def __init__(self, model: PreTrainedModel, layer: int | None = None, frozen: bool = False) -> None:
        super().__init__(model, layer, frozen)
        config = model.config
        self.pad = config.pad_token_id or 0
        first = self.pad + 1 if config.model_type.endswith("roberta") else 0  # RoBERTa's positions begin after padding
        self.longest: int = getattr(config, "max_position_embeddings", 2**31) - first  # tokens
        if not frozen:
            self.freeze_unread(Padded.of([torch.tensor([self.pad + 1, self.pad + 2])]))

    def forward(self, x: Padded) -> Padded:
        if x.values.shape[1] > self.longest:
            raise BadInput(f"a text of {x.values.shape[1]} tokens; this {type(self.model).__name__} reads up to "
                           f"{self.longest}: lower max_tokens")
        told = self.tokens(x.values.masked_fill(~x.mask, self.pad), x.mask)
        states = self.states(attention_mask=x.mask.long(), **told)
        return Padded(states.masked_fill(~x.mask[..., None], 0), x.mask)

    def tokens(self, ids: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """What the model is told of token ids (batch, tokens); places and segments are the model's own."""
        return {"input_ids": ids}


class OfflineTextEncoder(TextEncoder):
    """A BERT that learns from scratch, and so is told what a pretrained one knows: which turn is the latest.

    History grows at the beginning, so places are counted from the end: the same word of the latest turn keeps its
    place whatever was said before. Tokens of the latest turn are BERT's second segment, history its first.

    In training a token is unknown with probability `word_dropout`, so that no single word is relied upon, and an
    utterance has forgotten its oldest turns, any number of them, with probability `forgetting`: few dialogues are seen
    as many. What is forgotten is masked in the states too.
    """

    def __init__(self, model: PreTrainedModel, word_dropout: float = 0.1, forgetting: float = 0.8) -> None:
        self.unknown, self.separator = MARKS.index("[UNK]"), MARKS.index("[SEP]")
        self.word_dropout, self.forgetting = word_dropout, forgetting
        super().__init__(model)

    def forward(self, x: Padded) -> Padded:
        return super().forward(Padded(x.values, self._remembered(x)) if self.training else x)

    def _remembered(self, x: Padded) -> Tensor:
        """(batch, tokens): [CLS] and the latest 1 .. all turns, all where nothing is forgotten."""
        turn = self._turns_from_here(x.values)
        turns = turn.amax(dim=1, keepdim=True)
        forgets = torch.rand_like(turns, dtype=torch.float) < self.forgetting
        kept = torch.where(forgets, (torch.rand_like(forgets, dtype=torch.float) * turns).long() + 1, turns)
        first = torch.arange(x.values.shape[1], device=turn.device) == 0
        return x.mask & ((turn <= kept) | first)

    def _turns_from_here(self, ids: Tensor) -> Tensor:
        """(batch, tokens): how many turns end from a token on; 1 in the latest, 0 behind it."""
        return (ids == self.separator).long().flip(1).cumsum(1).flip(1)

    def tokens(self, ids: Tensor, mask: Tensor) -> dict[str, Tensor]:
        latest = (self._turns_from_here(ids) == 1) & mask
        place = (mask.long().flip(1).cumsum(1).flip(1) - 1).clamp_min(0)
        if self.training:
            dropped = (torch.rand(ids.shape, device=ids.device) < self.word_dropout) & (ids >= len(MARKS))
            ids = ids.masked_fill(dropped, self.unknown)
        return {"input_ids": ids, "position_ids": place, "token_type_ids": latest.long()}


def offline_text_encoder(vocab_size: int, dim: int = 128, layers: int = 2, heads: int = 4, dropout: float = 0.1,
                         max_tokens: int = 160, word_dropout: float = 0.1, seed: int = 0) -> OfflineTextEncoder:
    """A small BERT with random weights, the same for the same seed; it trains from scratch in minutes."""
    from transformers import BertConfig, BertModel

    config = BertConfig(vocab_size=vocab_size, hidden_size=dim, num_hidden_layers=layers, num_attention_heads=heads,
                        intermediate_size=4 * dim, hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout,
                        max_position_embeddings=max_tokens, pad_token_id=MARKS.index("[PAD]"))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return OfflineTextEncoder(BertModel(config, add_pooling_layer=False), word_dropout)


def pretrained_text_encoder(source: str | Path, *, layer: int | None = None, dtype: torch.dtype | None = None,
                            frozen: bool = False, gradient_checkpointing: bool = False) -> TextEncoder:
    """The text encoder of a Hugging Face id or folder, such as "bert-base-uncased" or "roberta-large".

    layer, frozen: see HubEncoder. dtype: of the weights; None keeps the checkpoint's.
    gradient_checkpointing: compute activations twice and keep them not at all: less memory, more time.
    """
    model = load_model(source, OFFLINE, dtype)
    if gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    return TextEncoder(model, layer, frozen)
