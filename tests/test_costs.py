"""The table of expected costs, by hand and by sizes that are known."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

from mer_kit.errors import BadInput
from mer_kit.training.costs import MACHINES, SPEEDS, Fold, cost_table, kept_for_backward, skeleton
from mer_kit.training.presets import PRESETS


def test_what_backward_needs_is_counted_by_hand():
    class Small(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(4, 8)

        def forward(self, x):  # linear keeps x, relu its output
            return self.linear(x).relu()

    with torch.device("meta"):
        model, x = Small(), torch.zeros(3, 4)
    assert kept_for_backward(model, x, "no") == 4 * (3 * 4 + 3 * 8)
    assert kept_for_backward(model, x, "bf16") == 2 * (3 * 4 + 3 * 8)


def test_sizes_are_those_of_the_models():
    bert, tokens = skeleton("text", PRESETS["paper"]["lemer"].encoders, 16)
    assert sum(p.numel() for p in bert.parameters()) == 109_482_240 - 768 * 769  # BERT-base without its pooler
    assert tokens.shape == (16, 150) and next(bert.parameters()).is_meta


def test_the_table_is_the_formula():
    with warnings.catch_warnings(action="error", category=FutureWarning):  # notebook 04 shows the table
        table, fold = cost_table(), Fold()
    paper, offline = table.loc["paper"], table.loc["offline"]
    assert 700 < paper["million parameters"] < 750 and offline["million parameters"] < 1
    weights = 16 * paper["million parameters"] * 1e6 / 2**30  # GiB
    assert weights < paper["GiB, checkpointed"] < paper["GiB"] / 4
    bert, conformer = 108.891648e6, paper["million parameters"] * 1e6 - 108.891648e6
    each = bert * fold.tokens + conformer * fold.seconds * 50
    operations = paper["epochs"] * each * (6 * fold.train + 2 * fold.scored)
    assert paper["hours a fold"] == pytest.approx(operations / SPEEDS[paper["machine"]] / 3600)


def test_a_machine_is_named():
    with pytest.raises(BadInput, match="unknown machine 'A100'"):
        cost_table(machines=MACHINES | {"paper": "A100"})
