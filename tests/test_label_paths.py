"""The way of label embeddings through a training."""

from __future__ import annotations

from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from small_lemer import C, model, unimodal

from mer_kit.errors import Missing
from mer_kit.training.label_paths import label_paths, labels_of, remember_labels, way_of


def test_a_models_labels_are_found_and_copied():
    lemer = model()
    found = labels_of(lemer)
    assert set(found) == {"L_t", "L_s"} and found["L_t"].shape[0] == C
    with torch.no_grad():
        lemer.L_t += 1
    assert torch.equal(found["L_t"] + 1, lemer.L_t) and not found["L_t"].requires_grad
    assert labels_of(unimodal("text", labelled=False)) == {}


def test_what_the_hook_remembers_becomes_a_way_from_the_start():
    lemer = model()
    start, rows = labels_of(lemer), []
    for epoch in (1, 2):
        with torch.no_grad():
            lemer.L_s *= 2
        rows.append({"epoch": epoch, "loss": 0.5, **remember_labels(lemer, epoch)})
    history, paths = label_paths(pd.DataFrame(rows), start)
    assert list(history) == ["epoch", "loss"] and set(paths) == {"labels/L_t", "labels/L_s"}
    torch.testing.assert_close(paths["labels/L_s"], torch.stack([start["L_s"], 2 * start["L_s"], 4 * start["L_s"]]))
    assert (paths["labels/L_t"] == start["L_t"]).all()


def test_a_model_without_labels_leaves_the_history_as_it_is():
    history, paths = label_paths(pd.DataFrame({"epoch": [1]}), {})
    assert list(history) == ["epoch"] and paths == {}


def test_a_run_without_a_way_says_how_to_have_it(tmp_path):
    run = SimpleNamespace(attention={"labels/L": torch.zeros(2, 4, 3)}, folder=tmp_path / "abc")
    assert way_of(run).shape == (2, 4, 3)
    with pytest.raises(Missing, match=r"no way of labels 'L_t'.*delete abc in its ledger"):
        way_of(run, "L_t")
