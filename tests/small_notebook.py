"""For tests of what runs and shows notebooks: one of a few cells, and the size of the kit's own."""

from __future__ import annotations

from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

PARAMETERS = ('CORPUS: str = "duet"  # duet | nemo\nTOP_K: int = 9\nRATE: float = 0.5\nEMBED_MEDIA: bool = False\n'
              'LAYERS = [1, 2]')
SMALLEST = {"EPOCHS": 1, "CLUSTERS": 100, "PROJECTIONS": "pca", "LEVELS": 1, "STEPS": 1}  # of the kit's own
KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}


def write(folder: Path, name: str, *sources: str, parameters: str = PARAMETERS, text: str = "") -> Path:
    """`folder`/`name`.ipynb: a heading and `text`, the parameters cell, a code cell for each of `sources`."""
    cells = [new_markdown_cell(f"# {name}\n\n{text}"), new_code_cell(parameters, metadata={"tags": ["parameters"]}),
             *map(new_code_cell, sources)]
    path = folder / f"{name}.ipynb"
    nbformat.write(new_notebook(cells=cells, metadata=KERNEL), path)
    return path
