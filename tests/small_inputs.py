"""A tiny corpus, silent or sounding, for tests of inputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile as sf

from mer_kit.corpora.corpus import Corpus, make_table
from mer_kit.labels import label_set

TEXTS = ["one two three", "four five", "", "six", "seven eight nine ten", None, "two"]
RATE = 16_000  # Hz


def make(texts=TEXTS, audio=None, dialogue="d") -> Corpus:
    rows = [{"id": f"{dialogue}{i}", "dialogue": dialogue, "turn": i, "speaker": "AB"[i % 2], "session": "1", "text": t,
             "audio": audio[i] if audio else None, "start": None, "end": None,
             "raw_label": "anger" if t is not None else "fear"} for i, t in enumerate(texts)]
    labels = label_set("duet-4")
    return Corpus("tiny", labels, make_table(rows, labels, "turn"), "none")


def clips(folder: Path) -> Corpus:
    """Seven clips of 0.05 s to 1.4 s."""
    random = np.random.default_rng(0)
    paths = [folder / f"{i}.wav" for i in range(7)]
    for path, n in zip(paths, (800, 4_000, 16_000, 22_400, 16_000, 9_000, 3_000), strict=True):
        sf.write(path, 0.1 * random.standard_normal(n), RATE, subtype="FLOAT")
    return make(["a"] * 7, audio=paths)
