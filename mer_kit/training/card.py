"""The model card of a run: what it is, how it did, what it lets slip, what it must not be used for; as markdown.

Its text follows from the run's folder, its corpus and its experiment: the same run has the same card.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pandas as pd

from mer_kit.corpora import MANIFESTS
from mer_kit.corpora.audit import audit
from mer_kit.corpora.protocols import PARTS
from mer_kit.evaluation.metrics import recalls
from mer_kit.evaluation.statistics import SCORES, score_interval
from mer_kit.guidance.label_embeddings import GuidanceConfig
from mer_kit.training.presets import MODELS, SETTINGS_OF
from mer_kit.training.runs import Run
from mer_kit.training.stage import Stage

if TYPE_CHECKING:
    from mer_kit.training.experiments import Experiment

TEMPLATE = Path(__file__).with_name("card.md.j2")
NAMES = MappingProxyType({
    "text": "text alone", "speech": "speech alone", "lemer": "LE-MER", "lsgmer": "LSGMER", "jfm": "JFM + ICL",
    "jfm-text": "JFM + ICL's text half alone", "jfm-speech": "JFM + ICL's speech half alone"})
PAPERS = MappingProxyType({
    "lemer": "Leveraging Label Information for Multimodal Emotion Recognition (arXiv 2309.02106)",
    "lsgmer": "Leveraging Label Potential for Enhanced Multimodal Emotion Recognition",
    "jfm": "Emotional Cross-Modal Fusion and Inter-class Contrastive Learning"})
UNIT = MappingProxyType({"dialogue": "dialogues", "speaker": "speakers"})


def model_card(run: Run, experiment: Experiment, stage: Stage) -> str:
    """The card of a run that stands in its folder but for this."""
    from jinja2 import Environment, StrictUndefined  # here: only who trains needs it

    templates = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    fold, own = stage.protocol.folds[experiment.fold], SETTINGS_OF[experiment.model]
    slips = audit(stage.corpus, replace(stage.protocol, folds=(fold,))).iloc[0]
    said = run.predictions
    classes = stage.corpus.label_set.classes
    return templates.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        run=run, config=run.config, metrics=run.metrics, environment=run.environment, train=run.config["train"],
        name=NAMES[experiment.model], paper=PAPERS[own], reads=" and ".join(MODELS[experiment.model]),
        classes=classes, settings={group: _in_words(run.config[group]) for group in (own, "guidance", "encoders")
                                   if group in run.config}, rates=_in_words(run.config["train"]["rates"]),
        parameters=sum(w.numel() for w in run.weights.values()), corpus=stage.corpus, title=stage.protocol.title,
        parts={part: len(getattr(fold, part)) for part in PARTS}, scores=_scores(run), units=_units(said)[1],
        slips={name.replace(" ", "_"): int(value) for name, value in slips.items()},
        recalls=recalls(said["truth"], said["predicted"], classes).to_dict(),
        counted=said["truth"].value_counts().to_dict(), command=command_of(experiment))


def _units(said: pd.DataFrame) -> tuple[str, str]:
    """The column of predictions that is resampled, dialogues or, where each holds one utterance, speakers; in words."""
    unit = "speaker" if said["dialogue"].nunique() == len(said) else "dialogue"
    return unit, f"{said[unit].nunique()} {UNIT[unit]}"


def _scores(run: Run) -> dict[str, tuple[float, float | None, float | None]]:
    """WA, UA and WF1 with their intervals; None where there is but one cluster to resample."""
    said, unit = run.predictions, _units(run.predictions)[0]
    if said[unit].nunique() == 1:
        return {metric: (run.metrics[metric], None, None) for metric in SCORES}
    return {metric: tuple(score_interval(said["truth"], said["predicted"], said[unit], metric)) for metric in SCORES}


def _in_words(settings: Mapping[str, Any]) -> str:
    """A config in a line: "dropout 0.3, mu 1.0 0.5 0.2 0.2"; a config within it in brackets."""
    def word(value: Any) -> str:
        if isinstance(value, Mapping):
            return f"({_in_words(value)})"
        return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)

    return ", ".join(f"{name.replace('_', ' ')} {word(value)}" for name, value in settings.items())


def command_of(experiment: Experiment) -> str:
    """The command that makes an experiment's run; of a path but its end, behind "path/to"."""
    usual = type(experiment)(experiment.model, experiment.corpus, labels=experiment.labels, preset=experiment.preset,
                             guidance=GuidanceConfig(seed=experiment.seed))
    groups = (SETTINGS_OF[experiment.model], *["guidance"] * experiment.guided, "encoders")
    changed = {f"{group}.{name}": _no_path(value) for group in groups
               for name, value in asdict(getattr(experiment, group)).items()
               if value != getattr(getattr(usual, group), name)}
    changed |= {f"train.{name}": value for name, value in experiment.changes.items()}
    corpus = _no_path(experiment.corpus)
    options = {"corpus": corpus, "fold": experiment.fold, "seed": experiment.seed, "classes": experiment.classes,
               "protocol": experiment.protocol or None, "epochs": experiment.epochs,
               "preset": experiment.preset if experiment.preset != "offline" else None,
               "data-dir": f"path/to/{corpus}" if experiment.data_dir else None}
    words = [word for name, value in options.items() if value is not None for word in (f"--{name}", str(value))]
    words += ["--labels"] * experiment.labels
    for name, value in changed.items():
        words += ["--set", f"{name}={value if isinstance(value, str) else json.dumps(value, default=dict)}"]
    return shlex.join(["mer-kit", "train", experiment.model, *words])


def _no_path(value: Any) -> Any:
    is_path = isinstance(value, str) and (Path(value).suffix.lower() in MANIFESTS or Path(value).is_dir())
    return f"path/to/{Path(value).name}" if is_path else value
