"""Where label embeddings were before a training and at the end of each of its epochs."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import torch
from torch import Tensor, nn

from mer_kit.errors import Missing
from mer_kit.training.runs import Run

LABELS = ("L", "L_t", "L_s")  # what models call their label embeddings, (C, d) each
PATH = "labels/"  # before their names among a run's attention samples


def labels_of(model: nn.Module) -> dict[str, Tensor]:
    """The label embeddings of a model as they are now, (C, d) by name; none of a model without any."""
    return {name: p.detach().float().cpu().clone() for name, p in model.named_parameters() if name in LABELS}


def remember_labels(model: nn.Module, epoch: int) -> dict[str, list[float]]:
    """A hook of `fit`: they become columns of the history, so that a killed training keeps them too."""
    return {f"{PATH}{name}": L.flatten().tolist() for name, L in labels_of(model).items()}


def label_paths(history: pd.DataFrame, start: Mapping[str, Tensor]) -> tuple[pd.DataFrame, dict[str, Tensor]]:
    """The history without the columns of `remember_labels`, and the way of each embedding, "labels/L" (1 + epochs, C,
    d), which begins at `start`."""
    columns = {name: f"{PATH}{name}" for name in start}
    paths = {column: torch.stack([start[name], *(torch.tensor(row).view_as(start[name]) for row in history[column])])
             for name, column in columns.items()}
    return history.drop(columns=list(columns.values())), paths


def way_of(run: Run, name: str = "L") -> Tensor:
    """(1 + epochs, C, d): where a run's label embeddings of that name started, and where each epoch left them."""
    if f"{PATH}{name}" not in run.attention:
        raise Missing(f"{run} keeps no way of labels {name!r}: it has none, or was made before runs kept them: "
                      f"delete {run.folder.name} in its ledger and run it again")
    return run.attention[f"{PATH}{name}"]
