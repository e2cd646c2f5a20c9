"""The command line: `mer-kit …`, also `python -m mer_kit …`."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperCommand, TyperGroup

from mer_kit.console import ROWS, err, frame_table, listing, out, plain
from mer_kit.errors import BadInput, MerKitError, pick, writing
from mer_kit.grid_cli import grid
from mer_kit.install import ROOT
from mer_kit.machine import cores, find_chromium, workers_for
from mer_kit.predict_cli import predict
from mer_kit.train_cli import Device, OnError, board, study, train

FAILED, MISUSED = 1, 2  # exit codes


class Guarded(TyperGroup):
    """Errors meant for the user end as one line, without a traceback."""

    def invoke(self, ctx):
        """Run the command; exit with MISUSED on a MerKitError or an absent package."""
        try:
            with writing("the disk"):
                return super().invoke(ctx)
        except MerKitError as error:
            err.print("mer-kit: ", plain(error), sep="", soft_wrap=True)
        except ModuleNotFoundError as error:
            if not error.name or error.name.startswith("mer_kit"):
                raise
            err.print(f"mer-kit: the package {error.name} is not in this Python ({sys.executable}); use "
                      ".venv/bin/mer-kit after `make demo`, or pip install -r requirements.txt -e .", soft_wrap=True)
        raise typer.Exit(MISUSED)


class TakesPairs(TyperCommand):
    """Reads `-p NAME VALUE` as papermill does: the two words after -p belong together."""

    def parse_args(self, ctx, args):
        """Join the two words by "=", which may also be typed."""
        words, joined = iter(args), []
        for word in words:
            joined.append(word)
            if word in ("-p", "--parameter"):
                name = next(words, "")
                joined.append(name if "=" in name else f"{name}={next(words, '')}")
        return super().parse_args(ctx, joined)


app = typer.Typer(name="mer-kit", cls=Guarded, no_args_is_help=True, add_completion=False,
                  pretty_exceptions_enable=False,
                  help="Label-guided fusion of speech and text for emotion recognition: corpora, notebooks, reports.")
prepare = typer.Typer(no_args_is_help=True, help="Make what is needed once, before anything else.")
app.add_typer(prepare, name="prepare")
app.command()(train)
app.command()(study)
app.command()(board)
app.command()(predict)
app.command()(grid)

Executed = Annotated[Path, typer.Option("--out", help="Folder for the executed copies and their records.")]
Workers = Annotated[int, typer.Option(min=0, help="How many notebooks at a time; 0: as many as cores and memory bear.")]
Report = Annotated[Path, typer.Option(help="Folder for the report.")]


@app.command()
def doctor() -> None:
    """Say what is here: versions, GPU, corpora, weights, disk, programs, network; and how to mend what is not."""
    from mer_kit.doctor import examine

    marks = {"ok": "[green]✓[/]", "absent": "[yellow]–[/]", "broken": "[red]✗[/]"}
    broken = 0
    for finding in examine():
        out.print(marks[finding.state], f"[bold]{finding.name:<15}[/]", plain(finding.text), soft_wrap=True)
        if finding.mend:
            out.print(" " * 17, "→", plain(finding.mend), soft_wrap=True)
        broken += finding.state == "broken"
    raise typer.Exit(FAILED if broken else 0)


@app.command()
def corpus(
    name: Annotated[str, typer.Argument(metavar="NAME_OR_PATH", help="duet, nemo, meld, iemocap, or a .csv or .tsv.")],
    data_dir: Annotated[Path | None, typer.Option(help="The corpus's folder; without it, $MER_KIT_DATA/NAME.")] = None,
    classes: Annotated[int | None, typer.Option(help="Size of the label set, such as 4 or 7.")] = None,
    on_error: OnError = "raise",
    check: Annotated[str | None, typer.Option(help="none, header (open every file) or samples (decode it).")] = None,
    protocol: Annotated[str | None, typer.Option(help="Such as session-out, official, speaker-out-5.")] = None,
) -> None:
    """Show a corpus: counts, durations, what was skipped and why, and what its folds let slip into the test."""
    from mer_kit.corpora import load_corpus
    from mer_kit.corpora.audit import describe

    loaded = load_corpus(name, data_dir, classes, on_error, check)
    found = describe(loaded)
    out.print(plain(f"{loaded.name}: {len(loaded)} utterances, {len(loaded.targets)} with a label of "
                    f"{loaded.label_set.name}; hash {loaded.hash}"), style="bold", soft_wrap=True)
    out.print(plain(loaded.licence), soft_wrap=True)
    for by, table in found.counts.items():
        most = table if len(table) <= ROWS else table.sort_values("all", ascending=False)
        out.print(frame_table(most, f"utterances by {by} and class"))
    out.print(frame_table(found.durations, "durations"))
    _show_skipped(found.skipped, found.notes)
    _show_protocol(loaded, protocol)


def _show_skipped(skipped, notes: tuple[str, ...]) -> None:
    out.print(f"skipped: {len(skipped)}", style="bold")
    for reason, count in Counter(skipped["reason"] if len(skipped) else ()).most_common():
        out.print(f"  {count} ×", plain(reason), soft_wrap=True)
    listing((f"{row.where}: {row.utterance or row.value}" for row in skipped.itertuples()), "skipped utterances")
    if notes:
        out.print("notes", style="bold")
        listing(notes, "notes")


def _show_protocol(loaded, scheme: str | None) -> None:
    """The folds and their audit, or why the usual protocol refuses this corpus; one asked for by name must fit."""
    from mer_kit.corpora.audit import audit
    from mer_kit.corpora.protocols import make_protocol, usual_scheme

    try:
        made = make_protocol(loaded, scheme or usual_scheme(loaded))
    except BadInput as refusal:
        if scheme:
            raise
        out.print("no protocol:", plain(refusal), soft_wrap=True)
        return
    out.print(frame_table(made.table(loaded), f"protocol {made.title}: utterances by part and class"))
    out.print(frame_table(audit(loaded, made), f"audit of {made.name}"))


@prepare.command()
def meld(folder: Annotated[Path, typer.Argument(metavar="PATH", help="The unpacked MELD.Raw.")],
         jobs: Annotated[int, typer.Option(help="How many clips at a time.")] = os.cpu_count() or 1,
         on_error: OnError = "skip") -> None:
    """Turn MELD's video clips into 16 kHz wav files, by ffmpeg; may be stopped and started again."""
    from mer_kit.corpora.prepare import prepare_meld

    clips = prepare_meld(folder, jobs=jobs, on_error=on_error)
    for status, count in clips["status"].value_counts().items():
        out.print(f"{count} {status}")
    rest = clips[clips["status"] != "ready"]
    listing((f"{row.clip}: {row.status}: {row.detail}" for row in rest.itertuples()), "clips")


@prepare.command()
def weights(preset: Annotated[str, typer.Option(help="Whose encoders: paper.")] = "paper") -> None:
    """Download a preset's encoders into the hub's cache, for machines that will be offline."""
    from mer_kit.encoders.hub import download
    from mer_kit.encoders.spectrogram import imagenet_alexnet
    from mer_kit.training.presets import PRESETS

    used = [p.encoders for p in pick("preset", preset, PRESETS).values()]
    sources = [getattr(encoders, kind) for encoders in used for kind in ("text", "speech", "vision", "language")
               if encoders.pretrained(kind)]
    for source in dict.fromkeys(sources):
        folder = download(source)
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 2**30
        out.print(f"{source}: {size:.2f} GiB, revision {folder.name}, in {folder}", soft_wrap=True)
    if any(encoders.pretrained("spectrogram") for encoders in used):
        imagenet_alexnet()
        out.print("alexnet (torchvision, ImageNet): in torch's hub cache")


@prepare.command()
def second_stage(source: Annotated[str, typer.Argument(help="A wav2vec2 pretraining checkpoint: hub id or folder.")],
                 folder: Annotated[Path, typer.Argument(help="Where the new checkpoint goes.")],
                 corpus: Annotated[str, typer.Option(help="A corpus's name, or a manifest's path.")] = "duet",
                 data_dir: Annotated[Path | None, typer.Option(help="Where a real corpus lies.")] = None,
                 protocol: Annotated[str, typer.Option(help="A scheme; empty: the corpus's usual one.")] = "",
                 fold: Annotated[int, typer.Option(help="Whose training part is heard, from 0.")] = 0,
                 steps: int = 10_000, batch_size: int = 16, rate: float = 1e-5, seed: int = 0,
                 device: Device = "auto") -> None:
    """Continue wav2vec2's pretraining on a fold's training audio (LE-MER's B2); then mer-kit train --speech-encoder."""
    from mer_kit.corpora import load_corpus
    from mer_kit.corpora.protocols import make_protocol, usual_scheme
    from mer_kit.training.fit import find_device
    from mer_kit.training.pretrain import continue_pretraining

    loaded = load_corpus(corpus, data_dir)
    of_fold = make_protocol(loaded, protocol or usual_scheme(loaded)).folds[fold]
    history = continue_pretraining(source, folder, loaded, of_fold, steps, find_device(device), batch_size=batch_size,
                                   rate=rate, seed=seed)
    first, last = (part["loss"].mean() for part in (history.head(20), history.tail(20)))
    out.print(f"{len(history)} steps on {of_fold.name}'s training part: loss {first:.3f}, at last {last:.3f}; "
              f"train with --speech-encoder {folder} --fold {fold}", soft_wrap=True)


@app.command(cls=TakesPairs)
def run(notebooks: Annotated[list[str] | None, typer.Argument(metavar="[NOTEBOOK]...", help="By number (00), name or "
                                                              "path; without any, all.")] = None,
        parameter: Annotated[list[str] | None, typer.Option("--parameter", "-p", metavar="NAME VALUE", help="Given to "
                                                            "every notebook that has it; may be repeated.")] = None,
        executed: Executed = ROOT / "build/notebooks", report: Report = ROOT / "build/report",
        cell_timeout: Annotated[int | None, typer.Option(help="Seconds that any one cell may take.")] = None,
        workers: Workers = 1) -> None:
    """Run notebooks without a screen, then write the report."""
    from mer_kit.batch_runs import find_notebooks

    given = dict(pair.partition("=")[::2] for pair in parameter or ())
    _run_and_report(find_notebooks(notebooks or ()), given, executed, report, cell_timeout, workers)


@app.command()
def demo(executed: Executed = ROOT / "build/notebooks", report: Report = ROOT / "build/report",
         workers: Workers = 0) -> None:
    """Run every notebook on the embedded corpus, small, and write the report."""
    from mer_kit.batch_runs import find_notebooks

    _run_and_report(find_notebooks(), {}, executed, report, workers=workers)


@app.command()
def figures(executed: Executed = ROOT / "build/notebooks", report: Report = ROOT / "build/report",
            workers: Workers = 0) -> None:
    """Draw the pictures in figures/ anew, by the notebooks that make them, with every training at its full length."""
    from mer_kit.batch_runs import NOTEBOOKS, find_notebooks, parameters_of

    drawing = [notebook for notebook in find_notebooks() if "FIGURES_DIR" in parameters_of(notebook)]
    (ROOT / "figures").mkdir(exist_ok=True)
    drawn = {"FIGURES_DIR": os.path.relpath(ROOT / "figures", NOTEBOOKS), "EPOCHS": 0}
    _run_and_report(drawing, drawn, executed, report, workers=workers)


def _run_and_report(notebooks: list[Path], parameters: dict, executed: Path, report: Path,
                    cell_timeout: int | None = None, workers: int = 1) -> None:
    from mer_kit.batch_runs import run_notebooks
    from mer_kit.report import build_report

    failed = [r for r in run_notebooks(notebooks, parameters, executed, cell_timeout, workers) if r["status"] != "ok"]
    index = build_report(executed, report)
    for record in failed:
        err.print("failed:", plain(f"{record['notebook']}, {record['error']}"), soft_wrap=True)
    out.print(f"The report: {index.resolve()}", soft_wrap=True)
    if failed:
        raise typer.Exit(FAILED)


@app.command()
def lab(port: Annotated[int, typer.Option(help="On 127.0.0.1.")] = 8888) -> None:
    """Start JupyterLab in notebooks/, on 127.0.0.1, behind its token."""
    as_root = ["--allow-root"] if os.geteuid() == 0 else []  # in containers; it listens on this machine alone
    os.execv(sys.executable, [sys.executable, "-m", "jupyterlab", "--ip=127.0.0.1", f"--port={port}", *as_root,
                              f"--ServerApp.root_dir={ROOT / 'notebooks'}"])


@app.command()
def test() -> None:
    """Run the tests: the default set, then those that drive a browser, where a Chromium is found."""
    workers = workers_for(cores())
    pytest = [sys.executable, "-m", "pytest", "-n", str(workers), "--dist"]
    with tempfile.TemporaryDirectory(prefix="mer-kit-") as tested:  # notebooks run once, for both sets
        here = {"cwd": ROOT, "env": {"OMP_NUM_THREADS": str(cores() // workers)} | os.environ
                | {"MER_KIT_TESTED": tested}}
        code = subprocess.run([*pytest, "worksteal"], **here).returncode
        if find_chromium():
            in_browser = [*pytest, "load", "-m", "browser", "tests/browser"]  # dealt out as its conftest says
            code = subprocess.run(in_browser, **here).returncode or code
        else:
            out.print("The browser tests were left out: no Chromium is here. Debian and Ubuntu: apt install chromium")
    raise typer.Exit(code)
