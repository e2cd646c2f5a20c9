"""Many recordings of one's own: a folder of clips with their words, each asked in turn."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from mer_kit.corpora.intake import Intake
from mer_kit.corpora.rows import read_rows
from mer_kit.errors import BadInput, Missing
from mer_kit.training.own_recording import Heard, hear
from mer_kit.training.presets import MODELS
from mer_kit.training.restore import Trained

TEXTS = "texts.csv"
SOUNDS = frozenset((".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".caf", ".w64"))
Keep = Callable[["Clip", Heard], None]


@dataclass(frozen=True)
class Clip:
    """A recording and what is said in it."""

    name: str
    sound: Path | None = None  # None: of words alone
    words: str = ""
    before: tuple[str, ...] = ()  # the words of earlier turns, the oldest first


def clips_in(folder: Path, model: str, intake: Intake) -> list[Clip]:
    """The clips of a folder for a model of MODELS.

    With a texts.csv (columns file, text; optional dialogue, turn) they are its rows, in its order: earlier turns of a
    dialogue are a clip's history, and a row without a file is history alone. Else they are the folder's sound files by
    name, each with its words in NAME.txt; a model that only listens needs no words, one that only reads no sound.
    """
    modalities, table = MODELS[model], folder / TEXTS
    if table.is_file() and "text" in modalities:
        clips = _of_table(table, "speech" in modalities, intake)
    else:
        suffixes = SOUNDS if "speech" in modalities else {".txt"}
        files = sorted(f for f in folder.iterdir() if f.suffix.lower() in suffixes and not f.name.startswith("."))
        clips = [_of_file(file, modalities, intake) for file in files]
    if not (found := [clip for clip in clips if clip is not None]):
        raise BadInput(f"{folder} holds nothing for the model {model!r}, which takes {' and '.join(modalities)}; "
                       f"expected sound files ({', '.join(sorted(SOUNDS))}), and {TEXTS} or NAME.txt beside each")
    return found


def _of_file(file: Path, modalities: Iterable[str], intake: Intake) -> Clip | None:
    if "text" not in modalities:
        return Clip(file.name, file)
    if not (words := file.with_suffix(".txt")).is_file():
        return intake.reject(str(file), words.name, f"its words are in no file beside it, nor in a {TEXTS}")
    try:
        text = " ".join(words.read_text(encoding="utf-8-sig").split())
    except UnicodeDecodeError:
        return intake.reject(str(words), words.name, "expected UTF-8; save the file as UTF-8")
    return Clip(file.name, file if "speech" in modalities else None, text)


def _of_table(table: Path, with_sound: bool, intake: Intake) -> list[Clip]:
    rows = pd.DataFrame([{"where": where, "dialogue": "", "turn": "", **row}
                         for where, row in read_rows(table, ("file", "text"), intake)])
    clips, named = [], set()
    for _, dialogue in rows.groupby("dialogue", sort=False) if len(rows) else ():
        turns = pd.to_numeric(dialogue["turn"], errors="coerce").to_numpy(float)
        dialogue, before = dialogue.iloc[np.argsort(turns, kind="stable")], []
        for row in dialogue.to_dict("records"):
            sound = table.parent / row["file"]
            if row["file"] and (why := _fault(row["file"], sound, named, with_sound)):
                intake.reject(row["where"], row["file"], why)
            elif row["file"]:
                clips.append((row["where"], Clip(row["file"], sound if with_sound else None, row["text"],
                                                 tuple(before) if row["dialogue"] else ())))
            named.add(row["file"])
            before.append(row["text"])
    for file in sorted(table.parent.iterdir()) if with_sound else ():
        if file.suffix.lower() in SOUNDS and not file.name.startswith(".") and file.name not in named:
            intake.reject(str(file), file.name, f"it has no row in {TEXTS}")
    order = {where: i for i, where in enumerate(rows["where"])} if len(rows) else {}
    return [clip for _, clip in sorted(clips, key=lambda told: order[told[0]])]


def _fault(file: str, sound: Path, named: set[str], with_sound: bool) -> str | None:
    if file in named:
        return "the file has two rows; expected one"
    if os.path.isabs(file) or os.path.normpath(file).startswith(".."):
        return "expected a file in the folder itself or below it"
    return "there is no such file in the folder" if with_sound and not sound.is_file() else None


def hear_all(trained: Trained, clips: list[Clip], intake: Intake, keep: Keep | None = None,
             progress: bool = True) -> pd.DataFrame:
    """Columns file, predicted, p_<class>, gate_audio and gate_text of a model with a gate, notes; a row a clip.

    What cannot be used is named and refused, or left out and counted, as `intake` says. keep: given each answer.
    """
    rows = []
    for clip in tqdm(clips, unit="clip", disable=not progress or len(clips) == 1):
        try:
            heard = hear(trained, clip.sound and clip.sound.read_bytes(), clip.words, str(clip.sound), clip.before)
        except (BadInput, OSError) as why:
            if intake.on_error == "raise":
                raise BadInput(f"{why}; mend it, or leave it out with --on-error skip") from None
            intake.reject(clip.name, clip.name, str(why))
            continue
        if keep is not None:
            keep(clip, heard)
        gate = {} if heard.gate is None else heard.gate.add_prefix("gate_").to_dict()
        rows.append({"file": clip.name, "predicted": heard.p.idxmax(), **heard.p.add_prefix("p_").to_dict(), **gate,
                     "notes": ", ".join(heard.notes)})
    if not rows:
        raise Missing(f"none of {len(clips)} clips could be used; the first: {intake.rows[0]['reason']}")
    return pd.DataFrame(rows)


def keep_attention(folder: Path, classes: Iterable[str]) -> Keep:
    """Writes each clip's attention to FOLDER/NAME.npz, without objects: what the model calls it, p, classes, words."""
    def keep(clip: Clip, heard: Heard) -> None:
        place = folder / f"{clip.name}.npz"
        place.parent.mkdir(parents=True, exist_ok=True)
        maps: Mapping[str, np.ndarray] = {name: values.numpy() for name, values in heard.attention.items()}
        with (aside := place.with_name(f".{place.name}")).open("wb") as file:
            np.savez(file, classes=np.array(list(classes)), text=np.array(clip.words.split(), dtype=str),
                     p=heard.p.to_numpy(), **maps)
        os.replace(aside, place)
    return keep
