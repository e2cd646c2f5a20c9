"""Makes the embedded corpus `duet` from its process: draws dialogues, writes sentences, speaks them with espeak-ng.

Run once, by the project: `python tools/make_duet.py` (needs Debian's libespeak-ng1; takes about a minute).
espeak-ng (GPL-3) is a build-time tool in a process of its own: it is neither imported nor shipped. Its library is not
deterministic within one process, so each utterance is spoken by a fork of one that has only been initialised. Made
anew, the table and every decoded sample are the same; the serial numbers in the Ogg files are not.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile as sf
from scipy.signal import resample_poly
from tqdm import tqdm

import mer_kit.corpora
from mer_kit.corpora.duet_process import process

DATA = Path(mer_kit.corpora.__file__).parent / "duet_data"
RATE = 16_000  # Hz
HEADROOM = 0.45  # of full scale, so that the loudest style does not clip


class _Id(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [("type", ctypes.c_int), ("unique_identifier", ctypes.c_uint), ("text_position", ctypes.c_int),
                ("length", ctypes.c_int), ("audio_position", ctypes.c_int), ("sample", ctypes.c_int),
                ("user_data", ctypes.c_void_p), ("id", _Id)]


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


class Espeak:
    """espeak-ng's library: SSML in, samples and the time of each mark out."""

    MARK, SYNCHRONOUS, SSML_UTF8, RATE_SETTING, PITCH_SETTING = 3, 2, 1 | 0x10, 1, 3

    def __init__(self, library: str = "libespeak-ng.so.1"):
        self.lib = ctypes.CDLL(library)
        self.rate = self.lib.espeak_Initialize(self.SYNCHRONOUS, 0, None, 0)
        self.samples, self.marks = [], []
        self._callback = _Callback(self._receive)
        self.lib.espeak_SetSynthCallback(self._callback)

    def _receive(self, wave, count, events) -> int:
        if wave and count > 0:
            self.samples.append(np.ctypeslib.as_array(wave, (count,)).copy())
        i = 0
        while events[i].type:
            if events[i].type == self.MARK:
                self.marks.append(events[i].sample)
            i += 1
        return 0

    def speak(self, ssml: str, voice: str, rate: int, pitch: int) -> tuple[np.ndarray, list[int]]:
        """Samples in -1 .. 1 at `self.rate` Hz, and the sample at which each mark stands; once per process."""
        if self.lib.espeak_SetVoiceByName(voice.encode()):
            raise SystemExit(f"espeak-ng has no voice {voice!r}; install Debian's espeak-ng-data")
        self.lib.espeak_SetParameter(self.RATE_SETTING, rate, 0)
        self.lib.espeak_SetParameter(self.PITCH_SETTING, pitch, 0)
        text = ssml.encode()
        self.lib.espeak_Synth(text, ctypes.c_size_t(len(text) + 1), 0, 1, 0, self.SSML_UTF8, None, None)
        return np.concatenate(self.samples) / 32768.0, self.marks

    def speak_apart(self, *arguments) -> tuple[np.ndarray, list[int]]:
        """`speak` in a fork of this process, where it gives the same samples whatever was spoken before."""
        receive, send = os.pipe()
        if (child := os.fork()) == 0:
            with os.fdopen(send, "wb") as pipe:
                pickle.dump(self.speak(*arguments), pipe)
            os._exit(0)
        os.close(send)
        with os.fdopen(receive, "rb") as pipe:
            result = pickle.load(pipe)
        os.waitpid(child, 0)
        return result


def write_sentence(rng: np.random.Generator, words: dict, cue: str | None) -> tuple[list[str], list[int]]:
    """A carrier filled with a cue, or with a filler: its words, and the places of the cue among them."""
    slot = cue or str(rng.choice(words["fillers"]))
    carrier = str(rng.choice(words["carriers"])).format(
        cue=re.sub(r"(\S+)", r"\1\\x00", slot).replace("\\x00", "\0"),
        topic=rng.choice(words["topics"]), person=rng.choice(words["people"]))
    tokens = carrier.split()
    places = [i for i, t in enumerate(tokens) if "\0" in t] if cue else []
    tokens = [t.replace("\0", "") for t in tokens]
    tokens[0] = tokens[0][0].upper() + tokens[0][1:]
    return tokens, places


def ssml(tokens: list[str], span: range, style: dict | None) -> str:
    """The sentence with a mark before each word and the style's prosody around the words of the span."""
    spoken = [f'<mark name="{i}"/>{token}' for i, token in enumerate(tokens)]
    if style:
        prosody = " ".join(f'{k}="{style[k]:.0f}%"' for k in ("rate", "pitch", "range"))
        spoken[span.start] = f"<prosody {prosody}>{spoken[span.start]}"
        spoken[span.stop - 1] += "</prosody>"
    return f"<speak>{' '.join(spoken)}</speak>"


def colour_voice(samples: np.ndarray, style: dict, rate: int, rng: np.random.Generator) -> np.ndarray:
    """A style's voice quality on the samples of its span: gain, spectral tilt, breath and tremor."""
    spectrum = np.fft.rfft(samples)
    octaves = np.log2(np.maximum(np.fft.rfftfreq(len(samples), 1 / rate), 60.0) / 1000)
    voice = np.fft.irfft(spectrum * 10 ** (style.get("tilt", 0) * octaves / 20), len(samples))
    voice *= samples.std() / (voice.std() + 1e-9)
    if "breath" in style:
        envelope = np.sqrt(np.abs(voice) * voice.std())
        voice += envelope * rng.standard_normal(len(voice)) * 10 ** (style["breath"] / 20)
    if "tremor" in style:
        time = np.arange(len(voice)) / rate
        voice *= 1 + style["tremor"] * np.sin(2 * np.pi * style["tremor_hz"] * time)
    edge = min(len(voice) // 4, rate // 100)  # 10 ms in and out
    fade = np.ones(len(voice))
    fade[:edge], fade[len(fade) - edge:] = np.linspace(0, 1, edge), np.linspace(1, 0, edge)
    return samples * (1 - fade) + fade * voice * 10 ** (style["gain"] / 20)


def jittered(style: dict, rng: np.random.Generator, amount: float) -> dict:
    """The style with its distance from the plain voice scaled by up to ± `amount`."""
    scale = 1 + rng.uniform(-amount, amount)
    percent = {k: 100 + (style[k] - 100) * scale for k in ("rate", "pitch", "range")}
    return style | percent | {k: style[k] * scale for k in ("gain", "tilt", "tremor") if k in style}


def trim(samples: np.ndarray, rate: int, keep: float = 0.06) -> slice:
    """The part between the first and the last sound, with `keep` seconds around it."""
    loud = np.flatnonzero(np.abs(samples) > 0.01)
    return slice(max(0, loud[0] - int(keep * rate)), min(len(samples), loud[-1] + int(keep * rate)))


def perform(espeak: Espeak, rng, settings: dict, speaker: dict, tokens: list[str], style_name: str | None):
    """Speak one utterance: samples at 16 kHz, starts and ends of its words (s), and the span of its style (s)."""
    low, high = settings["voice"]["span"]
    length = min(int(rng.integers(low, high + 1)), len(tokens))
    first = int(rng.integers(0, len(tokens) - length + 1))
    style = jittered(settings["styles"][style_name], rng, settings["jitter"]["style"]) if style_name else None
    base = 1 + rng.uniform(-1, 1, 2) * settings["jitter"]["base"]
    samples, marks = espeak.speak_apart(ssml(tokens, range(first, first + length), style), speaker["voice"],
                                        int(speaker["rate"] * base[0]), int(speaker["pitch"] * base[1]))
    kept = trim(samples, espeak.rate)
    bounds = np.clip([*marks, kept.stop], kept.start, kept.stop)
    if style:
        part = slice(bounds[first], bounds[first + length])
        samples[part] = colour_voice(samples[part], style, espeak.rate, rng)
    at_rate = resample_poly(samples[kept], 320, 441)  # 22,050 -> 16,000 Hz
    times = np.round((bounds - kept.start) / espeak.rate, 3)
    return HEADROOM * at_rate, times[:-1], times[1:], (times[first], times[first + length]) if style else (None, None)


def make() -> pd.DataFrame:
    """Draw, write and speak the whole corpus; returns its table."""
    this, settings = process(), process().settings
    rng, espeak, rows = np.random.default_rng(settings["seed"]), Espeak(), []
    low, high = settings["dialogue"]["turns"]
    sessions, dialogues = settings["dialogue"]["sessions"], settings["dialogue"]["dialogues"]
    for session, number in tqdm([(s + 1, d) for s in range(sessions) for d in range(dialogues)], desc="dialogues"):
        clock, offset = 0.0, int(rng.integers(2))
        for t, turn in enumerate(this.draw_dialogue(rng, session, int(rng.integers(low, high + 1)))):
            name, speaker = f"S{session}_d{number:02d}_t{t:02d}", f"Session{session}_{'FM'[(t + offset) % 2]}"
            tokens, places = write_sentence(rng, settings["words"], turn.word)
            style = None if turn.voice_cue is None else this.emotions[turn.voice_cue]
            sound, starts, ends, span = perform(espeak, rng, settings, settings["speakers"][speaker], tokens, style)
            write_sound(DATA / "audio" / f"{name}.ogg", sound)
            clock += rng.uniform(-0.2, 0.8) if t else 0.0
            rows.append({
                "id": name, "dialogue": name[:6], "turn": t, "speaker": speaker, "session": f"Session{session}",
                "text": " ".join(tokens), "start": round(clock, 3), "end": round(clock + len(sound) / RATE, 3),
                "raw_label": this.emotions[turn.emotion],
                "text_cue": None if turn.text_cue is None else this.emotions[turn.text_cue], "cue_word": turn.word,
                "cue_tokens": " ".join(map(str, places)), "voice_cue": style,
                "span_start": span[0], "span_end": span[1],
                "word_starts": " ".join(map(str, starts)), "word_ends": " ".join(map(str, ends))})
            clock += len(sound) / RATE
    return pd.DataFrame(rows)


def write_sound(path: Path, samples: np.ndarray) -> None:
    """16 kHz mono Ogg Opus."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sf.write(path, np.clip(samples, -1, 1), RATE, format="OGG", subtype="OPUS", compression_level=0.93)


if __name__ == "__main__":
    shutil.rmtree(DATA / "audio", ignore_errors=True)
    table = make()
    table.to_csv(DATA / "utterances.csv", index=False)
    size = sum(f.stat().st_size for f in DATA.rglob("*") if f.is_file())
    seconds = sum(sf.info(f).duration for f in (DATA / "audio").iterdir())
    print(f"{len(table)} utterances, {seconds / 60:.1f} minutes, {size / 2**20:.1f} MiB")
