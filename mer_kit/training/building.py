"""The model of an experiment before its training: encoders, label embeddings, what frozen encoders say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from mer_kit.corpora.protocols import Fold
from mer_kit.features.inputs import FrozenStates, Passed, Views
from mer_kit.features.store import FeatureStore
from mer_kit.guidance.keywords import keywords
from mer_kit.guidance.label_embeddings import controlled, semantic_embeddings, tonal_embeddings
from mer_kit.locks import locked
from mer_kit.models.jfm import JFM
from mer_kit.models.jfm_streams import OneModality
from mer_kit.models.lemer import LEMER, PARTS, UnimodalConfig, UnimodalModel
from mer_kit.models.lsgmer import LSGMER
from mer_kit.training.presets import MODELS
from mer_kit.training.processes import is_first
from mer_kit.training.runs import Run, config_hash
from mer_kit.training.stage import Stage, speech_states

if TYPE_CHECKING:
    from mer_kit.training.experiments import Experiment

KEPT = 4 * 2**30  # bytes of frozen states that stay in memory


def build(experiment: Experiment, stage: Stage, fold: Fold, starts: Mapping[str, Run],
          device: torch.device | str = "cpu") -> nn.Module:
    """The model of an experiment before its training, offline encoders as the starting runs left them.

    device: where label embeddings are computed.
    """
    encoders, classes = encoders_of(experiment, stage, fold, starts), len(stage.corpus.label_set)
    labels = label_embeddings(experiment, stage, fold, encoders, device) if experiment.guided else {}
    if experiment.model == "lemer":
        return LEMER(encoders["text"], encoders["speech"], labels["text"], labels["speech"], experiment.lemer)
    if experiment.model == "jfm":
        vision, language = encoders["vision"], encoders.get("language", nn.ModuleList())
        return JFM(encoders["text"], vision.patches, language, vision.layers, classes, experiment.jfm)
    if experiment.model in ("jfm-text", "jfm-speech"):
        [modality], [encoder] = MODELS[experiment.model], encoders.values()
        return OneModality(modality, encoder, classes, experiment.jfm)
    if experiment.model == "lsgmer":
        for m in experiment.frozen:
            encoders[m] = Passed(encoders[m].dim, getattr(encoders[m], "frame_rate", None))
        return LSGMER(encoders["text"], encoders["speech"], encoders["spectrogram"], classes, experiment.lsgmer)
    mu = experiment.lemer.mu[2 + list(PARTS).index(experiment.model)]
    settings = UnimodalConfig(experiment.model, mu, dropout=experiment.lemer.dropout)
    return UnimodalModel(encoders[experiment.model], classes, settings, labels.get(experiment.model))


def encoders_of(experiment: Experiment, stage: Stage, fold: Fold, starts: Mapping[str, Run]) -> dict[str, nn.Module]:
    """An experiment's encoders by modality, offline ones as the starting runs left them."""
    encoders = {m: stage.encoder(m, fold, experiment.seed, experiment.layers(m)) for m in experiment.branches}
    for branch, start in starts.items():
        [modality] = MODELS[start.config["model"]]
        encoders[branch].load_state_dict(_part(start.weights, f"{modality}_encoder."))
    return encoders


class Frozen(NamedTuple):
    """What frozen encoders make of utterances, by modality; empty where all encoders are trained."""

    scored: dict[str, FrozenStates]
    trained: dict[str, FrozenStates | Views]  # the same, or views for the training part


def frozen_states(experiment: Experiment, stage: Stage, starts: Mapping[str, Run], folder: Path, device: torch.device,
                  progress: bool) -> Frozen:
    """Of every utterance of an experiment's fold, read from a store in `folder`, or computed into it.

    States of encoders from the hub are the same for all folds.
    """
    if not experiment.frozen:
        return Frozen({}, {})
    fold, store = stage.protocol.folds[experiment.fold], FeatureStore(folder, KEPT)
    encoders = {m: e.to(device) for m, e in encoders_of(experiment, stage, fold, starts).items()}
    inputs = {"text": stage.text(fold)[1], "speech": stage.speech, "spectrogram": stage.spectrogram}

    def states(m: str, utterances: Iterable[str], view: int | None = None) -> FrozenStates:
        made_on = fold.name if m in starts else ""
        return FrozenStates(encoders[m], inputs[m], store, fold=made_on, view=view).fill(utterances, progress)

    views = range(min(experiment.lsgmer.views, experiment.train.epochs))  # an epoch reads one of them
    made_by = config_hash({m: start.hash for m, start in starts.items()})
    with locked(folder / f".{made_by}.lock") if is_first() else nullcontext():  # others find them computed
        scored = {m: states(m, (*fold.train, *fold.dev, *fold.test)) for m in experiment.frozen}
        trained = {m: Views(*(states(m, fold.train, view) for view in views)) for m in starts if views}
    return Frozen(scored, scored | trained)


def label_embeddings(experiment: Experiment, stage: Stage, fold: Fold, encoders: Mapping[str, nn.Module],
                     device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """Where L_t ("text") and L_s ("speech") start, from the training part of the fold alone."""
    guidance, classes = experiment.guidance, stage.corpus.label_set.classes
    train, embeddings, semantic = stage.rows.loc[list(fold.train)], {}, None
    if "text" in encoders:
        table = keywords(train["text"], train["label"], classes, top_k=guidance.top_words)
        semantic = semantic_embeddings(guidance, encoders["text"], stage.text(fold)[0], classes, table)
        embeddings["text"] = controlled(guidance, semantic, "text")
    if "speech" in encoders:
        heard = {}
        if guidance.tonal.startswith("codebook"):
            codes, vectors = stage.codes(encoders["speech"], fold.train, experiment.seed, device)
            states = speech_states(encoders["speech"], stage.speech, fold.train, device)
            heard = {"codes": codes, "vectors": vectors, "states": states, "labels": train["label"].tolist()}
        tonal = tonal_embeddings(guidance, encoders["speech"].dim, classes, semantic=semantic, **heard)
        embeddings["speech"] = controlled(guidance, tonal, "speech")
    return embeddings


def _part(weights: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): w for name, w in weights.items() if name.startswith(prefix)}
