"""From utterances to tensors: tokens with history, acoustic frames or waveforms, states of frozen encoders, batches."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from tqdm.auto import tqdm

from mer_kit.batch import Batch, Padded
from mer_kit.corpora.corpus import Corpus, Utterance
from mer_kit.encoders import acoustics
from mer_kit.encoders.hub import in_mode
from mer_kit.errors import BadInput, pick, unknown
from mer_kit.features.batching import length_buckets
from mer_kit.features.store import MemoryStore, weights_hash

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

KINDS = ("frames", "waves")
PADDING = 0.03  # the most of a batch of utterances to be encoded and kept that may be padding
Tokens = tuple[Tensor, Tensor]  # token ids (tokens,) or states (tokens, dim); own words (tokens,)


class TextInputs:
    """Utterance id -> (token ids, which of them are the utterance's own words), with its history spliced before it.

    "no more than ten historical utterances are spliced for each utterance and the maximum token length is limited to
    150" (LE-MER, 3.2). Silent on how; here: [CLS] oldest [SEP] ... [SEP] newest [SEP] current [SEP]. Whole turns are
    left out, the oldest first; an utterance too long by itself loses its end. Turns without words are passed over. An
    utterance without words is its last [SEP], so that means over it exist. `counts`: of utterances seen so far,
    "histories cut" and "texts cut".
    """

    def __init__(self, corpus: Corpus, tokenizer: PreTrainedTokenizerBase, history_turns: int = 10,
                 max_tokens: int = 150) -> None:
        corpus.require("text")
        if max_tokens < 3:
            raise BadInput(f"max_tokens is {max_tokens}; expected 3 or more: [CLS], a token and [SEP]")
        self.history_turns, self.max_tokens = history_turns, max_tokens
        self.tokenizer, self.first, self.between = tokenizer, tokenizer.cls_token_id, tokenizer.sep_token_id
        texts = [text or "" for text in corpus.table["text"]]
        encoded = tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
        self._texts = dict(zip(corpus.table["id"], texts, strict=True))
        self._tokens = dict(zip(corpus.table["id"], encoded, strict=True))
        dialogues = corpus.table.groupby("dialogue", sort=False)["id"].agg(list)
        self._before = {u: ids[max(0, i - history_turns):i] for ids in dialogues for i, u in enumerate(ids)}
        self._made: dict[str, Tokens] = {}
        self.counts: Counter[str] = Counter()

    def __call__(self, utterance: str) -> Tokens:
        if utterance not in self._made:
            self._made[utterance] = self._splice(utterance)
        return self._made[utterance]

    def words(self, utterance: str) -> Tensor:
        """Which word of `text.split()` each token stands in, (tokens,); -1 for marks and history."""
        ids, current = self(utterance)
        text, of_token = self._texts[utterance], torch.full((len(ids),), -1)
        starts = [word.start() for word in re.finditer(r"\S+", text)]
        if starts:
            told = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
            places = [bisect_right(starts, end - 1) - 1 for _, end in told["offset_mapping"]]
            of_token[current] = torch.tensor(places[: int(current.sum())])
        return of_token

    def _splice(self, utterance: str) -> Tokens:
        own = pick("utterance", utterance, self._tokens)[: self.max_tokens - 2]
        self.counts["texts cut"] += len(own) < len(self._tokens[utterance])
        history: list[int] = []
        for turn in reversed(self._before[utterance]):
            tokens = self._tokens[turn]
            if len(own) + len(history) + len(tokens) + 3 > self.max_tokens and tokens:
                self.counts["histories cut"] += 1
                break
            history = [*tokens, self.between, *history] if tokens else history
        ids = torch.tensor([self.first, *history, *own, self.between])
        current = torch.zeros(len(ids), dtype=torch.bool)
        current[len(history) + 1 : -1 if own else None] = True
        return ids, current


class SpeechInputs:
    """Utterance id -> acoustic frames (frames, 83) or samples (n,) at 16 kHz, computed once and kept in `store`.

    kind: "frames" or "waves". damage: what is done to an utterance's samples before all else; it belongs in no store
    that others read. Clips longer than `max_seconds` are cut, shorter than 0.1 s padded; `counts` says how
    many of those read in this process were.
    """

    def __init__(self, corpus: Corpus, kind: str = "frames", max_seconds: float = 20.0,
                 store: MemoryStore | None = None,
                 damage: Callable[[str, np.ndarray], np.ndarray] | None = None) -> None:
        from mer_kit.corpora.audio import AudioReader  # here: soundfile may be absent where all is in a store

        corpus.require("audio")
        if kind not in KINDS:
            raise unknown("kind of speech input", kind, KINDS)
        self.corpus, self.kind, self.store = corpus, kind, MemoryStore() if store is None else store
        self.damage = damage
        self._read = AudioReader(min_seconds=acoustics.SHORTEST, max_seconds=max_seconds)
        self._keys: dict[str, str] = {}
        self.counts = self._read.counts

    def __call__(self, utterance: str) -> Tensor:
        if utterance not in self._keys:
            self._keys[utterance] = self._key(self.corpus[utterance])
        return self.store.fetch(self._keys[utterance], lambda: {"values": self._compute(utterance)})["values"]

    def fill(self, utterances: Iterable[str], progress: bool = True) -> SpeechInputs:
        """Compute all of them now, under a progress bar unless that is not wanted."""
        for utterance in tqdm(list(utterances), f"speech, {self.kind}", unit="clip", delay=2, leave=False,
                              disable=not progress):
            self(utterance)
        return self

    def _compute(self, utterance: str) -> Tensor:
        read = self._read(self.corpus[utterance])
        samples = torch.from_numpy(self.damage(utterance, read) if self.damage else read)
        return acoustics.acoustic_frames(samples) if self.kind == "frames" else samples

    def _key(self, utterance: Utterance) -> str:
        if utterance.audio is None or not utterance.audio.is_file():
            self._read(utterance)  # raises what names the file and the utterance
        part = (utterance.start, utterance.end) if utterance.segment else None
        code = Path(acoustics.__file__).read_bytes() if self.kind == "frames" else b""
        return self.store.key(kind=self.kind, code=code, audio=utterance.audio.read_bytes(), part=part,
                              max_seconds=self._read.max_seconds)


class FrozenStates:
    """Utterance id -> what a frozen encoder makes of `inputs`, in the form of `inputs`, computed once.

    For text (states (tokens, dim), current words), for sound states (frames, dim). The store's name for them holds the
    input's tensor, the encoder's weights, and `key_parts` (such as the fold on which an offline encoder was trained).
    exact: encode equal lengths together, without any padding, for an encoder whose `padding_deviation` is not rounding.
    view: the encoder as it trains, with its dropout and augmentation, drawn by this number; None: as it is scored.
    """

    def __init__(self, encoder: nn.Module, inputs: Callable[[str], Tensor | Tokens], store: MemoryStore | None = None,
                 *, batch_size: int = 16, exact: bool = False, view: int | None = None, **key_parts: object) -> None:
        self.encoder, self.inputs, self.store = encoder, inputs, MemoryStore() if store is None else store
        self.batch_size, self.exact, self.view = batch_size, exact, view
        if view is not None:
            key_parts["view"] = view
        self._parts = {**key_parts, "weights": weights_hash(encoder)}
        self._keys: dict[str, str] = {}
        self._beside: dict[str, list[str]] = {}  # utterance -> those that a view was drawn with

    def __call__(self, utterance: str) -> Tensor | Tokens:
        while (kept := self.store.get(self._key(utterance))) is None:
            self.fill(self._beside.get(utterance, [utterance]), progress=False)
        given = self.inputs(utterance)
        return (kept["states"], given[1]) if isinstance(given, tuple) else kept["states"]

    def fill(self, utterances: Iterable[str], progress: bool = True) -> FrozenStates:
        """Compute all that are lacking now, in batches of like length, under a progress bar unless not wanted.

        A view is computed whole: what is drawn for an utterance depends on those beside it.
        """
        utterances = list(dict.fromkeys(utterances))
        lacking = [u for u in utterances if self.store.get(self._key(u)) is None]
        if self.view is not None:
            self._beside |= dict.fromkeys(utterances, utterances)
            lacking = utterances if lacking else []
        lengths = [len(self._tensor(u)) for u in lacking]
        batches = length_buckets(lengths, self.batch_size, most_padding=PADDING if self.view is None else 1.0)
        if self.exact:
            batches = [list(equal) for batch in batches for _, equal in groupby(batch, key=lengths.__getitem__)]
        with torch.no_grad(), torch.random.fork_rng(), in_mode(self.encoder, training=self.view is not None):
            torch.manual_seed(self.view or 0)
            for batch in tqdm(batches, "frozen states", unit="batch", delay=2, leave=False, disable=not progress):
                self._encode([lacking[i] for i in batch])
        return self

    def _encode(self, utterances: Sequence[str]) -> None:
        device = next(self.encoder.parameters()).device
        states = self.encoder(Padded.of([self._tensor(u) for u in utterances]).to(device)).to("cpu")
        for utterance, values, mask in zip(utterances, states.values, states.mask, strict=True):
            self.store.put(self._key(utterance), {"states": values[mask]})

    def _tensor(self, utterance: str) -> Tensor:
        given = self.inputs(utterance)
        return given[0] if isinstance(given, tuple) else given

    def _key(self, utterance: str) -> str:
        if utterance not in self._keys:
            self._keys[utterance] = self.store.key(**self._parts, input=self._tensor(utterance))
        return self._keys[utterance]


class Views:
    """Utterance id -> one of several states of it, drawn anew each time.

    A frozen encoder is surer of the utterances on which it was trained than of others. What is trained on its states
    sees how far to trust it by views with dropout and augmentation, each computed once.
    """

    def __init__(self, *states: FrozenStates) -> None:
        self.states = states

    def __call__(self, utterance: str) -> Tensor | Tokens:
        return self.states[torch.randint(len(self.states), ()).item()](utterance)


class Passed(nn.Module):
    """In place of a frozen encoder, for batches that hold its states (batch, length, dim) already."""

    def __init__(self, dim: int, frame_rate: float | None = None) -> None:
        super().__init__()
        self.dim, self.frame_rate = dim, frame_rate

    def forward(self, x: Padded) -> Padded:
        return x


def collate(ids: Sequence[str], text_inputs: Callable[[str], Tokens] | None = None,
            speech_inputs: Callable[[str], Tensor] | None = None, labels: Mapping[str, int] | None = None,
            spectrograms: Callable[[str], Tensor] | None = None) -> Batch:
    """Utterances as one padded Batch; labels: class number by utterance id."""
    text = current = speech = numbers = spectrogram = None
    if text_inputs is not None:
        tokens, own = zip(*map(text_inputs, ids), strict=True)
        text, current = Padded.of(tokens), pad_sequence(list(own), batch_first=True)
    if speech_inputs is not None:
        speech = Padded.of([speech_inputs(u) for u in ids])
    if labels is not None:
        numbers = torch.tensor([labels[u] for u in ids])
    if spectrograms is not None:
        spectrogram = Padded.of([spectrograms(u) for u in ids])
    return Batch(tuple(ids), numbers, text, current, speech, spectrogram)
