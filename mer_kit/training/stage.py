"""What all experiments on one corpus share: folds, inputs, and encoders, offline ones or from the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mer_kit.batch import Padded
from mer_kit.corpora.corpus import Corpus
from mer_kit.corpora.protocols import Fold, make_protocol, usual_scheme
from mer_kit.encoders.acoustics import MEL_BANDS, SpecAugment, VocalTract
from mer_kit.encoders.hub import UNUSED, HubEncoder, in_eval_mode
from mer_kit.encoders.layers import first, pretrained_language, small_language
from mer_kit.encoders.patches import pretrained_vision, small_vision
from mer_kit.encoders.spectrogram import imagenet_alexnet, small_alexnet
from mer_kit.encoders.speech import FrameEncoder, pretrained_speech_encoder, pretraining_model, standardised
from mer_kit.encoders.text import load_tokenizer, offline_text_encoder, pretrained_text_encoder, train_tokenizer
from mer_kit.errors import Missing, unknown
from mer_kit.features.batching import Batches
from mer_kit.features.inputs import FrozenStates, SpeechInputs, TextInputs, collate
from mer_kit.features.store import digest
from mer_kit.guidance.label_embeddings import wav2vec2_vectors
from mer_kit.guidance.tonal import KMeansCodes, wav2vec2_codes

OFFLINE = "offline"
SMALL = ("small", "convolutional")
SPECTROGRAMS = ("small", "imagenet", "imagenet fine-tuned")
NONE_FROZEN: Mapping[str, FrozenStates] = MappingProxyType({})
NEEDS = MappingProxyType({"text": "text", "speech": "audio"})  # modality -> what the corpus must hold
_PRETRAINED = MappingProxyType({"text": pretrained_text_encoder, "speech": pretrained_speech_encoder})
_READ = MappingProxyType({"text": ("history_turns", "max_tokens"), "speech": ("max_seconds", "clusters"),
                          "vision": ("max_seconds",), "language": ()})
_SIZES = MappingProxyType({"text": ("vocabulary", "text_dim", "text_layers", "dropout"),
                           "speech": ("speech_dim", "speech_layers", "dropout"),
                           "vision": ("speech_dim", "dropout"), "language": ("text_dim", "dropout")})


@dataclass(frozen=True)
class Encoders:
    """Which encoders, what they read, and the sizes of the offline ones.

    text, speech: "offline", or a Hugging Face id or folder, such as "bert-base-uncased", "facebook/wav2vec2-base".
    frozen, gradient_checkpointing: of those from the hub (offline ones train whole). spectrogram: LSGMER's second
    branch: "small", trained along, or AlexNet with its ImageNet weights, "imagenet" (frozen) or "imagenet fine-tuned".
    text_layer: which hidden state of the hub's text encoder is read; None: the last. vision, language: where JFM's
    patches with VTrans and its LTrans come from: drawn small, or a ViT and a BERT of the hub, which are always trained;
    a small ViT's patches are cut from the spectrogram ("small") or from what convolutions make of it ("convolutional").
    """

    text: str = OFFLINE
    speech: str = OFFLINE
    spectrogram: str = "small"
    vision: str = "small"
    language: str = "small"
    text_layer: int | None = None
    frozen: bool = False
    gradient_checkpointing: bool = False
    history_turns: int = 10
    max_tokens: int = 150
    max_seconds: float = 10.0
    clusters: int = 500  # of the tonal codes, for encoders without a quantizer
    vocabulary: int = 600
    text_dim: int = 128
    text_layers: int = 2
    speech_dim: int = 96
    speech_layers: int = 2
    dropout: float = 0.2

    def __post_init__(self) -> None:
        if self.spectrogram not in SPECTROGRAMS:
            raise unknown("spectrogram", self.spectrogram, SPECTROGRAMS)

    def pretrained(self, modality: str) -> bool:
        """Does this modality's encoder come with weights?"""
        return getattr(self, modality) not in (OFFLINE, *SMALL)

    def said(self, modality: str) -> dict[str, Any]:
        """All that decides a modality's encoder, as a config keeps it; a folder by its last two parts alone."""
        source = getattr(self, modality)
        if modality == "spectrogram":
            return {"encoder": source}
        name = "/".join(Path(source).resolve().parts[-2:]) if _is_folder(source) else source
        options = _SIZES[modality]
        if self.pretrained(modality):
            options = ("frozen", "gradient_checkpointing") if modality in _PRETRAINED else ()
            options += ("text_layer",) * (modality == "text" and self.text_layer is not None)
        return {"encoder": name, **{o: getattr(self, o) for o in (*_READ[modality], *options)}}


class Stage:
    """A corpus under a protocol with its inputs and encoders, shared by all experiments on it in this process."""

    def __init__(self, corpus: Corpus, scheme: str, encoders: Encoders) -> None:
        self.corpus, self.encoders = corpus, encoders
        self.protocol = make_protocol(corpus, scheme or usual_scheme(corpus))
        self.rows = corpus.table.set_index("id")
        self.numbers = {u: corpus.label_set.index(label) for u, label in self.rows["label"].dropna().items()}
        self._text: dict[str, tuple] = {}
        self._speech: SpeechInputs | None = None
        self._frames: SpeechInputs | None = None
        self._loaded: dict[str, nn.Module] = {}

    def require(self, model: str, modalities: Iterable[str]) -> None:
        """Refuse a corpus that lacks what a model reads, by the model's name."""
        try:
            for modality in modalities:
                self.corpus.require(NEEDS[modality])
        except Missing as why:
            raise Missing(f"model {model!r} reads {modality}: {why}") from None

    def read(self, modalities: Iterable[str], progress: bool = True) -> None:
        """Read all sound now, so that what cannot be used is named before anything trains."""
        if "speech" in modalities:
            self.speech.fill(self.numbers, progress)

    def text(self, fold: Fold) -> tuple:
        """Tokenizer and inputs; an offline vocabulary is learnt on the dialogues of the fold's training part."""
        offline = not self.encoders.pretrained("text")
        name = fold.name if offline else ""
        if name not in self._text:
            tokenizer = self._learnt(fold) if offline else load_tokenizer(self.encoders.text)
            inputs = TextInputs(self.corpus, tokenizer, self.encoders.history_turns, self.encoders.max_tokens)
            self._text[name] = tokenizer, inputs
        return self._text[name]

    def _learnt(self, fold: Fold):
        table = self.corpus.table
        training = table["dialogue"].isin(set(self.rows.loc[list(fold.train), "dialogue"]))
        return train_tokenizer(table["text"][training].fillna(""), self.encoders.vocabulary)

    @property
    def speech(self) -> SpeechInputs:
        """Acoustic frames, or waveforms for an encoder from the hub, each computed once."""
        if self._speech is None:
            kind = "waves" if self.encoders.pretrained("speech") else "frames"
            self._speech = SpeechInputs(self.corpus, kind, self.encoders.max_seconds)
        return self._speech

    def batches(self, ids: tuple[str, ...], fold: Fold, modalities: tuple[str, ...], size: int, seed: int | None,
                frozen: Mapping[str, FrozenStates] = NONE_FROZEN, positives: bool = False) -> Batches:
        """Batches of like length over what the model reads most of.

        frozen: modality -> states that stand in place of its inputs; with them comes the spectrogram, or its states.
        positives: each class of a batch is in it twice or more.
        """
        text = frozen.get("text") or (self.text(fold)[1] if "text" in modalities else None)
        speech = frozen.get("speech") or (self.speech if "speech" in modalities else None)
        spectrogram = frozen.get("spectrogram") or (self.spectrogram if frozen else None)
        lengths = [len(speech(u)) if speech else len(text(u)[0]) for u in ids]
        return Batches(ids, lengths, size, lambda chosen: collate(
            chosen, text, speech, self.numbers, spectrogram), seed,
            classes=[self.numbers[u] for u in ids] if positives else None)

    @property
    def frames(self) -> SpeechInputs:
        """Acoustic frames, whatever the speech encoder reads."""
        if self._frames is None:
            offline = not self.encoders.pretrained("speech")
            self._frames = self.speech if offline else SpeechInputs(self.corpus, "frames", self.encoders.max_seconds)
        return self._frames

    @staticmethod
    def bands(frames: Tensor) -> Tensor:
        """The spectrogram (frames of 10 ms, 80) in acoustic frames."""
        return frames[:, :MEL_BANDS]

    def spectrogram(self, utterance: str) -> Tensor:
        """Of an utterance, (frames of 10 ms, 80)."""
        return self.bands(self.frames(utterance))

    def encoder(self, modality: str, fold: Fold, seed: int, layers: int | None = None) -> nn.Module:
        """A new encoder of one of Encoders' names: drawn by `seed`, or a copy of what came with weights.

        layers: how many of them "vision" and "language" have, the first ones; None: all that came with weights.
        """
        sizes = self.encoders
        if not sizes.pretrained(modality):
            return self._drawn(modality, fold, seed, layers)
        encoder = deepcopy(self._pretrained(modality))
        if modality == "vision":
            encoder.layers = first(encoder.layers, layers)
        return first(encoder, layers) if modality == "language" else encoder

    def _drawn(self, modality: str, fold: Fold, seed: int, layers: int | None) -> nn.Module:
        sizes = self.encoders
        if modality == "text":
            return offline_text_encoder(len(self.text(fold)[0]), sizes.text_dim, sizes.text_layers,
                                        dropout=sizes.dropout, max_tokens=sizes.max_tokens + 10, seed=seed)
        if modality == "language":
            return small_language(layers, sizes.text_dim, dropout=sizes.dropout, seed=seed)
        if modality == "vision":
            return small_vision(layers, sizes.speech_dim, dropout=sizes.dropout, seconds=sizes.max_seconds, seed=seed,
                                augment=nn.Sequential(VocalTract(), SpecAugment()),
                                convolved=sizes.vision == "convolutional")
        if modality == "spectrogram":
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                return small_alexnet()
        return FrameEncoder(dim=sizes.speech_dim, layers=sizes.speech_layers, dropout=sizes.dropout,
                            augment=nn.Sequential(VocalTract(), SpecAugment()))

    def weights(self, modality: str) -> str:
        """16 hex digits of a pretrained encoder's weights, wherever they lie; without those that no state reads."""
        encoder = self._pretrained(modality)
        kept = (encoder.model if isinstance(encoder, HubEncoder) else encoder).state_dict()
        return digest({name: digest(w) for name, w in kept.items() if not name.startswith(UNUSED)})[:16]

    def _pretrained(self, modality: str) -> nn.Module:
        if modality not in self._loaded:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)  # a checkpoint may lack a pooler or the embedding of masks
                self._loaded[modality] = self._load(modality)
        return self._loaded[modality]

    def _load(self, modality: str) -> nn.Module:
        if modality == "spectrogram":
            return imagenet_alexnet(frozen=self.encoders.spectrogram == "imagenet")
        source = getattr(self.encoders, modality)
        if modality == "language":
            return pretrained_language(source)
        if modality == "vision":
            return pretrained_vision(source, seconds=self.encoders.max_seconds)
        options = {"frozen": self.encoders.frozen, "gradient_checkpointing": self.encoders.gradient_checkpointing,
                   "dtype": torch.float32}
        own = {"layer": self.encoders.text_layer} if modality == "text" else {"augment": True}
        return _PRETRAINED[modality](source, **options, **own)

    def codes(self, encoder: nn.Module, utterances: tuple[str, ...], seed: int,
              device: torch.device | str) -> tuple[list[np.ndarray], Tensor]:
        """The tonal code of each frame (frames,) of training utterances, and what each code stands for (codes, d).

        By wav2vec2's own quantizer where the checkpoint has one, else by k-means: on what an offline encoder's
        convolutions give, which is what wav2vec2's quantizer reads, or on another encoder's states.
        """
        quantizer = pretraining_model(self.encoders.speech) if self.encoders.pretrained("speech") else None
        if quantizer is None:
            read = getattr(encoder, "convolved", encoder)
            frames = [s.numpy() for s in speech_states(encoder, self.speech, utterances, device, read)]
            means = KMeansCodes(self.encoders.clusters, seed).fit(frames)
            return means(frames), means.vectors
        waves = (Padded.of([self.speech(u)]) for u in utterances)
        given = ((standardised(w) if encoder.normalise else w.values)[0] for w in waves)
        return wav2vec2_codes(quantizer.to(device), given), wav2vec2_vectors(quantizer)


def speech_states(encoder: nn.Module, inputs: SpeechInputs, utterances: Iterable[str],
                  device: torch.device | str = "cpu",
                  read: Callable[[Padded], Padded] | None = None) -> Iterator[Tensor]:
    """The encoder's states (frames, d_s) of each utterance, one by one, on the CPU; or what its part `read` gives."""
    encoder.to(device)
    read = read or encoder
    with torch.no_grad(), in_eval_mode(encoder):
        for utterance in utterances:
            yield read(Padded.of([inputs(utterance)]).to(device)).values[0].cpu()


def _is_folder(source: str) -> bool:
    return source != OFFLINE and Path(source).is_dir()
