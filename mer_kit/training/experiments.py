"""From a config to a finished run: corpus, fold, encoders, guidance, model, training, in one ledger.

Offline encoders have no pretraining, so they get one: `text` and `speech` without labels (A1/A2 and B1 of LE-MER's
Table 1) are runs of their own, and every run with labels or fusion starts from the encoders that they leave, on the
same fold and seed; JFM's ViT is that of its row A. Runs are named by their config, so a table of ablations trains each
encoder once. Encoders from the Hugging Face hub start from their own weights.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd
from torch import Tensor, nn

from mer_kit.corpora import MANIFESTS, load_corpus
from mer_kit.corpora.protocols import is_under
from mer_kit.errors import BadInput, unknown
from mer_kit.features.batching import Batches
from mer_kit.guidance.label_embeddings import GuidanceConfig
from mer_kit.models.jfm import PRESETS as JFM_PRESETS
from mer_kit.models.jfm import JFMConfig
from mer_kit.models.lemer import LEMERConfig
from mer_kit.models.lsgmer import LSGMERConfig
from mer_kit.training.attention import attention_samples, grounding
from mer_kit.training.building import Frozen, build, frozen_states
from mer_kit.training.card import model_card
from mer_kit.training.config import TrainConfig
from mer_kit.training.fit import Fitted, find_device, fit, seed_all
from mer_kit.training.label_paths import label_paths, labels_of, remember_labels
from mer_kit.training.presets import FROZEN, MODELS, SETTINGS_OF, preset_of, training_of
from mer_kit.training.processes import is_first
from mer_kit.training.runs import Outcome, Run, config_hash, recorded, run_once
from mer_kit.training.stage import Encoders, Stage

STATES = "features"  # the folder in a ledger that keeps what frozen encoders say of utterances
STARTS = MappingProxyType({"text": "text", "speech": "speech", "vision": "jfm-speech"})  # encoder -> whose it was
OWN = frozenset(f.name for f in fields(TrainConfig)) - {"epochs", "seed", "selection"}  # what `changes` may hold


@dataclass(frozen=True)
class Experiment:
    """One model on one fold with one seed; all but `data_dir` and `on_error` names the run.

    preset: of PRESETS; gives `lemer`, `lsgmer`, `jfm` and `encoders` where they are None, and the training's config,
    once: of an experiment with another preset or corpus made by `replace` they stay.
    labels: unimodal models with label guidance (A3-A5, B3-B5), weighed by `lemer.mu`; "lemer" always has it. epochs: of
    every training, the starting ones too; None takes the preset's. changes: to the preset's TrainConfig, of this model
    alone (starting runs keep theirs); rates are merged: `{"batch_size": 8, "rates": {"text_encoder": 5e-5}}`.
    """

    model: str = "lemer"  # one of MODELS
    corpus: str = "duet"
    classes: int | None = None
    protocol: str = ""  # a scheme of mer_kit.corpora.protocols; empty: the corpus's usual one
    fold: int = 0
    seed: int = 0
    labels: bool = False
    lemer: LEMERConfig | None = None
    lsgmer: LSGMERConfig | None = None
    jfm: JFMConfig | None = None
    guidance: GuidanceConfig = field(default_factory=GuidanceConfig)
    encoders: Encoders | None = None
    epochs: int | None = None
    data_dir: str | None = field(default=None, compare=False)
    preset: str = "offline"
    changes: Mapping[str, Any] = field(default_factory=dict, hash=False)
    on_error: str = field(default="raise", compare=False)  # "skip": leave out unusable utterances, counted

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise unknown("model", self.model, MODELS)
        if strangers := [name for name in self.changes if name not in OWN]:
            raise unknown("training setting", strangers[0], sorted(OWN))
        if self.labels and SETTINGS_OF[self.model] != "lemer":
            raise BadInput(f"got labels=True for the model {self.model!r}; it is LE-MER's guidance of text and speech")
        preset = preset_of(self.preset, self.model, self.corpus)
        for name in ("lemer", "lsgmer", "jfm", "encoders"):
            object.__setattr__(self, name, getattr(self, name) or getattr(preset, name))
        if SETTINGS_OF[self.model] == "jfm" and self.encoders.pretrained("speech"):
            raise BadInput(f"got the speech encoder {self.encoders.speech!r} for the model {self.model!r}, which reads "
                           "patches of a spectrogram; expected a ViT as `vision` of Encoders, or neither")

    @property
    def guided(self) -> bool:
        """Do label embeddings start from the training part's words and sounds? LSGMER's start random."""
        return self.model == "lemer" or self.labels

    @property
    def built_from(self) -> tuple[str, ...]:
        """The modalities whose encoders its making takes: those it reads, and text where L_s starts from words (B4)."""
        modalities = MODELS[self.model]
        from_words = self.guided and self.guidance.tonal == "text" and "text" not in modalities
        return (*modalities, "text") if from_words else modalities

    @property
    def branches(self) -> tuple[str, ...]:
        """All encoders of its making: those of `built_from`, LSGMER's of the spectrogram, JFM's ViT and BERT layers."""
        if SETTINGS_OF[self.model] == "jfm":
            language = ["language"] * (self.model == "jfm" and self.jfm.fusion == "joint")
            return (*("vision" if m == "speech" else m for m in self.built_from), *language)
        return (*self.built_from, *["spectrogram"] * (self.model == "lsgmer"))

    def layers(self, branch: str) -> int | None:
        """How many layers JFM's "vision" or "language" has: one a block; None: all of a ViT that stands by itself."""
        alone = self.model == "jfm-speech" or self.jfm.fusion != "joint"
        return None if alone and self.encoders.pretrained(branch) else self.jfm.blocks

    @property
    def frozen(self) -> tuple[str, ...]:
        """The encoders that are not trained along: what they say of each utterance is computed once."""
        if self.model not in FROZEN:
            return ()
        return tuple(b for b in self.branches if b != "spectrogram" or self.encoders.spectrogram == "imagenet")

    @property
    def starts_from(self) -> dict[str, Experiment]:
        """The runs whose encoders this one starts from: with labels, fusion or blocks behind, one for each offline."""
        plain = {"labels": False, "lemer": LEMERConfig(dropout=self.lemer.dropout), "guidance": GuidanceConfig(),
                 "preset": "offline", "changes": {}, "lsgmer": None,
                 "jfm": replace(JFM_PRESETS["offline"], blocks=self.jfm.blocks)}
        starting = self.labels or len(MODELS[self.model]) > 1 or self.model == "jfm-text"
        return {branch: replace(self, model=STARTS[branch], **plain) for branch in self.branches
                if starting and branch in STARTS and not self.encoders.pretrained(branch)}

    @property
    def train(self) -> TrainConfig:
        """How the model is trained; as published, without a dev set, to the last epoch."""
        usual = training_of(self.preset, self.model, self.encoders)
        selection = "last epoch" if self.protocol.endswith("/as-published") else usual.selection
        changes = {**self.changes, "rates": {**usual.rates, **self.changes.get("rates", {})}}
        return replace(usual, **changes, epochs=self.epochs or usual.epochs, seed=self.seed, selection=selection)


def run(experiment: Experiment, ledger: Path | str, progress: bool = True, device: str = "auto") -> Run:
    """The finished run of an experiment: read from the ledger, or trained now (its starting runs too)."""
    stage = stage_of(experiment)
    if experiment.fold not in range(len(stage.protocol.folds)):
        last = len(stage.protocol.folds) - 1
        raise BadInput(f"got fold {experiment.fold} of {stage.protocol.name}; expected 0 to {last}")
    stage.require(experiment.model, experiment.built_from)
    progress = progress and is_first()

    def compute(scratch: Path) -> Outcome:
        stage.read(experiment.built_from, progress)
        starts = {m: run(start, ledger, progress, device) for m, start in experiment.starts_from.items()}
        frozen = frozen_states(experiment, stage, starts, Path(ledger) / STATES, find_device(device), progress)
        return _train(experiment, stage, starts, frozen, scratch, progress, device)

    return run_once(ledger, _config(experiment, stage), compute)


def _config(experiment: Experiment, stage: Stage) -> dict:
    """The config that names a run: what was said, of which corpus and weights, and which runs it starts from."""
    weights = {f"{m}_weights": stage.weights(m) for m in experiment.branches if experiment.encoders.pretrained(m)}
    starts = {m: config_hash(_config(start, stage)) for m, start in experiment.starts_from.items()}
    return _said(experiment) | weights | {
        "corpus_hash": stage.corpus.hash, "protocol": stage.protocol.title,
        "fold": stage.protocol.folds[experiment.fold].name, "starts": starts}


def over_folds(experiment: Experiment, results: Path | str) -> list[Run]:
    """The recorded runs of this very system: whatever fold and seed, but nothing else than the experiment says.

    An experiment that names no protocol or classes finds the runs under the corpus's usual ones.
    """
    said = _said(experiment)
    wanted = _system(said)
    found = [r for r in recorded(results) if _system({name: r.config.get(name) for name in wanted}) == wanted
             and is_under(r.config["protocol"], experiment.protocol, said["corpus"], experiment.classes)]
    for name in ("protocol", *(f"{branch}_weights" for branch in experiment.branches)):
        if len(of := {r.config.get(name) for r in found}) > 1:
            mend = "say which with protocol=" if name == "protocol" else f"keep those of one of them in {results}"
            raise BadInput(f"the recorded runs of this system were made with different {name}: {', '.join(of)}; {mend}")
    return found


def _said(experiment: Experiment) -> dict:
    """What of an experiment decides its result, without a path of this machine."""
    own = SETTINGS_OF[experiment.model]
    told = ("model", "classes", "protocol", "fold", "seed", "labels", own, *["guidance"] * experiment.guided)
    said = {name: value for name, value in asdict(experiment).items() if name in told}
    corpus = Path(experiment.corpus)
    return said | {"corpus": corpus.stem if corpus.suffix.lower() in MANIFESTS else experiment.corpus,
                   "encoders": {m: experiment.encoders.said(m) for m in experiment.branches},
                   "train": asdict(experiment.train)}


def _system(said: dict) -> dict:
    """The same as JSON keeps it, without fold, seeds, and what a run's protocol says by its title."""
    return json.loads(json.dumps(said), object_pairs_hook=lambda pairs: {
        name: value for name, value in pairs if name not in ("classes", "fold", "seed", "protocol")})


def stage_of(experiment: Experiment) -> Stage:
    """The corpus of an experiment under its protocol, loaded once in a process."""
    return _stage(experiment.corpus, experiment.data_dir, experiment.classes, experiment.protocol, experiment.encoders,
                  experiment.on_error)


@lru_cache(maxsize=4)
def _stage(corpus: str, data_dir: str | None, classes: int | None, scheme: str, encoders: Encoders,
           on_error: str = "raise") -> Stage:
    return Stage(load_corpus(corpus, data_dir, classes, on_error), scheme, encoders)


def _train(experiment: Experiment, stage: Stage, starts: Mapping[str, Run], frozen: Frozen, scratch: Path,
           progress: bool, device: str) -> Outcome:
    fold, modalities, config = stage.protocol.folds[experiment.fold], MODELS[experiment.model], experiment.train
    seed_all(experiment.seed)
    model = build(experiment, stage, fold, starts, find_device(device))
    parts = {name: stage.batches(ids, fold, modalities, 4 * config.batch_size, None, frozen.scored)
             for name, ids in (("dev", fold.dev), ("test", fold.test)) if ids}
    batches = stage.batches(fold.train, fold, modalities, config.batch_size, experiment.seed, frozen.trained,
                            positives=experiment.model == "jfm" and experiment.jfm.positives)
    start = labels_of(model)
    fitted = fit(model, batches, config, stage.corpus.label_set.classes, folder=scratch, device=device,
                 on_epoch_end=_hooks(model), progress=progress, largest=batches.largest, **parts)
    metrics = {"best_epoch": fitted.best_epoch, "oracle": fitted.oracle, "padding_share": batches.padding_share,
               "skipped": len(stage.corpus.skipped)}
    attention = attention_samples(model, parts["test"], lambda u: stage.text(fold)[1].words(u))
    history, paths = label_paths(fitted.history, start)
    return Outcome(fitted.predictions.join(stage.rows[["dialogue", "speaker"]], on="id"), history, metrics,
                   model.state_dict(), attention | paths,
                   _grounding(experiment, stage, parts["test"], fitted, attention),
                   lambda run: model_card(run, experiment, stage))


def _grounding(experiment: Experiment, stage: Stage, test: Batches, fitted: Fitted,
               attention: Mapping[str, Tensor]) -> pd.DataFrame | None:
    """Whether attention looks at the cues, beside that of the same model untrained; None where cues are not known."""
    if stage.corpus.truth is None or not any(name.startswith("label_") for name in attention):
        return None
    fold = stage.protocol.folds[experiment.fold]
    seed_all(experiment.seed)
    undirected = replace(experiment, guidance=GuidanceConfig("random", "random", seed=experiment.guidance.seed))
    untrained = attention_samples(build(undirected, stage, fold, {}), test, lambda u: stage.text(fold)[1].words(u))
    return grounding(stage.corpus, fitted.predictions, attention, untrained, fold.train)


def _hooks(model: nn.Module) -> list[Callable]:
    """What a model does at the end of an epoch, before dev is scored; where its labels are then."""
    return [*[lambda model, epoch: model.end_epoch()] * hasattr(model, "end_epoch"), remember_labels]
