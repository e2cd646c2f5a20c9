"""A finished run made ready from its folder alone: its config says which experiment it was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from mer_kit.corpora import CORPORA
from mer_kit.errors import BadInput, Missing
from mer_kit.training.experiments import Experiment, stage_of
from mer_kit.training.restore import Trained, loaded
from mer_kit.training.runs import Run
from mer_kit.training.settings import configured

SAID = ("model", "classes", "seed", "labels", "lemer", "lsgmer", "jfm", "guidance")  # of a config, as an experiment has


def find_run(name: str, ledger: Path | str) -> Run:
    """The run of a folder, or of a ledger by its hash or the hash's first digits."""
    if (Path(name) / "config.json").is_file():
        return Run(name)
    found = sorted(path.parent for path in Path(ledger).glob("[!.]*/config.json") if path.parent.name.startswith(name))
    if len(found) != 1:
        several = f"the digits of {len(found)} runs, such as {found[0].name} and {found[1].name}" if found else "none"
        raise BadInput(f"got the run {name!r}; expected the folder of a finished run, or the first digits of one in "
                       f"{ledger}, where these are {several}")
    return Run(found[0])


def experiment_of(config: Mapping[str, Any], corpus: str | None = None, data_dir: str | None = None) -> Experiment:
    """The experiment that a run's config tells of, but for its training, which is over.

    corpus, data_dir: where its corpus lies here. An encoder that came from a folder has but the end of its path.
    """
    if corpus is None and config["corpus"] not in CORPORA:
        raise Missing(f"the run was trained on the manifest {config['corpus']!r}, from which its vocabulary and "
                      "classes come; say where it lies with --corpus PATH")
    try:
        encoders = {name: value for said in config["encoders"].values() for name, value in said.items()}
        encoders |= {branch: said["encoder"] for branch, said in config["encoders"].items()}
        del encoders["encoder"]
        scheme = config["protocol"].partition("/")[2].partition(" (")[0]
        return TypeAdapter(Experiment).validate_python(
            {name: config[name] for name in SAID if name in config} | {
                "corpus": corpus or config["corpus"], "data_dir": data_dir, "protocol": scheme, "encoders": encoders})
    except (KeyError, ValidationError) as fault:
        raise BadInput(f"the run's config is of no experiment of this mer_kit ({fault}); train it anew") from None


def reopened(run: Run, corpus: str | None = None, data_dir: str | None = None,
             settings: Mapping[str, Any] | None = None, device: str = "auto") -> Trained:
    """The model of a run. Its corpus must be here: of it the offline vocabulary is learnt anew.

    settings: as for `configured`; {"encoders.text": FOLDER} where an encoder came from a folder.
    """
    config = run.config
    experiment = configured(experiment_of(config, corpus, data_dir), settings or {})
    stage = stage_of(experiment)
    here = {"corpus_hash": stage.corpus.hash, "protocol": stage.protocol.title} | {
        f"{m}_weights": stage.weights(m) for m in experiment.branches if experiment.encoders.pretrained(m)}
    if other := [name for name in here if config.get(name) != here[name]]:
        raise BadInput(f"the run was made with {other[0]} {config.get(other[0])!r}, and here it is {here[other[0]]!r}; "
                       "give what it was trained on: --corpus PATH, --data-dir FOLDER, --set encoders.text=FOLDER")
    folds = [fold.name for fold in stage.protocol.folds]
    starts = {m: Run(run.folder.parent / name) for m, name in config["starts"].items() if experiment.frozen}
    return loaded(replace(experiment, fold=folds.index(config["fold"])), run, starts, device)
