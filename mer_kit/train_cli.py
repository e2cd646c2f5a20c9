"""The commands that train: one run, or all runs of a table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from mer_kit.console import frame_table, out
from mer_kit.errors import BadInput, Missing, pick
from mer_kit.install import ROOT

T = TypeVar("T")
OnError = Annotated[str, typer.Option(help="raise: stop at the first unusable utterance; skip: leave it out, counted.")]
Ledger = Annotated[Path, typer.Option(help="Where runs are kept.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]


def train(model: Annotated[str, typer.Argument(help="text, speech, lemer or lsgmer.")],
          corpus: Annotated[str, typer.Option(help="A corpus's name, or a manifest's path.")] = "duet",
          data_dir: Annotated[str | None, typer.Option(help="Where a real corpus lies.")] = None,
          classes: Annotated[int | None, typer.Option(help="Size of the label set.")] = None,
          protocol: Annotated[str, typer.Option(help="A scheme; empty: the corpus's usual one.")] = "",
          fold: Annotated[int, typer.Option(help="Number of the fold, from 0.")] = 0, seed: int = 0,
          on_error: OnError = "raise",
          labels: Annotated[bool, typer.Option(help="Label guidance of a text or speech model.")] = False,
          fusion: Annotated[str, typer.Option(help="C1, C2, C3 or C4 of LE-MER's Table 3.")] = "C1",
          constraint: Annotated[str | None, typer.Option(help="guided, or raw as printed in Eq. 10.")] = None,
          semantic: Annotated[str, typer.Option(help="Start of L_t: tf-idf, label words or random.")] = "tf-idf",
          tonal: Annotated[str, typer.Option(help="Start of L_s: codebook, codebook vectors, text or random.")
                           ] = "codebook",
          control: Annotated[str, typer.Option(help="none, shuffled, random, one-hot or synonyms.")] = "none",
          preset: Annotated[str, typer.Option(help="offline, or paper: its encoders and settings.")] = "offline",
          text_encoder: Annotated[str | None, typer.Option(help="offline, or a Hugging Face id or folder.")] = None,
          speech_encoder: Annotated[str | None, typer.Option(help="Likewise.")] = None,
          frozen: Annotated[bool, typer.Option(help="Do not train encoders from the hub.")] = False,
          gradient_checkpointing: Annotated[bool, typer.Option(help="Less memory, more time.")] = False,
          history: Annotated[int | None, typer.Option(help="Turns spliced before each; 0 is A1 of Table 1.")] = None,
          epochs: Annotated[int | None, typer.Option(help="Of every training; else the preset's.")] = None,
          rate: Annotated[list[str] | None, typer.Option(metavar="PART=RATE", help="text_encoder=5e-5, speech_encoder="
                                                         "…, rest=…; may be repeated.")] = None,
          batch_size: Annotated[int | None, typer.Option(help="Utterances a step.")] = None,
          warmup: Annotated[float | None, typer.Option(help="Steps; below 1, a share of all.")] = None,
          precision: Annotated[str | None, typer.Option(help="no (float32) or bf16.")] = None,
          metric: Annotated[str | None, typer.Option(help="That dev chooses the epoch by: UA, WA or WF1.")] = None,
          device: Device = "auto",
          ledger: Ledger = ROOT / "build/runs",
          record: Annotated[bool, typer.Option(help="Keep predictions and config in results/.")] = False) -> None:
    """Train one model on one fold, or read the run where it is finished; print its scores on the test part.

    Rates, batch size, warm-up, precision and metric change the preset's for this model, not for those it starts from.
    """
    from mer_kit.guidance.label_embeddings import GuidanceConfig
    from mer_kit.training import experiments, runs
    from mer_kit.training.presets import preset_of

    usual = preset_of(preset, model)
    lemer = _changed(usual.lemer, fusion=fusion, constraint=constraint)
    encoders = _changed(usual.encoders, text=text_encoder, speech=speech_encoder, history_turns=history, frozen=frozen,
                        gradient_checkpointing=gradient_checkpointing)
    settings = {"batch_size": batch_size, "warmup": warmup, "precision": precision, "metric": metric,
                "rates": _rates(rate) if rate else None}
    experiment = experiments.Experiment(
        model, corpus, classes, protocol, fold, seed, labels, lemer=lemer, encoders=encoders, epochs=epochs,
        guidance=GuidanceConfig(semantic, tonal, control, seed=seed), data_dir=data_dir, preset=preset,
        changes={name: value for name, value in settings.items() if value is not None}, on_error=on_error)
    finished = experiments.run(experiment, ledger, device=device)
    scores = ", ".join(f"{name} {finished.metrics[name]:.3f}" for name in ("WA", "UA", "WF1"))
    epoch = f"epoch {finished.metrics['best_epoch']} of {experiment.train.epochs}"
    skipped = f"; {finished.metrics['skipped']} utterances skipped" if finished.metrics["skipped"] else ""
    where = f"{finished.config['protocol']}, fold {finished.config['fold']}, seed {seed}"
    out.print(f"{where}: {scores} ({epoch}{skipped}); run {finished.hash}", soft_wrap=True)
    if record:
        out.print(f"recorded: {runs.record(finished, ROOT / 'results')}", soft_wrap=True)


def study(name: Annotated[str, typer.Argument(help="Such as le-mer/table-3; without it, a list.")] = "",
          corpus: Annotated[str, typer.Option(help="A corpus's name, or a manifest's path.")] = "duet",
          data_dir: Annotated[str | None, typer.Option(help="Where a real corpus lies.")] = None,
          fold: Annotated[list[int] | None, typer.Option(help="May be repeated; else all folds.")] = None,
          seed: Annotated[list[int] | None, typer.Option(help="May be repeated; else 0.")] = None,
          device: Device = "auto", ledger: Ledger = ROOT / "build/runs",
          results: Annotated[Path, typer.Option(help="Where runs are recorded.")] = ROOT / "results",
          record: Annotated[bool, typer.Option(help="Train what is lacking, and record it.")] = False) -> None:
    """Show a paper's table or a parameter study as it is recorded; with --record, run it first.

    Two processes may share the work: give each its own --fold.
    """
    from mer_kit.corpora import load_corpus
    from mer_kit.corpora.protocols import make_protocol, usual_scheme
    from mer_kit.training import runs, studies
    from mer_kit.training.lemer_studies import STUDIES as LEMER
    from mer_kit.training.lsgmer_studies import STUDIES as LSGMER

    known = {**LEMER, **LSGMER}
    if not name:
        out.print("\n".join(f"{name:<18} {study.question}" for name, study in known.items()))
        return
    chosen = pick("study", name, known).on(corpus=corpus, data_dir=data_dir)
    if record:
        loaded = load_corpus(corpus, data_dir)
        folds = fold or range(len(make_protocol(loaded, usual_scheme(loaded)).folds))
        for finished in studies.run_study(chosen, ledger, folds, seed or (0,), device=device):
            runs.record(finished, results)
    table = studies.study_table(chosen, results)
    if not len(table):
        raise Missing(f"nothing of {name} on {corpus} is recorded in {results}; run it with --record")
    shown = table.drop(columns="run").round(4).set_index("system")
    out.print(frame_table(shown, f"{name}: {chosen.question} ({table['run'].iloc[0]})"))


def _changed(config: T, **given) -> T:
    return replace(config, **{name: value for name, value in given.items() if value is not None})


def _rates(pairs: list[str]) -> dict[str, float]:
    try:
        return {name: float(value) for name, value in (pair.split("=") for pair in pairs)}
    except ValueError:
        raise BadInput(f"got --rate {' --rate '.join(pairs)}; expected PART=RATE, such as text_encoder=5e-5") from None
