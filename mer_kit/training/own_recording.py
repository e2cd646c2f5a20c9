"""A trained model asked about a recording that is in no corpus; nothing of it is written to disk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mer_kit.encoders.acoustics import SHORTEST, acoustic_frames
from mer_kit.errors import Missing
from mer_kit.features.inputs import TextInputs, collate
from mer_kit.training.attention import samples_of, word_attention
from mer_kit.training.presets import MODELS
from mer_kit.training.restore import Trained

OWN = "own recording"


@dataclass(frozen=True)
class Heard:
    """What a model says of a recording; None where the model, or what it was given, has no such part."""

    p: pd.Series  # the probability of each class
    gate: pd.Series | None = None  # weights of audio and text
    of_words: np.ndarray | None = None  # attention of labels to the words typed (words, C)
    of_frames: np.ndarray | None = None  # and to frames (frames, C)
    frame_rate: float | None = None  # of these, frames a second
    attention: Mapping[str, Tensor] = field(default_factory=dict)  # as `samples_of` names it, "word_of_token" for words
    notes: tuple[str, ...] = ()  # what was done to the sound: "resampled", "mixed down", "padded", "cut"


@torch.no_grad()
def hear(trained: Trained, sound: bytes | None = None, words: str = "", name: str = OWN,
         before: Sequence[str] = ()) -> Heard:
    """Ask a model about the bytes of a sound file and the words said in it.

    name: of the file, for errors: BadInput says why it cannot be used, Missing what the model needs besides. before:
    the words of earlier turns of the dialogue, the oldest first, of which the model reads as many as in training.
    """
    stage, model, notes = trained.stage, trained.model, Counter()
    modalities, text, speech, picture = MODELS[trained.experiment.model], None, None, None
    if "text" in modalities:
        tokenizer, usual = stage.text(trained.fold)
        turns = [*before, words]
        rows = stage.corpus.table.iloc[[0] * len(turns)].assign(id=[*map(str, range(len(before))), OWN], text=turns)
        text = TextInputs(replace(stage.corpus, table=rows), tokenizer, usual.history_turns, usual.max_tokens)
    if "speech" in modalities:
        samples = _samples(trained, sound, name, notes)
        frames = acoustic_frames(samples)
        speech = samples if stage.speech.kind == "waves" else frames
        picture = stage.bands(frames) if hasattr(model, "spectrogram_encoder") else None
    batch = collate([OWN], text, None if speech is None else lambda _: speech,
                    spectrograms=None if picture is None else lambda _: picture)
    output = model(batch.to(next(model.parameters()).device))
    classes = list(stage.corpus.label_set.classes)
    looks = samples_of(model, [(batch, output)], text and text.words, maps=1)
    maps = {name.removesuffix(f"/{OWN}"): values for name, values in looks.items()}
    if "words" in maps:
        maps["word_of_token"] = maps.pop("words")
    told = {"p": pd.Series(output.logits.softmax(dim=1)[0].cpu().numpy(), classes), "attention": maps,
            "notes": tuple(+notes)}
    if "gate" in output.attention:
        told["gate"] = pd.Series(output.attention["gate"][0].cpu().numpy(), ["audio", "text"])
    if f"label_token/{OWN}" in looks and words.split():
        told["of_words"] = word_attention(looks, OWN, words)
    if f"label_frame/{OWN}" in looks:
        told |= {"of_frames": looks[f"label_frame/{OWN}"].numpy(), "frame_rate": float(looks["frame_rate"])}
    return Heard(**told)


def _samples(trained: Trained, sound: bytes | None, name: str, notes: Counter) -> torch.Tensor:
    """The samples (n,) in a sound file's bytes, as the model's other sound is read."""
    from mer_kit.corpora.audio import AudioReader  # here: soundfile may be absent where no sound is read

    if sound is None:
        raise Missing(f"the model {trained.experiment.model!r} listens, and there is no recording; choose a sound file")
    reader = AudioReader(min_seconds=SHORTEST, max_seconds=trained.stage.encoders.max_seconds, counts=notes)
    return torch.from_numpy(reader.decoded(sound, name))
