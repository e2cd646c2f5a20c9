"""The commands that train, one run or all runs of a table, and that show what came of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mer_kit.console import frame_table, out
from mer_kit.errors import BadInput, Missing, pick
from mer_kit.install import ROOT

OnError = Annotated[str, typer.Option(help="raise: stop at the first unusable utterance; skip: leave it out, counted.")]
Ledger = Annotated[Path, typer.Option(help="Where runs are kept.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Protocol = Annotated[str, typer.Option(help="A scheme, such as session-out/as-published; empty: the corpus's usual.")]


def train(model: Annotated[str, typer.Argument(help="text, speech, lemer, lsgmer, jfm, jfm-text or jfm-speech.")],
          corpus: Annotated[str, typer.Option(help="A corpus's name, or a manifest's path.")] = "duet",
          data_dir: Annotated[str | None, typer.Option(help="Where a real corpus lies.")] = None,
          classes: Annotated[int | None, typer.Option(help="Size of the label set.")] = None,
          protocol: Protocol = "",
          fold: Annotated[int, typer.Option(help="Number of the fold, from 0.")] = 0, seed: int = 0,
          on_error: OnError = "raise",
          preset: Annotated[str, typer.Option(help="offline, or paper: its encoders and settings.")] = "offline",
          setting: Annotated[list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Any setting that the "
                             "model reads: lsgmer.beta=0.1, encoders.spectrogram=imagenet; may be repeated.")] = None,
          without: Annotated[list[str] | None, typer.Option(metavar="PART", help="A paper's ablation: MA, JOO or LSMA "
                                                            "of lsgmer; JFM, v_j or ICL of jfm.")] = None,
          labels: Annotated[bool, typer.Option(help="Label guidance of a text or speech model.")] = False,
          fusion: Annotated[str | None, typer.Option(help="C1 (usual), C2, C3 or C4 of LE-MER's Table 3.")] = None,
          constraint: Annotated[str | None, typer.Option(help="guided, or raw as printed in Eq. 10.")] = None,
          semantic: Annotated[str | None, typer.Option(help="Start of L_t: tf-idf, label words or random.")] = None,
          tonal: Annotated[str | None, typer.Option(help="Start of L_s: codebook, codebook vectors, text or random.")
                           ] = None,
          control: Annotated[str | None, typer.Option(help="none, shuffled, random, one-hot or synonyms.")] = None,
          text_encoder: Annotated[str | None, typer.Option(help="offline, or a Hugging Face id or folder.")] = None,
          speech_encoder: Annotated[str | None, typer.Option(help="Likewise.")] = None,
          frozen: Annotated[bool | None, typer.Option(help="Do not train encoders from the hub.")] = None,
          gradient_checkpointing: Annotated[bool | None, typer.Option(help="Less memory, more time.")] = None,
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
    Other options are names for a --set, which counts more: --fusion is lemer.fusion.
    """
    from mer_kit.training import experiments, runs
    from mer_kit.training.settings import asked, parsed

    named = {"lemer.fusion": fusion, "lemer.constraint": constraint, "guidance.semantic": semantic,
             "guidance.tonal": tonal, "guidance.control": control, "encoders.text": text_encoder,
             "encoders.speech": speech_encoder, "encoders.frozen": frozen, "encoders.history_turns": history,
             "encoders.gradient_checkpointing": gradient_checkpointing, "train.rates": _rates(rate) if rate else None,
             "train.batch_size": batch_size, "train.warmup": warmup, "train.precision": precision,
             "train.metric": metric}
    given = {name: value for name, value in named.items() if value is not None}
    experiment = asked(model, without or (), given | parsed(setting or ()), corpus=corpus, classes=classes,
                       protocol=protocol, fold=fold, seed=seed, labels=labels, epochs=epochs, preset=preset,
                       data_dir=data_dir, on_error=on_error)
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
          protocol: Protocol = "",
          device: Device = "auto", ledger: Ledger = ROOT / "build/runs",
          results: Annotated[Path, typer.Option(help="Where runs are recorded.")] = ROOT / "results",
          record: Annotated[bool, typer.Option(help="Train what is lacking, and record it.")] = False) -> None:
    """Show a paper's table or a parameter study as it is recorded; with --record, run it first.

    Two processes may share the work: give each its own --fold.
    """
    from mer_kit.corpora import load_corpus
    from mer_kit.corpora.protocols import make_protocol, usual_scheme
    from mer_kit.training import runs, studies
    from mer_kit.training.comparison import COMPARISONS
    from mer_kit.training.jfm_studies import STUDIES as JFM
    from mer_kit.training.lemer_studies import STUDIES as LEMER
    from mer_kit.training.lsgmer_studies import STUDIES as LSGMER

    known = {**LEMER, **LSGMER, **JFM, **COMPARISONS}
    if not name:
        out.print("\n".join(f"{name:<20} {study.question}" for name, study in known.items()))
        return
    chosen = pick("study", name, known).on(corpus=corpus, data_dir=data_dir, protocol=protocol)
    if record:
        loaded = load_corpus(corpus, data_dir)
        folds = fold or range(len(make_protocol(loaded, protocol or usual_scheme(loaded)).folds))
        for finished in studies.run_study(chosen, ledger, folds, seed or (0,), device=device):
            runs.record(finished, results)
    table = studies.study_table(chosen, results)
    if not len(table):
        under = f" under {protocol}" if protocol else ""
        raise Missing(f"nothing of {name} on {corpus}{under} is recorded in {results}; run it with --record")
    percent = table.columns.difference(["system", "metric", "run", "p"])
    shown = table.assign(**(100 * table[percent]).map("{:.1f}".format, na_action="ignore"),
                         p=table["p"].map("{:.3f}".format, na_action="ignore")).drop(columns="run").set_index("system")
    title = f"{name}: {chosen.question} ({table['run'].iloc[0]}; percent and points)"
    out.print(frame_table(shown, title, rows=len(shown)))


def board(paper: Annotated[str | None, typer.Option(help="LE-MER, LSGMER or JFM; else all three.")] = None,
          table: Annotated[str | None, typer.Option(help='One of its tables, such as "Table 3".')] = None,
          corpus: Annotated[str, typer.Option(help="Stands in where nothing on a paper's own is recorded.")] = "duet",
          protocol: Protocol = "",
          results: Annotated[Path, typer.Option(help="Where runs are recorded.")] = ROOT / "results",
          to: Annotated[Path | None, typer.Option(help="Also write all columns to this .parquet or .csv.")] = None
          ) -> None:
    """Show every number that the papers print, with what was measured here beside it, or why it was not."""
    from mer_kit.evaluation.published import published
    from mer_kit.training import board as results_board

    published(paper, table)  # a wrong name is refused before anything is read
    rows = results_board.board(results, corpus, protocol)
    chosen = rows[rows["paper"].eq(paper or rows["paper"]) & rows["table"].eq(table or rows["table"])]
    for (paper, table), of in chosen.groupby(["paper", "table"], sort=False):
        shown = results_board.lookup(of).drop(columns=["paper", "table"]).set_index("system")
        out.print(frame_table(shown, f"{paper}, {table}", rows=len(shown)))
    if to:
        results_board.write(chosen, to)


def _rates(pairs: list[str]) -> dict[str, float]:
    try:
        return {name: float(value) for name, value in (pair.split("=") for pair in pairs)}
    except ValueError:
        raise BadInput(f"got --rate {' --rate '.join(pairs)}; expected PART=RATE, such as text_encoder=5e-5") from None
