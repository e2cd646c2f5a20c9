"""Finished runs in folders, each whole or not there at all, and the ledger that lists them.

A run's folder is named by the hash of its config and holds

    config.json          all that decides the result, with at least the names in NEEDED
    environment.json     versions, the machine in words, the commit
    metrics.json         WA, UA, WF1 of the predictions, seconds, and what the computation adds (best_epoch, oracle ...)
    predictions.parquet  id, truth, predicted, p_<class>
    history.parquet      a row an epoch
    model.safetensors    weights
    card.md              the model card, where the computation gives one
    attention.safetensors  samples, where there are some
    grounding.parquet    whether they look at the cue, where one is known

It is written under another name beside its place and renamed. Nothing in it is a pickle, and none is ever read.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, is_dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from mer_kit.errors import BadInput, Missing, writing
from mer_kit.evaluation.metrics import scores
from mer_kit.evaluation.statistics import interval
from mer_kit.locks import locked
from mer_kit.training.checkpoints import plain
from mer_kit.training.processes import as_the_first_says, is_first
from mer_kit.training.provenance import environment

NEEDED = ("model", "corpus", "corpus_hash", "protocol", "fold", "seed")  # in every config
COLUMNS = (*NEEDED, "hash", "WA", "UA", "WF1", "seconds", "commit")  # of a ledger's table
SAME = ("protocol", "corpus_hash")  # in runs whose results are joined
KEPT = ("config.json", "environment.json", "metrics.json", "predictions.parquet")  # of a recorded run
KEPT_TOO = "grounding.parquet"  # where the run has it
CARD = "card.md"


@dataclass(frozen=True)
class Outcome:
    """What the computation of a run hands back."""

    predictions: pd.DataFrame  # of the test part: id, truth, predicted, p_<class> of every class
    history: pd.DataFrame = field(default_factory=pd.DataFrame)
    metrics: Mapping[str, float | None] = field(default_factory=dict)  # besides WA, UA, WF1, seconds
    weights: Mapping[str, Tensor] = field(default_factory=dict)
    attention: Mapping[str, Tensor] = field(default_factory=dict)  # "label_token/<utterance>", ..., "labels/L"
    grounding: pd.DataFrame | None = None  # of `training.attention.grounding`
    card: Callable[[Run], str] | None = None  # the model card, once all else of the run stands in its folder


class Run:
    """A finished run, each part read from its folder when first asked for."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)

    def __repr__(self) -> str:
        return f"Run({', '.join(f'{name}={self.config[name]!r}' for name in NEEDED)})"

    @property
    def hash(self) -> str:
        return config_hash(self.config)

    @cached_property
    def config(self) -> dict[str, Any]:
        return self._read("config.json")

    @cached_property
    def environment(self) -> dict[str, str | None]:
        return self._read("environment.json")

    @cached_property
    def metrics(self) -> dict[str, float | None]:
        return self._read("metrics.json")

    @cached_property
    def predictions(self) -> pd.DataFrame:
        return self._read("predictions.parquet", pd.read_parquet)

    @cached_property
    def card(self) -> str:
        return self._read(CARD, lambda path: path.read_text(encoding="utf-8"))

    @cached_property
    def history(self) -> pd.DataFrame:
        return self._read("history.parquet", pd.read_parquet)

    @cached_property
    def weights(self) -> dict[str, Tensor]:
        return self._read("model.safetensors", load_file)

    @cached_property
    def attention(self) -> dict[str, Tensor]:
        return self._read("attention.safetensors", load_file)

    @cached_property
    def grounding(self) -> pd.DataFrame:
        return self._read(KEPT_TOO, pd.read_parquet)

    def _read(self, name: str, read: Callable[[Path], Any] = lambda path: dict(json.loads(path.read_text()))) -> Any:
        path = self._file(name)
        try:
            return read(path)
        except (ValueError, TypeError, KeyError, OSError, NotImplementedError, SafetensorError) as fault:
            raise BadInput(f"{path} is damaged ({fault}); delete its folder and run the config again") from None

    def _file(self, name: str) -> Path:
        path = self.folder / name
        if path.is_file():
            return path
        if name not in KEPT and all((self.folder / kept).is_file() for kept in KEPT):
            raise Missing(f"{self.folder} keeps no {name}: it is a recorded run, or one that made none; run its "
                          "config.json here to have it")
        raise Missing(f"{self.folder} holds no {name}; expected the folder of a finished run ({', '.join(KEPT)})")


def config_hash(config: Mapping[str, Any]) -> str:
    """16 hex digits of a config, whatever the order of its names; what names a run.

    Configs hold numbers, texts, lists, mappings and dataclasses.
    """
    return hashlib.sha256(_json(config).encode()).hexdigest()[:16]


def run_once(folder: Path | str, config: Mapping[str, Any], compute: Callable[[Path], Outcome]) -> Run:
    """The run of `config` in `folder`: read where it is finished, else computed by `compute` and written.

    `compute` is handed a scratch folder that outlives a kill, for `fit`'s checkpoints; it is gone once the run is
    finished. Of two processes with one config the later waits and reads. Under `accelerate launch` all compute
    together, and the first writes. A change of code is no change of config: delete a run's folder to have it anew.
    """
    if lacking := [name for name in NEEDED if name not in config]:
        raise BadInput(f"the config of a run lacks {', '.join(lacking)}; expected at least {', '.join(NEEDED)}")
    name, folder = config_hash(config), Path(folder)
    place, scratch = folder / name, folder / f".{name}"
    with writing(f"the folder of runs {folder}"), locked(folder / f".{name}.lock") if is_first() else nullcontext():
        if as_the_first_says(not place.exists()):
            scratch.mkdir(parents=True, exist_ok=True)
            outcome = compute(scratch)
            if is_first():
                _write(place, scratch / "finished", config, outcome)
        if is_first():
            shutil.rmtree(scratch, ignore_errors=True)
    as_the_first_says(None)  # the others wait until it is written
    return Run(place)


class Ledger:
    """All finished runs in a folder, or all recorded ones."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)

    def runs(self) -> list[Run]:
        """In the order of model, protocol, fold, seed."""
        found = [Run(path) for path in self.folder.glob("[!.]*/") if (path / "config.json").is_file()]
        return sorted(found, key=lambda run: [str(run.config[n]) for n in NEEDED] + [run.hash])

    def table(self) -> pd.DataFrame:
        """A row a run, columns COLUMNS."""
        return pd.DataFrame([{c: (run.config | run.metrics | {"hash": run.hash} | run.environment).get(c)
                              for c in COLUMNS} for run in self.runs()], columns=list(COLUMNS))


def join(runs: Iterable[Run]) -> pd.DataFrame:
    """The predictions of several runs under one another: model, fold, seed, hash, id, truth, predicted, p_<class>.

    Runs of different protocols or corpora are refused: their numbers cannot stand in one result.
    """
    runs = list(runs)
    for name in SAME:
        folders: dict[str, list[str]] = {}
        for run in runs:
            folders.setdefault(run.config[name], []).append(run.folder.name)
        if len(folders) > 1:
            said = "; ".join(f"{value!r} in {', '.join(of[:3])}" for value, of in folders.items())
            raise BadInput(f"runs of different {name} cannot be joined: {said}; keep to runs of one {name}")
    if not runs:
        raise BadInput("got no run to join; expected at least one")
    tables = [run.predictions.assign(hash=run.hash, **{n: run.config[n] for n in ("model", "fold", "seed")})
              for run in runs]
    joined = pd.concat(tables, ignore_index=True)
    first = ["model", "fold", "seed", "hash"]
    return joined[first + [c for c in joined if c not in first]]


def summary(systems: Mapping[str, Iterable[Run]]) -> pd.DataFrame:
    """WA, UA and WF1 of each system over its runs (folds and seeds), as `published.beside` reads them.

    Columns system, metric, run (the protocol, and over how many runs), mean, low, high (95 % interval, fractions).
    """
    rows = []
    for system, runs in systems.items():
        runs = list(runs)
        protocols = sorted({run.config["protocol"] for run in runs})
        if len(protocols) != 1:
            raise BadInput(f"system {system!r} has runs under {', '.join(protocols) or 'no protocol'}; expected one "
                           "or more runs under one protocol")
        rows += [{"system": system, "metric": metric, "run": f"{protocols[0]}, {len(runs)} run{'s' * (len(runs) > 1)}",
                  **interval([run.metrics[metric] for run in runs])._asdict()} for metric in ("WA", "UA", "WF1")]
    return pd.DataFrame(rows)


def record(run: Run, results_folder: Path | str) -> Path:
    """Keep the small part of a run (KEPT) in a folder that goes into git; an older record of the config makes way."""
    place = Path(results_folder) / run.hash
    if not is_first():
        return place
    aside = place.with_name(f".{place.name}")
    small = run.predictions.astype(dict.fromkeys(run.predictions.filter(like="p_"), "float32"))
    with writing(f"the folder of recorded runs {results_folder}"):
        shutil.rmtree(aside, ignore_errors=True)
        (aside / "new").mkdir(parents=True)
        for name in (*KEPT[:-1], *[KEPT_TOO] * (run.folder / KEPT_TOO).exists()):
            shutil.copyfile(run.folder / name, aside / "new" / name)
        small.to_parquet(aside / "new" / KEPT[-1], index=False, compression="zstd")
        if place.exists():
            os.replace(place, aside / "old")
        os.replace(aside / "new", place)
        shutil.rmtree(aside)
    return place


def recorded(results_folder: Path | str) -> list[Run]:
    """The runs that `record` kept; their weights, history and attention are not there."""
    folder = Path(results_folder)
    now = (folder.stat().st_mtime_ns, frozenset(os.listdir(folder))) if folder.is_dir() else None
    return list(_recorded(folder, now))


@lru_cache(maxsize=4)
def _recorded(folder: Path, now: object) -> list[Run]:
    """Read once for each state of the folder: a board asks fifty times."""
    return Ledger(folder).runs()


def _write(place: Path, aside: Path, config: Mapping[str, Any], outcome: Outcome) -> None:
    """Write a run's folder at `aside` and rename it to `place`."""
    shutil.rmtree(aside, ignore_errors=True)  # of a run that was killed here
    aside.mkdir()
    said, history = outcome.predictions, outcome.history
    classes = [c.removeprefix("p_") for c in said if c.startswith("p_")]
    metrics = scores(said["truth"], said["predicted"], classes) | {
        "seconds": float(history["seconds"].sum()) if "seconds" in history else None} | outcome.metrics
    for name, content in (("config", config), ("environment", environment()), ("metrics", metrics)):
        (aside / f"{name}.json").write_text(_json(content, indent=1) + "\n")
    said.to_parquet(aside / "predictions.parquet", index=False)
    history.to_parquet(aside / "history.parquet", index=False)
    if outcome.grounding is not None:
        outcome.grounding.to_parquet(aside / KEPT_TOO, index=False, compression="zstd")
    for name, tensors in (("model", outcome.weights), ("attention", outcome.attention)):
        if tensors:
            save_file(plain(tensors), aside / f"{name}.safetensors")
    if outcome.card is not None:
        (aside / CARD).write_text(outcome.card(Run(aside)))
    os.replace(aside, place)


def _json(content: Mapping[str, Any], indent: int | None = None) -> str:
    def simple(value: Any) -> Any:
        if is_dataclass(value):
            return asdict(value)
        if isinstance(value, Mapping):
            return dict(value)
        if isinstance(value, np.generic):
            return value.item()
        raise BadInput(f"got {value!r} ({type(value).__name__}) in a config or metric; expected numbers, texts, lists, "
                       "mappings or dataclasses")

    return json.dumps(content, default=simple, sort_keys=True, indent=indent)
