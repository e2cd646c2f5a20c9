"""Sound from disk: one sample rate, one channel, and a named reason for whatever cannot be used."""

from __future__ import annotations

import struct
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile as sf

from mer_kit.corpora.corpus import Utterance
from mer_kit.errors import BadInput, Missing

CHECKS = ("none", "header", "samples")
SILENCE = 10 ** (-80 / 20)  # a clip that never exceeds -80 dB of full scale is silent


def fault(path: str | Path, check: str = "header") -> str | None:
    """Why an audio file cannot be used, as a phrase, or None.

    `check`: "none" trusts the file, "header" opens it, "samples" decodes it whole
    (and finds truncation, NaN and silence).
    """
    path = Path(path)
    if check == "none":
        return None
    if not path.is_file():
        return "the audio file is missing"
    if path.stat().st_size == 0:
        return "the audio file is empty (0 bytes)"
    try:
        if _is_truncated(path):
            return "the audio file is truncated (its header promises more than there is)"
        frames = sf.info(path).frames
        samples = sf.read(path, dtype="float32")[0] if check == "samples" else None
    except (sf.LibsndfileError, RuntimeError) as error:
        return f"the file is not readable audio ({_reason(error)})"
    if frames == 0:
        return "the audio file holds no samples"
    return None if samples is None else _fault_of(samples, frames)


def _fault_of(samples: np.ndarray, frames: int) -> str | None:
    if len(samples) < frames:
        return f"the audio file is truncated ({len(samples)} of {frames} frames)"
    if not np.isfinite(samples).all():
        return "the audio holds NaN or infinite samples"
    if np.abs(samples).max() < SILENCE:
        return "the audio is silent throughout"
    return None


def _reason(error: Exception) -> str:
    return str(error).splitlines()[0].split(": ")[-1].strip(" .")


def _is_truncated(path: Path) -> bool:
    """Does a WAV's data chunk reach past the end of the file, or an Ogg stream lack its last page?"""
    size = path.stat().st_size
    with path.open("rb") as file:
        magic = file.read(12)
        if magic[:4] == b"RIFF":
            while len(head := file.read(8)) == 8:
                name, length = head[:4], struct.unpack("<I", head[4:])[0]
                if name == b"data":
                    return length not in (0, 0xFFFFFFFF) and file.tell() + length > size  # 0, -1: streamed
                file.seek(length + length % 2, 1)
            return True
        if magic[:4] == b"OggS":
            file.seek(max(0, size - 65_536 - 512))
            tail = file.read()
            last = tail.rfind(b"OggS")
            return last < 0 or last + 6 > len(tail) or not tail[last + 5] & 4  # bit 2: end of stream
    return False


def duration(path: str | Path) -> float:
    """Length of an audio file in seconds, from its header."""
    info = sf.info(path)
    return info.frames / info.samplerate


@dataclass
class AudioReader:
    """Reads an utterance's sound as float32 samples (n,) at `sample_rate` Hz, mixed down to one channel.

    Clips shorter than `min_seconds` are padded with zeros, longer than `max_seconds` cut; `counts` says how many were
    resampled, mixed down, padded and cut.

    >>> reader = AudioReader(sample_rate=16_000, max_seconds=20.0)      # doctest: +SKIP
    >>> reader(corpus["duet_s1_d00_t00"]).shape                          # doctest: +SKIP
    (35520,)
    """

    sample_rate: int = 16_000  # Hz
    min_seconds: float = 0.0
    max_seconds: float | None = None
    counts: Counter = field(default_factory=Counter)

    def __call__(self, utterance: Utterance) -> np.ndarray:
        if utterance.audio is None:
            raise Missing(f"utterance {utterance.id} has no audio; expected a path to a sound file")
        if why := fault(utterance.audio):
            raise BadInput(f"{utterance.audio}: utterance {utterance.id}: {why}")
        samples, rate = self._decode(utterance)
        if why := _fault_of(samples, 0):
            raise BadInput(f"{utterance.audio}: utterance {utterance.id}: {why}")
        return self._fit(self._resample(samples.mean(axis=1), rate))

    def _decode(self, utterance: Utterance) -> tuple[np.ndarray, int]:
        with sf.SoundFile(utterance.audio) as file:
            if utterance.segment:
                file.seek(int(utterance.start * file.samplerate))
            frames = round((utterance.end - utterance.start) * file.samplerate) if utterance.segment else -1
            samples = file.read(frames, dtype="float32", always_2d=True)
            self.counts["mixed down"] += file.channels > 1
            return samples, file.samplerate

    def _resample(self, samples: np.ndarray, rate: int) -> np.ndarray:
        if rate == self.sample_rate:
            return samples
        import torch  # here, because a corpus at its own rate needs no torch
        from torchaudio.functional import resample

        self.counts["resampled"] += 1
        return resample(torch.from_numpy(samples), rate, self.sample_rate).numpy()

    def _fit(self, samples: np.ndarray) -> np.ndarray:
        shortest = int(self.min_seconds * self.sample_rate)
        if len(samples) < shortest:
            self.counts["padded"] += 1
            samples = np.pad(samples, (0, shortest - len(samples)))
        if self.max_seconds is not None and len(samples) > self.max_seconds * self.sample_rate:
            self.counts["cut"] += 1
            samples = samples[: int(self.max_seconds * self.sample_rate)]
        return np.ascontiguousarray(samples, dtype=np.float32)
