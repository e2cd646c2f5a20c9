"""The three papers, and how each of them calls its encoders."""

from __future__ import annotations

from torch import nn

from mer_kit.batch import Batch, Padded
from mer_kit.errors import Missing


def encode(model: nn.Module, batch: Batch, modality: str) -> Padded:
    """The states (batch, length, d) of "text" or "speech", by the model's `text_encoder` or `speech_encoder`.

    Raises Missing, by the modality's name, for a batch without it.
    """
    given = getattr(batch, modality)
    if given is None:
        raise Missing(f"the batch ({len(batch)} utterances, first: {batch.ids[0]}) has no {modality}, which this model "
                      f"needs; take a model without {modality}, or give the corpus its {modality}")
    return getattr(model, f"{modality}_encoder")(given)
