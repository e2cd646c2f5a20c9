"""The command that asks a trained model about recordings of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mer_kit.console import frame_table, listing, out, plain
from mer_kit.errors import BadInput, Missing
from mer_kit.install import ROOT


def predict(run: Annotated[str, typer.Argument(help="A finished run: its folder, or the first digits of its hash.")],
            path: Annotated[Path | None, typer.Argument(help="A sound file, or a folder of them; none for a model "
                                                        "that only reads.")] = None,
            text: Annotated[str | None, typer.Option(help="What is said in the one clip.")] = None,
            to: Annotated[Path | None, typer.Option("--out", help="Write a .csv here; else a table is shown.")] = None,
            attention: Annotated[Path | None, typer.Option(help="A folder for what the model attends to in each clip, "
                                                           "NAME.npz (numpy, without objects).")] = None,
            on_error: Annotated[str, typer.Option(help="raise: stop at the first unusable clip; skip: leave it out, "
                                                  "counted.")] = "raise",
            corpus: Annotated[str | None, typer.Option(help="The manifest on which the model was trained.")] = None,
            data_dir: Annotated[str | None, typer.Option(help="Where the corpus lies on which it was trained.")] = None,
            setting: Annotated[list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="encoders.text="
                                                              "FOLDER, where an encoder came from a folder.")] = None,
            device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
            ledger: Annotated[Path, typer.Option(help="Where runs are kept.")] = ROOT / "build/runs") -> None:
    """Ask a trained model about recordings of one's own; nothing of them is kept but what --out and --attention name.

    The words of a folder's clips stand in its texts.csv (columns file, text; with dialogue and turn, earlier turns are
    read as history, and a row without a file is such a turn alone), or, without one, in NAME.txt beside NAME.wav.
    """
    from mer_kit.corpora.intake import Intake
    from mer_kit.training.own_clips import clips_in, hear_all, keep_attention
    from mer_kit.training.reopen import find_run, reopened
    from mer_kit.training.runs import CARD
    from mer_kit.training.settings import parsed

    found, intake = find_run(run, ledger), Intake(on_error)
    folder = path is not None and path.is_dir()
    if folder and text is not None:
        raise BadInput(f"got --text for the folder {path}; write each clip's words in its texts.csv, or beside it")
    model = found.config["model"]
    clips = clips_in(path, model, intake) if folder else [_one(path, text, model)]
    trained = reopened(found, corpus, data_dir, parsed(setting or ()), device)
    keep = keep_attention(attention, trained.stage.corpus.label_set.classes) if attention else None
    said = hear_all(trained, clips, intake, keep)
    if to:
        said.to_csv(to, index=False)
    else:
        numbers = said.select_dtypes("number").columns
        shown = said.assign(**said[numbers].map("{:.3f}".format)).set_index("file")
        out.print(frame_table(shown, f"{model}, run {found.folder.name}", rows=len(shown)))
    if intake.rows:
        out.print(f"skipped: {len(intake.rows)}", style="bold")
        listing((f"{row['where']}: {row['reason']}" for row in intake.rows), "skipped clips")
    if (found.folder / CARD).is_file():
        out.print(plain(next(line for line in found.card.splitlines() if line.startswith(">"))[2:]), soft_wrap=True)


def _one(path: Path | None, text: str | None, model: str):
    """The one clip that is asked for."""
    from mer_kit.training.own_clips import Clip
    from mer_kit.training.presets import MODELS

    if path is None and "speech" in MODELS[model]:
        raise Missing(f"the model {model!r} listens; give a sound file or a folder of them")
    if path is not None and not path.is_file():
        raise Missing(f"{path} is neither a file nor a folder; expected a sound file or a folder of them")
    if text is None and "text" in MODELS[model]:
        raise Missing(f"the model {model!r} reads what is said; give it with --text (--text '' where it is not known)")
    return Clip(path.name if path else "text", path, text or "")
