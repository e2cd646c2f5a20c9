"""The keyword editor's round trip: how long from an edited word to the accuracy, figures and sentence that follow.

    python benchmarks/keyword_editor.py --edits 10

A LE-MER of duet's first fold is read from the ledger, or trained where it is not there (not counted). Each edit swaps
a keyword of one class, as Enter in its field does; it ends when all outputs of the widget hold the answer. What the
browser needs to draw them is not counted. "retrained" is the same with the head trained again.
"""

from __future__ import annotations

import json
import platform
import time
from pathlib import Path
from typing import Annotated

import torch
import typer

from mer_kit.install import ROOT
from mer_kit.training.experiments import Experiment
from mer_kit.training.restore import restored
from mer_kit.widgets.keyword_editor import KeywordEditor

OUT = ROOT / "benchmarks/keyword_editor.json"


def seconds_of(editor: KeywordEditor, word: str) -> float:
    """Put a word in place of the first one of the first class, and wait for all that follows."""
    field = next(iter(editor.words.values()))
    begun = time.perf_counter()
    field.value = ", ".join([word, *field.value.split(", ")[1:]])
    return time.perf_counter() - begun


def main(edits: int = 10, ledger: Path = ROOT / "build/runs", epochs: int = 0,
         out: Annotated[Path, typer.Option(help="Where the figures are kept.")] = OUT) -> None:
    """Time edits of one class's keywords. epochs: of a smaller run; 0: the preset's."""
    trained = restored(Experiment(epochs=epochs or None), ledger, progress=False, device="cpu")
    begun = time.perf_counter()
    editor = KeywordEditor(trained)
    opened = time.perf_counter() - begun
    words = sorted({word for own in editor.edited.words.values() for word in own} - {""})
    taken = sorted(seconds_of(editor, words[i % len(words)]) for i in range(1, edits + 1))
    editor.mode.value = True
    said = {"edits": edits, "utterances": len(trained.fold.test), "opened": round(opened, 2),
            "median": round(taken[len(taken) // 2], 3), "slowest": round(taken[-1], 3),
            "retrained": round(seconds_of(editor, words[0]), 2), "threads": torch.get_num_threads(),
            "torch": torch.__version__, "machine": platform.machine()}
    out.write_text(json.dumps(said, indent=1) + "\n")
    print(json.dumps(said))


if __name__ == "__main__":
    typer.run(main)
