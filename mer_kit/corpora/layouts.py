"""A corpus written as an IEMOCAP release or as MELD.Raw, so that the whole way from disk to table can be walked.

Meant for `duet`: seven emotions, sessions of two speakers whose names end in F or M, sound and times for every turn.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from pathlib import Path

import pandas as pd
import soundfile as sf

from mer_kit.corpora.audio import AudioReader
from mer_kit.corpora.corpus import Corpus, Utterance
from mer_kit.corpora.meld import CLIPS, COLUMNS
from mer_kit.corpora.prepare import ffmpeg
from mer_kit.errors import BadInput, Missing, pick

RATE = 16_000  # Hz
IEMOCAP_LABELS = {"anger": ("ang",), "disgust": ("dis",), "fear": ("fea",), "joy": ("hap", "exc"), "neutral": ("neu",),
                  "sadness": ("sad",), "surprise": ("sur",)}
RATINGS = ("C-E2:\t{rating};\t()", "C-E4:\t{rating}; Other;\t(hard to tell)", "A-E3:\tval 2; act 4; dom  5;\t()",
           "A-F1:\tval 3; act 3; dom  ;\t()")
SENTIMENTS = {"joy": "positive", "neutral": "neutral"}  # else negative


def write_as_iemocap(corpus: Corpus, folder: str | Path) -> pd.Series:
    """Writes `folder/Session*/…` and returns the ids in IEMOCAP's grammar, indexed by the corpus's own.

    Evaluations stand in the order of ids, transcriptions in that of time, as in the release, with the raters' lines and
    one unlabelled `MXX0` line a dialogue; joy becomes hap and exc in turn. The ratings themselves mean nothing.
    """
    sessions = _sessions(corpus, 1, 5)
    labels = {emotion: cycle(codes) for emotion, codes in IEMOCAP_LABELS.items()}
    names = {}
    for number, turns in enumerate(sessions, 1):
        root = Path(folder) / f"Session{number}"
        for place, (_, dialogue) in enumerate(turns.groupby("dialogue", sort=False)):
            name = _dialogue_name(number, place)
            dialogue = dialogue.assign(name=[*_turn_names(name, dialogue["speaker"])],
                                       code=[next(pick("emotion", e, labels)) for e in dialogue["raw_label"]])
            _write_texts(root / "dialog", name, dialogue)
            _write_wavs(root / "sentences" / "wav" / name, corpus, dialogue)
            names |= dict(zip(dialogue["id"], dialogue["name"], strict=True))
    return pd.Series(names)


def write_as_meld(corpus: Corpus, folder: str | Path, jobs: int = 2) -> pd.Series:
    """Writes `folder/MELD.Raw` (three CSV files, mp4 clips) and returns the ids that MELD's loader gives, by own id.

    The last session becomes test, the one before it dev, the others train; a session becomes season N, episode 1.
    Needs ffmpeg, `jobs` clips at a time.
    """
    sessions = _sessions(corpus, 3, 99)
    splits = [*["train"] * (len(sessions) - 2), "dev", "test"]
    root, names = Path(folder) / "MELD.Raw", {}
    for split, clips in CLIPS.items():
        (root / clips).mkdir(parents=True, exist_ok=True)
        turns = pd.concat([t.assign(season=n) for n, t in enumerate(sessions, 1) if splits[n - 1] == split])
        turns["number"] = turns["dialogue"].factorize()[0]
        turns["clip"] = [f"dia{t.number}_utt{t.turn}" for t in turns.itertuples()]
        _write_csv(root / f"{split}_sent_emo.csv", turns)
        with ThreadPoolExecutor(jobs) as pool:
            paths = [root / clips / f"{clip}.mp4" for clip in turns["clip"]]
            list(pool.map(lambda utterance, path: _write_clip(corpus[utterance], path), turns["id"], paths))
        names |= dict(zip(turns["id"], split + "_" + turns["clip"], strict=True))
    return pd.Series(names)


def _sessions(corpus: Corpus, fewest: int, most: int) -> list[pd.DataFrame]:
    """The turns of each session, in time order; refuses a corpus that the layout cannot hold."""
    table = corpus.table
    for column in ("text", "audio", "start", "end"):
        if table[column].isna().any():
            lacking = table.loc[table[column].isna(), "id"].iloc[0]
            raise Missing(f"utterance {lacking} has no {column}; this layout needs it for every utterance")
    sessions = [turns for _, turns in table.groupby("session")]
    if not fewest <= len(sessions) <= most:
        raise BadInput(f"got {len(sessions)} sessions; this layout holds {fewest} to {most}")
    return sessions


def _dialogue_name(session: int, place: int) -> str:
    """The n-th dialogue of a session: Ses01F_impro01, Ses01M_impro01 … Ses01M_impro09, Ses01F_script01_0 …"""
    scene = place // 2
    if scene >= 99:
        raise BadInput(f"more than {place} dialogues in session {session}; IEMOCAP's names hold 198")
    script, part = divmod(scene - 9, 10)
    return f"Ses0{session}{'FM'[place % 2]}_" + (f"impro0{scene + 1}" if scene < 9 else f"script0{script + 1}_{part}")


def _turn_names(dialogue: str, speakers: pd.Series) -> Iterator[str]:
    """Each turn's id: the talker's letter, and a number of that talker's own."""
    spoken = {"F": 0, "M": 0}
    for speaker in speakers:
        if (letter := speaker[-1].upper()) not in spoken:
            raise BadInput(f"got the speaker {speaker!r}; expected a name that ends in F or M")
        yield f"{dialogue}_{letter}{spoken[letter]:03}"
        spoken[letter] += 1


def _write_texts(root: Path, name: str, dialogue: pd.DataFrame) -> None:
    evaluation = ["% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]", ""]
    for turn in dialogue.sort_values("name").itertuples():
        evaluation.append(f"[{turn.start:.4f} - {turn.end:.4f}]\t{turn.name}\t{turn.code}\t[2.5000, 3.5000, 3.0000]")
        evaluation += [*(line.format(rating=turn.raw_label.title()) for line in RATINGS), ""]
    spoken = [f"{t.name} [{t.start:08.4f}-{t.end:08.4f}]: {t.text}" for t in dialogue.itertuples()]
    last = dialogue["end"].max()
    spoken.append(f"{name}_MXX0 [{last:08.4f}-{last + 1:08.4f}]: [BREATHING]")
    for kind, lines in (("EmoEvaluation", evaluation), ("transcriptions", spoken)):
        (root / kind).mkdir(parents=True, exist_ok=True)
        (root / kind / f"{name}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _write_wavs(folder: Path, corpus: Corpus, dialogue: pd.DataFrame) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    read = AudioReader(RATE)
    for turn in dialogue.itertuples():
        sf.write(folder / f"{turn.name}.wav", read(corpus[turn.id]), RATE, subtype="PCM_16")


def _write_csv(path: Path, turns: pd.DataFrame) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\r\n")
        writer.writerow(COLUMNS)
        for serial, turn in enumerate(turns.itertuples(), 1):
            sentiment = SENTIMENTS.get(turn.raw_label, "negative")
            writer.writerow((serial, turn.text, turn.speaker, turn.raw_label, sentiment, turn.number, turn.turn,
                             turn.season, 1, _clock(turn.start), _clock(turn.end)))


def _clock(seconds: float) -> str:
    whole, ms = divmod(round(seconds * 1000), 1000)
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02},{ms:03}"


def _write_clip(utterance: Utterance, path: Path) -> None:
    samples = AudioReader(RATE)(utterance)
    given = ("-f", "f32le", "-ar", str(RATE), "-ac", "1", "-i", "pipe:0")
    if why := ffmpeg(*given, "-c:a", "aac", "-b:a", "64k", path, stdin=samples.tobytes()):
        raise BadInput(f"{path}: utterance {utterance.id}: {why}")
