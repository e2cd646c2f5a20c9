"""Sound from disk: one sample rate, one channel, and a named reason for whatever cannot be used."""

from __future__ import annotations

import io
import math
import os
import struct
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile as sf

from mer_kit.corpora.corpus import Utterance
from mer_kit.errors import BadInput, Missing, unknown

CHECKS = ("none", "header", "samples")
SILENCE = 10 ** (-80 / 20)  # a clip that never exceeds -80 dB of full scale is silent
ROUNDING = 0.01  # s; a written end may lie this much past the file's
RATES = (1_000, 768_000)  # Hz; what a damaged header says beyond them would take hours to resample
LOUDEST = 2.0**31  # of a sample; unscaled integers stay within, damaged floats do not
KERNELS = 2**22  # numbers in a table of kernels; torchaudio's has rate × new rate, both reduced


class _Fault(Exception):
    """Why an audio file cannot be used, as a phrase."""


def fault(path: str | Path, check: str = "header", part: tuple[float, float] | None = None) -> str | None:
    """Why an audio file cannot be used, as a phrase, or None.

    `check`: "none" trusts the file, "header" opens it, "samples" decodes it (and finds truncation, NaN and silence).
    `part`: start and end in seconds, where only that part of the file is used: it must lie in the file.
    """
    if check not in CHECKS:
        raise unknown("check", check, CHECKS)
    try:
        if check != "none":
            _decode(Path(path), part, check == "samples")
    except _Fault as why:
        return str(why)
    return None


def _decode(source: Path | bytes, part: tuple[float, float] | None = None,
            read: bool = True) -> tuple[np.ndarray, int]:
    """Samples (n, channels) as float32 and their rate in Hz; without `read`, all that can be told from the header.

    source: a file, or its bytes.
    """
    try:
        if isinstance(source, Path) and not source.is_file():
            raise _Fault("the audio file is missing")
        with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as raw:
            if raw.seek(0, os.SEEK_END) == 0:
                raise _Fault("the audio file is empty (0 bytes)")
            if _is_truncated(raw):
                raise _Fault("the audio file is truncated (its header promises more than there is)")
        with sf.SoundFile(io.BytesIO(source) if isinstance(source, bytes) else source) as file:
            if not RATES[0] <= file.samplerate <= RATES[1]:
                raise _Fault(f"its sample rate is {file.samplerate} Hz; expected {RATES[0]} to {RATES[1]}")
            frames = _seek(file, part) if file.frames else 0
            samples, rate = file.read(frames if read else 0, dtype="float32", always_2d=True), file.samplerate
    except (sf.LibsndfileError, RuntimeError, OSError, TypeError, MemoryError) as error:
        raise _Fault(f"the file is not readable audio ({_reason(error)})") from None
    if frames == 0:
        raise _Fault("the audio file holds no samples")
    if read:
        _check_samples(samples, frames)
    return samples, rate


def _seek(file: sf.SoundFile, part: tuple[float, float] | None) -> int:
    """Goes to where the part begins; how many frames it has."""
    if part is None:
        return file.frames
    if not 0 <= part[0] < part[1] <= file.frames / file.samplerate + ROUNDING:
        raise _Fault(f"the part {part[0]:g} to {part[1]:g} s is not in the file ({file.frames / file.samplerate:g} s)")
    start, end = (min(round(seconds * file.samplerate), file.frames) for seconds in part)
    file.seek(start)
    return end - start


def _check_samples(samples: np.ndarray, frames: int) -> None:
    if len(samples) < frames:
        raise _Fault(f"the audio file is truncated ({len(samples)} of {frames} frames)")
    if not np.isfinite(samples).all() or np.abs(samples).max() > LOUDEST:
        raise _Fault("the audio holds NaN or infinite samples")
    if np.abs(samples).max() < SILENCE:
        raise _Fault("the audio is silent throughout")


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error)  # without the path
    return text.splitlines()[0].split(": ")[-1].strip(" .")


def _is_truncated(file: BinaryIO) -> bool:
    """Does a WAV's data chunk reach past the end of the file, or an Ogg stream lack (part of) its last page?"""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    magic = file.read(12)
    if magic[:4] == b"RIFF":
        while len(head := file.read(8)) == 8:
            name, length = head[:4], struct.unpack("<I", head[4:])[0]
            if name == b"data":
                return length not in (0, 0xFFFFFFFF) and file.tell() + length > size  # 0, -1: streamed
            file.seek(length + length % 2, os.SEEK_CUR)
        return True
    if magic[:4] == b"OggS":
        file.seek(max(0, size - 2 * 65_536))
        tail = file.read()
        page = tail[tail.rfind(b"OggS") :] if b"OggS" in tail else b""
        if len(page) < 27 or not page[5] & 4:  # bit 2: end of stream
            return True
        return len(page) < 27 + page[26] + sum(page[27 : 27 + page[26]])  # header, segment table, segments
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
        part = (utterance.start, utterance.end) if utterance.segment else None
        return self._read(utterance.audio, f"{utterance.audio}: utterance {utterance.id}", part)

    def decoded(self, data: bytes, name: str) -> np.ndarray:
        """The samples in the bytes of a sound file, such as an upload, which is written nowhere; name: for errors."""
        return self._read(bytes(data), name)

    def _read(self, source: Path | bytes, name: str, part: tuple[float, float] | None = None) -> np.ndarray:
        try:
            samples, rate = _decode(source, part)
        except _Fault as why:
            raise BadInput(f"{name}: {why}") from None
        self.counts["mixed down"] += samples.shape[1] > 1
        return self._fit(self._resample(samples.mean(axis=1), rate))

    def _resample(self, samples: np.ndarray, rate: int) -> np.ndarray:
        if rate == self.sample_rate:
            return samples
        self.counts["resampled"] += 1
        if rate * self.sample_rate > KERNELS * math.gcd(rate, self.sample_rate) ** 2:  # such as 44,101 Hz
            from scipy.signal import resample_poly

            return resample_poly(samples, self.sample_rate, rate)
        import torch  # here, because a corpus at its own rate needs no torch
        from torchaudio.functional import resample

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
