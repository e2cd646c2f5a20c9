"""A softmax that gives no weight to padding and divides by nothing that is not there."""

from __future__ import annotations

import torch
from torch import Tensor


def masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Softmax over the last dimension where `mask` is True, 0 elsewhere; a row without any True is all 0.

    scores (..., length), mask of the same shape or one that broadcasts to it. Rows with at least one True sum to 1.
    """
    lowest = torch.finfo(scores.dtype).min  # not -inf: a row of them would be NaN, and so would its gradient
    return scores.masked_fill(~mask, lowest).softmax(dim=-1).masked_fill(~mask, 0.0)
