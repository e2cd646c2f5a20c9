"""Trained models by hand: what each says of two utterances of duet, without any training."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import torch

from mer_kit.batch import Batch, ModelOutput
from mer_kit.corpora import load_corpus

CORPUS = load_corpus("duet")
WITH_BOTH = CORPUS.truth.query("text_cue == emotion and voice_cue == emotion").index
IDS = tuple(CORPUS.targets[CORPUS.targets["id"].isin(WITH_BOTH)].drop_duplicates("dialogue")["id"][:2])
RATE = 25.0  # frames a second
ROWS = 2  # patches above one another
C, JOINT, BLOCKS = 4, 3, 2


def frames_of(utterance: str) -> int:
    return int(np.ceil(max(CORPUS.truth.at[utterance, "word_ends"]) * RATE)) + 1


def words_of(utterance: str) -> torch.Tensor:
    """A mark, a token a word, of the first word two, a mark."""
    count = len(CORPUS[utterance].text.split())
    return torch.tensor([-1, 0, *range(count), -1])


def attention_of(model: str, utterance: str) -> tuple[dict, dict]:
    """Random attention of one utterance and its masks."""
    random = torch.Generator().manual_seed(len(model) + IDS.index(utterance))
    tokens, frames = len(words_of(utterance)), frames_of(utterance)
    masks = {"tokens": torch.ones(1, tokens, dtype=torch.bool), "frames": torch.ones(1, frames, dtype=torch.bool),
             "patches": torch.ones(1, 1 + ROWS * frames, dtype=torch.bool)}
    shapes = {"label_token": (tokens, C), "label_frame": (frames, C)}
    if model == "jfm":
        shapes = {"joint_token": (tokens, BLOCKS, JOINT), "token_joint": (tokens, BLOCKS, JOINT),
                  "joint_patch": (1 + ROWS * frames, BLOCKS, JOINT)}
    return {name: torch.rand(1, *shape, generator=random) for name, shape in shapes.items()}, masks


def trained(model: str = "lemer", corpus=CORPUS) -> SimpleNamespace:
    """Like `Trained`: it takes the first utterance for the last class, the second for the first."""
    inputs = SimpleNamespace(words=words_of)

    def outputs(utterances, **_):
        for u in utterances:
            attention, masks = attention_of(model, u)
            logits = torch.eye(C)[[C - 1 if u == IDS[0] else 0]]
            yield Batch((u,), None), ModelOutput(logits, attention=attention, masks=masks)

    stage = SimpleNamespace(corpus=corpus, rows=corpus.table.set_index("id"), text=lambda fold: (None, inputs))
    return SimpleNamespace(
        experiment=SimpleNamespace(model=model), stage=stage, fold=SimpleNamespace(test=IDS), outputs=outputs,
        model=SimpleNamespace(speech_encoder=SimpleNamespace(frame_rate=RATE, rows=ROWS)))
