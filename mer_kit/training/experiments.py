"""From a config to a finished run: corpus, fold, encoders, guidance, model, training, in one ledger.

Offline encoders have no pretraining, so they get one: `text` and `speech` without labels (A1/A2 and B1 of LE-MER's
Table 1) are runs of their own, and every run with labels or fusion starts from the encoders that they leave, on the
same fold and seed. Runs are named by their config, so a table of ablations trains each encoder once.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

import torch
from torch import Tensor, nn

from mer_kit.batch import Padded
from mer_kit.corpora import load_corpus
from mer_kit.corpora.corpus import Corpus
from mer_kit.corpora.protocols import Fold, make_protocol, usual_scheme
from mer_kit.encoders.acoustics import SpecAugment
from mer_kit.encoders.hub import in_eval_mode
from mer_kit.encoders.speech import FrameEncoder
from mer_kit.encoders.text import offline_text_encoder, train_tokenizer
from mer_kit.errors import BadInput, unknown
from mer_kit.features.batching import Batches
from mer_kit.features.inputs import SpeechInputs, TextInputs, collate
from mer_kit.guidance.keywords import keywords
from mer_kit.guidance.label_embeddings import GuidanceConfig, controlled, semantic_embeddings, tonal_embeddings
from mer_kit.guidance.tonal import KMeansCodes
from mer_kit.models.lemer import LEMER, LEMERConfig, UnimodalConfig, UnimodalModel
from mer_kit.training.config import TrainConfig
from mer_kit.training.fit import fit, seed_all
from mer_kit.training.runs import Outcome, Run, recorded, run_once

MODELS = MappingProxyType({"text": ("text",), "speech": ("speech",), "lemer": ("text", "speech")})
_SHARED = {"batch_size": 32, "weight_decay": 0.01, "warmup": 0.1, "schedule": "linear"}
OFFLINE = MappingProxyType({  # what two cores train in about two minutes a fold
    "text": TrainConfig(epochs=12, rates={"rest": 1e-3}, **_SHARED),
    "speech": TrainConfig(epochs=24, rates={"rest": 2e-3}, **_SHARED),
    "lemer": TrainConfig(epochs=6, rates={"text_encoder": 1e-4, "speech_encoder": 3e-4, "rest": 1e-3}, **_SHARED),
})


@dataclass(frozen=True)
class Encoders:
    """The offline encoders' sizes."""

    vocabulary: int = 600
    history_turns: int = 10
    text_dim: int = 128
    text_layers: int = 2
    speech_dim: int = 96
    speech_layers: int = 2
    dropout: float = 0.2
    clusters: int = 500  # of the tonal codes
    max_seconds: float = 10.0


@dataclass(frozen=True)
class Experiment:
    """One model on one fold with one seed; everything in it but `data_dir` names the run.

    labels: unimodal models with label guidance (A3-A5, B3-B5); "lemer" always has it. epochs: of every training, the
    starting ones too; None takes OFFLINE's.
    """

    model: str = "lemer"  # one of MODELS
    corpus: str = "duet"
    classes: int | None = None
    protocol: str = ""  # a scheme of mer_kit.corpora.protocols; empty: the corpus's usual one
    fold: int = 0
    seed: int = 0
    labels: bool = False
    lemer: LEMERConfig = field(default_factory=lambda: LEMERConfig(dropout=0.3))
    guidance: GuidanceConfig = field(default_factory=GuidanceConfig)
    encoders: Encoders = field(default_factory=Encoders)
    epochs: int | None = None
    data_dir: str | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise unknown("model", self.model, MODELS)

    @property
    def starts_from(self) -> dict[str, Experiment]:
        """The runs whose encoders this one starts from, by modality; none for a unimodal model without labels."""
        if self.model != "lemer" and not self.labels:
            return {}
        plain = {"labels": False, "lemer": LEMERConfig(dropout=self.lemer.dropout),
                 "guidance": GuidanceConfig()}
        return {modality: replace(self, model=modality, **plain) for modality in MODELS[self.model]}

    @property
    def train(self) -> TrainConfig:
        """How the model is trained."""
        preset = OFFLINE[self.model]
        return replace(preset, epochs=self.epochs or preset.epochs, seed=self.seed)


def run(experiment: Experiment, ledger: Path | str, progress: bool = True, device: str = "auto") -> Run:
    """The finished run of an experiment: read from the ledger, or trained now (its starting runs too)."""
    stage = _stage(experiment.corpus, experiment.data_dir, experiment.classes, experiment.protocol, experiment.encoders)
    if experiment.fold not in range(len(stage.protocol.folds)):
        last = len(stage.protocol.folds) - 1
        raise BadInput(f"got fold {experiment.fold} of {stage.protocol.name}; expected 0 to {last}")
    starts = {m: run(e, ledger, progress, device) for m, e in experiment.starts_from.items()}
    config = _said(experiment) | {"corpus_hash": stage.corpus.hash, "protocol": stage.protocol.title,
                                  "fold": stage.protocol.folds[experiment.fold].name,
                                  "starts": {m: start.hash for m, start in starts.items()}}
    return run_once(ledger, config, lambda scratch: _train(experiment, stage, starts, scratch, progress, device))


def over_folds(experiment: Experiment, results: Path | str) -> list[Run]:
    """The recorded runs of this very system: whatever fold and seed, but nothing else than the experiment says."""
    wanted = _system(_said(experiment))
    return [r for r in recorded(results) if _system({name: r.config.get(name) for name in wanted}) == wanted]


def _said(experiment: Experiment) -> dict:
    """What of an experiment decides its result; guidance says nothing of a model without labels."""
    unsaid = {"data_dir", "epochs", *([] if experiment.starts_from else ["guidance"])}
    said = {name: value for name, value in asdict(experiment).items() if name not in unsaid}
    return said | {"train": asdict(experiment.train)}


def _system(said: dict) -> dict:
    """The same as JSON keeps it, without fold, seeds and the protocol's full name."""
    return json.loads(json.dumps(said), object_pairs_hook=lambda pairs: {
        name: value for name, value in pairs if name not in ("fold", "seed", "protocol")})


class _Stage:
    """A corpus under a protocol with its inputs, shared by all experiments on it in this process."""

    def __init__(self, corpus: Corpus, scheme: str, encoders: Encoders) -> None:
        self.corpus, self.encoders = corpus, encoders
        self.protocol = make_protocol(corpus, scheme or usual_scheme(corpus))
        self.rows = corpus.table.set_index("id")
        self.numbers = {u: corpus.label_set.index(label) for u, label in self.rows["label"].dropna().items()}
        self._text: dict[str, tuple] = {}
        self._speech: SpeechInputs | None = None

    def text(self, fold: Fold) -> tuple:
        """Tokenizer and inputs of a fold; the vocabulary is learnt on the dialogues of its training part."""
        if fold.name not in self._text:
            table = self.corpus.table
            training = table["dialogue"].isin(set(self.rows.loc[list(fold.train), "dialogue"]))
            tokenizer = train_tokenizer(table["text"][training].fillna(""), self.encoders.vocabulary)
            self._text[fold.name] = tokenizer, TextInputs(self.corpus, tokenizer, self.encoders.history_turns)
        return self._text[fold.name]

    @property
    def speech(self) -> SpeechInputs:
        """Acoustic frames of all labelled utterances, computed once."""
        if self._speech is None:
            self._speech = SpeechInputs(self.corpus, "frames", self.encoders.max_seconds).fill(self.numbers)
        return self._speech

    def batches(self, ids: tuple[str, ...], fold: Fold, modalities: tuple[str, ...], size: int,
                seed: int | None) -> Batches:
        """Batches of like length over what the model reads most of."""
        text = self.text(fold)[1] if "text" in modalities else None
        speech = self.speech if "speech" in modalities else None
        lengths = [len(speech(u)) if speech else len(text(u)[0]) for u in ids]
        return Batches(ids, lengths, size, lambda chosen: collate(chosen, text, speech, self.numbers), seed)


@lru_cache(maxsize=4)
def _stage(corpus: str, data_dir: str | None, classes: int | None, scheme: str, encoders: Encoders) -> _Stage:
    return _Stage(load_corpus(corpus, data_dir, classes), scheme, encoders)


def _train(experiment: Experiment, stage: _Stage, starts: dict[str, Run], scratch: Path, progress: bool,
           device: str) -> Outcome:
    fold, modalities = stage.protocol.folds[experiment.fold], MODELS[experiment.model]
    config = replace(experiment.train, selection="dev" if fold.dev else "last epoch")
    seed_all(experiment.seed)
    model = build(experiment, stage, fold, starts)
    parts = {name: stage.batches(ids, fold, modalities, 4 * config.batch_size, None)
             for name, ids in (("dev", fold.dev), ("test", fold.test)) if ids}
    batches = stage.batches(fold.train, fold, modalities, config.batch_size, experiment.seed)
    fitted = fit(model, batches, config, stage.corpus.label_set.classes, folder=scratch, device=device,
                 progress=progress, **parts)
    metrics = {"best_epoch": fitted.best_epoch, "oracle": fitted.oracle, "padding_share": batches.padding_share}
    return Outcome(fitted.predictions, fitted.history, metrics, model.state_dict())


def build(experiment: Experiment, stage: _Stage, fold: Fold, starts: dict[str, Run]) -> nn.Module:
    """The model of an experiment before its training, its encoders as the starting runs left them."""
    encoders = {modality: offline_encoder(modality, experiment, stage, fold) for modality in MODELS[experiment.model]}
    for modality, start in starts.items():
        encoders[modality].load_state_dict(_part(start.weights, f"{modality}_encoder."))
    labels = label_embeddings(experiment, stage, fold, encoders) if starts else {}
    if experiment.model == "lemer":
        return LEMER(encoders["text"], encoders["speech"], labels["text"], labels["speech"], experiment.lemer)
    settings = UnimodalConfig(experiment.model, dropout=experiment.lemer.dropout)
    classes = len(stage.corpus.label_set)
    return UnimodalModel(encoders[experiment.model], classes, settings, labels.get(experiment.model))


def offline_encoder(modality: str, experiment: Experiment, stage: _Stage, fold: Fold) -> nn.Module:
    """A new encoder of "text" or "speech", its weights drawn by the experiment's seed."""
    sizes = experiment.encoders
    if modality == "text":
        return offline_text_encoder(len(stage.text(fold)[0]), sizes.text_dim, sizes.text_layers, dropout=sizes.dropout,
                                    seed=experiment.seed)
    return FrameEncoder(dim=sizes.speech_dim, layers=sizes.speech_layers, dropout=sizes.dropout, augment=SpecAugment())


def label_embeddings(experiment: Experiment, stage: _Stage, fold: Fold,
                     encoders: dict[str, nn.Module]) -> dict[str, Tensor]:
    """Where L_t ("text") and L_s ("speech") start, from the training part of the fold alone."""
    guidance, classes = experiment.guidance, stage.corpus.label_set.classes
    train, starts, semantic = stage.rows.loc[list(fold.train)], {}, None
    if "text" in encoders:
        table = keywords(train["text"], train["label"], classes, top_k=guidance.top_words)
        semantic = semantic_embeddings(guidance, encoders["text"], stage.text(fold)[0], classes, table)
        starts["text"] = controlled(guidance, semantic, "text")
    if "speech" in encoders:
        states = speech_states(encoders["speech"], stage.speech, fold.train)
        frames = [s.numpy() for s in states]
        codes = KMeansCodes(experiment.encoders.clusters, experiment.seed).fit(frames)(frames)
        tonal = tonal_embeddings(guidance, encoders["speech"].dim, classes, semantic=semantic, states=states,
                                 codes=codes, labels=train["label"].tolist())
        starts["speech"] = controlled(guidance, tonal, "speech")
    return starts


def speech_states(encoder: nn.Module, inputs: SpeechInputs, utterances: tuple[str, ...]) -> list[Tensor]:
    """The encoder's states (frames, d_s) of each utterance."""
    with torch.no_grad(), in_eval_mode(encoder):
        return [encoder(Padded.of([inputs(u)])).values[0] for u in utterances]


def _part(weights: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): w for name, w in weights.items() if name.startswith(prefix)}
