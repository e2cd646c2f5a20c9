"""What JFM's joint vectors carry: what a stream's CLS knows of the other modality, and what strangers do to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mer_kit.batch import Batch, ModelOutput, Padded
from mer_kit.errors import Missing
from mer_kit.evaluation.probes import linear
from mer_kit.training.restore import Trained

CUES = MappingProxyType({"text": "voice_cue", "mel": "text_cue"})  # stream -> the cue that only the other can tell it


def cue_probe(systems: Mapping[str, Trained]) -> pd.DataFrame:
    """How well a stream's CLS tells the cue that lies in the other modality, by a linear probe.

    systems: name -> a trained JFM. The probe is fitted on the fold's training part and scored on its test part, on the
    utterances with such a cue, true or misleading. Without any exchange it is right as far as the emotion, which both
    cues follow, can be heard or read. Columns system, stream, cue, accuracy (fraction), n. Raises Missing for a corpus
    whose cues are not known.
    """
    rows = []
    for name, trained in systems.items():
        if (truth := trained.stage.corpus.truth) is None:
            raise Missing(f"the cues of {trained.stage.corpus.name} are not known; take duet, whose making is")
        train, test = (_cls_tables(trained, ids) for ids in (trained.fold.train, trained.fold.test))
        for stream, cue in CUES.items():
            known = truth[cue].dropna()
            x, x_test = (table[stream].loc[table[stream].index.isin(known.index)] for table in (train, test))
            right = linear().fit(x, known[x.index]).predict(x_test) == known[x_test.index]
            rows.append((name, stream, cue, right.mean(), len(right)))
    return pd.DataFrame(rows, columns=["system", "stream", "cue", "accuracy", "n"])


@torch.no_grad()
def strangers(trained: Trained, utterances: Iterable[str]) -> pd.DataFrame:
    """What a stream's head says by itself, with its utterance's other modality and with that of a stranger.

    Of a JFM with two heads. A stranger is the utterance before it in a batch of like lengths. Columns stream, partner
    ("own", "a stranger's"), WA (fraction), moved: how far its CLS is from where it stood with its own partner, in units
    of the mean distance between utterances.
    """
    tables = []
    for batch, own in trained.outputs(utterances):
        if len(batch) == 1:
            continue
        for stream in CUES:
            before = _streams(trained, own)[stream]
            other = trained.model(_with_strangers(batch, stream).to(before.device))
            for partner, output in (("own", own), ("a stranger's", other)):
                cls = _streams(trained, output)[stream]
                right = trained.model.classify[stream](cls).argmax(dim=1).cpu() == batch.labels
                moved = (cls - before).norm(dim=1) / torch.pdist(before).mean()
                tables.append(pd.DataFrame({"stream": stream, "partner": partner, "WA": right.numpy().astype(float),
                                            "moved": moved.cpu().numpy()}))
    return pd.concat(tables).groupby(["stream", "partner"], sort=False).mean().reset_index()


def _with_strangers(batch: Batch, stream: str) -> Batch:
    """Each utterance's own part of the stream, with the other part of the utterance before it."""
    part = {"text": "speech", "mel": "text"}[stream]
    given = getattr(batch, part)
    current = batch.current.roll(1, 0) if part == "text" else batch.current
    return replace(batch, current=current, **{part: Padded(given.values.roll(1, 0), given.mask.roll(1, 0))})


def _cls_tables(trained: Trained, utterances: Iterable[str]) -> dict[str, pd.DataFrame]:
    """The CLS of each stream, a row an utterance."""
    said = [(batch.ids, _streams(trained, output)) for batch, output in trained.outputs(utterances)]
    ids = np.concatenate([ids for ids, _ in said])
    return {stream: pd.DataFrame(torch.cat([cls[stream] for _, cls in said]).cpu().numpy(), ids) for stream in CUES}


def _streams(trained: Trained, output: ModelOutput) -> dict[str, Tensor]:
    """F of (6) taken apart again."""
    [d_m] = trained.model.norm.normalized_shape
    return dict(zip(CUES, output.features.tensor_split([output.features.shape[1] - d_m], dim=1), strict=True))
