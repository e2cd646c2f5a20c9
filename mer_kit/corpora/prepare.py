"""MELD's video clips -> 16 kHz mono wav files, by ffmpeg; may be stopped and started again at any time."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
from tqdm.auto import tqdm

from mer_kit.corpora.audio import duration, fault
from mer_kit.corpora.intake import Intake
from mer_kit.corpora.meld import CLIPS, OVERLONG, UNUSABLE, clip_names, find, read_utterances, wav_path
from mer_kit.errors import Missing

SOUND = ("-vn", "-ac", "1", "-ar", "16000", "-c:a", "pcm_s16le", "-fflags", "+bitexact", "-flags:a", "+bitexact")
UNREADABLE = ("broken", "silent", "missing")  # these get no wav


@dataclass(frozen=True)
class Clip:
    """One row's clip, and where its sound goes."""

    id: str
    name: str  # "train_splits/dia0_utt0.mp4"
    video: Path | None  # None: its split's folder is not there
    wav: Path
    seconds: float  # of the row


def prepare_meld(folder: str | Path, jobs: int = 2, on_error: str = "skip") -> pd.DataFrame:
    """Makes `folder/wav/<split>/dia<D>_utt<U>.wav` of MELD's clips, `jobs` at a time; finished ones are not redone.

    Returns a row a clip with the columns clip, status, detail. Status: "ready"; "overlong" (made, but over 0.5 s longer
    than its row); "broken", "silent", "missing" (no wav); "no row" (no wav: no utterance names it).
    on_error="raise" stops at the first unreadable clip that is not known to be so in the release. Raises Missing
    without ffmpeg, without any clip folder and without the CSV files.
    """
    folder, intake = Path(folder), Intake(on_error)
    ffmpeg_program()
    videos = {split: find(folder, name) for split, name in CLIPS.items()}
    if not any(videos.values()):
        raise Missing(f"none of {', '.join(CLIPS.values())} in {folder} or two folders below; "
                      "unpack MELD.Raw and its train, dev and test archives there")
    clips = [_clip(row, folder, videos[row["split"]]) for row in read_utterances(folder, intake)]
    for split in CLIPS:
        (folder / "wav" / split).mkdir(parents=True, exist_ok=True)
    rows = []
    with (TemporaryDirectory(prefix=".unfinished-", dir=folder / "wav") as scratch, ThreadPoolExecutor(jobs) as pool,
          closing(pool.map(lambda clip: _prepare(clip, Path(scratch)), clips)) as results):  # closed: starts no more
        for clip, (status, detail) in zip(clips, tqdm(results, "clips to wav", len(clips), unit="clip"), strict=True):
            if status in UNREADABLE and clip.id not in UNUSABLE:
                intake.reject(str(clip.video or folder), clip.name, detail, clip.id)
            rows.append((clip.name, status, detail))
    return pd.DataFrame([*rows, *_strays(clips, videos)], columns=["clip", "status", "detail"])


def ffmpeg(*arguments: str | Path, stdin: bytes = b"") -> str | None:
    """Runs ffmpeg, which overwrites its output; why it failed (its first complaint), or None."""
    command = [ffmpeg_program(), "-nostdin", "-v", "error", "-y", *map(str, arguments)]
    done = subprocess.run(command, input=stdin, capture_output=True, check=False)
    complaints = done.stderr.decode(errors="replace").strip().splitlines()
    why = complaints[0] if complaints else f"it ended with status {done.returncode}"
    return f"ffmpeg: {re.sub(r'^.* @ 0x[0-9a-f]+. ', '', why)}" if done.returncode else None


def ffmpeg_program() -> str:
    """Where ffmpeg is; raises Missing, with how to install it."""
    if program := shutil.which("ffmpeg"):
        return program
    raise Missing("the program ffmpeg was not found; it reads and writes MELD's mp4 clips. Install it with: "
                  "conda install -c conda-forge ffmpeg, apt install ffmpeg, or brew install ffmpeg")


def _clip(row: dict, folder: Path, videos: Path | None) -> Clip:
    file = f"{row['clip']}.mp4"
    return Clip(row["id"], f"{CLIPS[row['split']]}/{file}", videos and videos / file,
                wav_path(folder, row["split"], row["clip"]), row["end"] - row["start"])


def _prepare(clip: Clip, scratch: Path) -> tuple[str, str]:
    """(status, detail) of one clip, its wav made where it was not there yet."""
    if fault(clip.wav):
        if clip.video is None or not clip.video.is_file():
            return "missing", "the clip is missing" if clip.video else "the folder of its split is missing"
        part = scratch / f"{clip.id}.wav"
        if why := ffmpeg("-i", clip.video, *SOUND, part):
            return "broken", why
        if why := fault(part, "samples"):
            return "silent" if "silent" in why else "broken", why
        os.replace(part, clip.wav)
    excess = duration(clip.wav) - clip.seconds
    return ("overlong", f"{excess:.2f} s longer than its row") if excess > OVERLONG else ("ready", "")


def _strays(clips: list[Clip], videos: dict[str, Path | None]) -> list[tuple[str, str, str]]:
    named = {clip.name for clip in clips}
    there = [f"{CLIPS[split]}/{name}.mp4" for split, folder in videos.items() for name in sorted(clip_names(folder))]
    return [(name, "no row", "no utterance names this clip") for name in there if name not in named]
