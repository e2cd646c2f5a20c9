"""What a trained model attends to: samples that a run keeps, and whether they look at the cue."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from mer_kit.batch import Batch, ModelOutput
from mer_kit.corpora.corpus import Corpus
from mer_kit.encoders.hub import in_eval_mode
from mer_kit.errors import Missing, pick
from mer_kit.evaluation.grounding import (
    frame_grounding,
    grounding_table,
    loudest_frame,
    rarest_word,
    token_grounding,
    words_from_pieces,
)
from mer_kit.training.runs import Run

AXES = MappingProxyType({  # what a model calls an attention -> the masks of its axes after the batch's
    "label_token": ("tokens",),  # (tokens, C)
    "label_frame": ("frames",),  # (frames, C)
    "token_frame": ("tokens", "frames"),
    "frame_token": ("frames", "tokens"),
    "guided": ("tokens", "frames"),
    "token_joint": ("tokens",),  # (tokens, N, |v|), as the next three
    "joint_token": ("tokens",),
    "patch_joint": ("patches",),
    "joint_patch": ("patches",),
    "token_patch": ("tokens", "patches"),
    "patch_token": ("patches", "tokens"),
    "gate": (),  # (2,) of an utterance: audio, text
})


@torch.no_grad()
def attention_samples(model: nn.Module, batches: Iterable[Batch], words: Callable[[str], Tensor] | None = None,
                      maps: int = 6) -> dict[str, Tensor]:
    """What a model attends to in each utterance of some batches: `samples_of` its outputs, in evaluation mode."""
    device = next(model.parameters()).device
    with in_eval_mode(model):
        return samples_of(model, ((batch, model(batch.to(device))) for batch in batches), words, maps)


def samples_of(model: nn.Module, outputs: Iterable[tuple[Batch, ModelOutput]],
               words: Callable[[str], Tensor] | None = None, maps: int = 6) -> dict[str, Tensor]:
    """What `ModelOutput.attention` holds of each utterance, without padding: "label_token/<id>" (tokens, C), ...

    Attention between two sequences ("token_frame/<id>" (tokens, frames), "guided/<id>") is kept of the first `maps`
    utterances alone. words: `TextInputs.words`; with it "words/<id>" (tokens,) says which word of `text.split()` each
    token belongs to, -1 for marks and history. "frame_rate" (frames a second, or patches behind the CLS) is there where
    they are attended to, "features/<id>" (d,) where the model says what its classifier sees.
    """
    samples, seen = {}, 0
    for batch, output in outputs:
        for row, utterance in enumerate(batch.ids):
            kept = _unpadded(output, row, seen + row < maps)
            if words is not None and {"label_token", "token_joint"} & set(kept):
                kept["words"] = words(utterance)
            samples |= {f"{name}/{utterance}": values for name, values in kept.items()}
        seen += len(batch)
        if {"label_frame", "joint_patch", "token_patch"} & set(output.attention):
            samples["frame_rate"] = torch.tensor(float(model.speech_encoder.frame_rate))
    return samples


def _unpadded(output: ModelOutput, row: int, with_maps: bool) -> dict[str, Tensor]:
    """The attention of one utterance of a batch, every axis cut to what is real, and its features."""
    kept = {} if output.features is None else {"features": output.features[row].float().cpu()}
    for name, values in output.attention.items():
        masks, real = [output.masks[axis][row] for axis in pick("attention", name, AXES)], values[row]
        if len(masks) < 2 or with_maps:
            real = real[masks[0]] if masks else real
            real = real[:, masks[1]] if len(masks) == 2 else real
            kept[name] = real.float().cpu().contiguous()
    return kept


def features_of(run: Run) -> pd.DataFrame:
    """What a run's classifier saw of each test utterance, (n, d), rows by utterance id; Missing where it kept none."""
    kept = {name.removeprefix("features/"): values.numpy() for name, values in run.attention.items()
            if name.startswith("features/")}
    if not kept:
        raise Missing(f"{run} keeps no features: its model names none, or it was made before runs kept them: delete "
                      f"{run.folder.name} in its ledger and run it again")
    return pd.DataFrame(kept).T


def word_attention(samples: Mapping[str, Tensor], utterance: str, text: str) -> np.ndarray:
    """G_t on words (words, C): of the tokens of each word of `text.split()` the largest value; -inf for a word cut off.

    samples: of `attention_samples`, with its words.
    """
    columns, word_of = samples[f"label_token/{utterance}"].T, samples[f"words/{utterance}"].tolist()
    return np.stack([words_from_pieces(column, word_of, len(text.split())) for column in columns.numpy()], axis=1)


def grounding(corpus: Corpus, predictions: pd.DataFrame, attention: Mapping[str, Tensor],
              untrained: Mapping[str, Tensor], training: Iterable[str]) -> pd.DataFrame | None:
    """Does the predicted label's column of G_t and G_s look at the cue, and do the baselines?

    attention, untrained: `attention_samples`, with words, of the model and of the same with its weights as drawn, read
    in the same column. training: ids of the training part, in whose texts "rarest word" counts. Columns part ("words",
    "voice"), source ("model", "untrained", "rarest word" or "loudest frame"), and those of `token_grounding`. None
    without `truth`, a true cue or label attention.
    """
    said = dict(zip(predictions["id"], map(corpus.label_set.index, predictions["predicted"]), strict=True))
    texts, truth, tables = corpus.table.set_index("id")["text"], corpus.truth, {}
    sources = {"model": attention, "untrained": {**attention, **untrained}}
    if cued := _cued(said, truth, "text_cue", attention, "label_token"):
        looks = {source: {u: word_attention(samples, u, texts[u])[:, said[u]] for u in cued}
                 for source, samples in sources.items()}
        looks["rarest word"] = rarest_word({u: texts[u] for u in cued}, texts[list(training)])
        tables |= {("words", source): token_grounding(look, truth) for source, look in looks.items()}
    if cued := _cued(said, truth, "voice_cue", attention, "label_frame"):
        from mer_kit.corpora.audio import AudioReader  # here: soundfile may be absent where no sound is read

        rate, read = float(attention["frame_rate"]), AudioReader()
        looks = {source: {u: samples[f"label_frame/{u}"][:, said[u]].numpy() for u in cued}
                 for source, samples in sources.items()}
        looks["loudest frame"] = loudest_frame({u: read(corpus[u]) for u in cued}, rate)
        tables |= {("voice", source): frame_grounding(look, truth, rate) for source, look in looks.items()}
    if not tables:
        return None
    table = pd.concat(tables, names=["part", "source"]).reset_index(level=[0, 1]).reset_index(drop=True)
    return table.astype(dict.fromkeys(table.columns[3:], "float32"))


def _cued(said: Mapping[str, int], truth: pd.DataFrame | None, cue: str, attention: Mapping[str, Tensor],
          name: str) -> list[str]:
    """The utterances with a true cue, of those that are attended to under that name."""
    if truth is None:
        return []
    return [u for u in said if f"{name}/{u}" in attention and truth.at[u, cue] == truth.at[u, "emotion"]]


def grounding_summary(systems: Mapping[str, Iterable[Run]], clusters: Mapping[str, str]) -> pd.DataFrame:
    """Means with intervals over clusters of all folds, and how far the first system is ahead of all else.

    systems: name -> its runs, of the same folds each; the first is in question, and its own untrained models and
    baselines stand with it; seeds of one utterance are averaged. clusters: utterance id -> its dialogue. Columns part,
    and those of `grounding_table`.
    """
    tables = {name: pd.concat([run.grounding for run in runs]) for name, runs in systems.items()}
    first, others = next(iter(tables)), list(tables)[1:]
    rows = []
    for part in tables[first]["part"].unique():
        of = {name: table[table["part"] == part] for name, table in tables.items()}
        own = {source: of[first][of[first]["source"] == source] for source in of[first]["source"].unique()}
        measured = {first: own.pop("model")} | {n: of[n][of[n]["source"] == "model"] for n in others} | own
        means = {name: table.groupby("id").mean(numeric_only=True).reset_index() for name, table in measured.items()}
        rows.append(grounding_table(means, clusters).assign(part=part))
    table = pd.concat(rows, ignore_index=True)
    return table[["part", *table.columns.drop("part")]]
