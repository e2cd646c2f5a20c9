"""Sound from disk: read at one rate in one channel, or refused by file, utterance and reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from mer_kit.corpora.audio import AudioReader, duration, fault
from mer_kit.corpora.corpus import Utterance
from mer_kit.errors import BadInput, Missing

pytest.importorskip("torchaudio")  # its first import takes seconds, better here than in a test

RATE = 16_000  # Hz
RAMP = np.linspace(0.1, 0.9, RATE, dtype=np.float32)  # 1 s


def utterance(audio: Path | None, start: float | None = None, end: float | None = None) -> Utterance:
    return Utterance("u1", "d", 0, "Ann", "s", "hi", audio, start, end, "joy", segment=start is not None)


def tone(rate: int, seconds: float = 1.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * 440 * np.arange(int(rate * seconds)) / rate)


@pytest.fixture
def ramp(tmp_path) -> Path:
    sf.write(tmp_path / "ramp.wav", RAMP, RATE, subtype="FLOAT")
    return tmp_path / "ramp.wav"


def test_a_clip_at_the_readers_own_rate_comes_as_it_is(ramp):
    reader = AudioReader()
    samples = reader(utterance(ramp))
    np.testing.assert_array_equal(samples, RAMP)
    assert samples.dtype == np.float32 and not +reader.counts  # nothing counted


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT", "DOUBLE"])
@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
def test_other_rates_and_sample_formats_hold_the_same_tone(rate, subtype, tmp_path):
    sf.write(tmp_path / "a.wav", tone(rate), rate, subtype=subtype)
    reader = AudioReader()
    samples = reader(utterance(tmp_path / "a.wav"))
    assert len(samples) == RATE and samples.dtype == np.float32 and reader.counts["resampled"] == 1
    np.testing.assert_allclose(samples[2_000:-2_000], tone(RATE)[2_000:-2_000], atol=2e-3)


@pytest.mark.parametrize("rate", [11_127, 44_101])
def test_a_rate_that_shares_no_factor_with_the_readers_is_resampled_in_little_memory(rate, tmp_path):
    sf.write(tmp_path / "a.wav", tone(rate), rate)
    samples = AudioReader()(utterance(tmp_path / "a.wav"))
    assert len(samples) == RATE and samples.dtype == np.float32
    np.testing.assert_allclose(samples[2_000:-2_000], tone(RATE)[2_000:-2_000], atol=2e-3)


@pytest.mark.parametrize(("rate", "said"), [(7, "7 Hz"), (2_000_000_000, "2000000000 Hz")])
def test_a_rate_that_no_recorder_has_is_refused(rate, said, tmp_path):
    sf.write(tmp_path / "a.wav", RAMP[:100], rate)
    assert f"its sample rate is {said}; expected 1000 to 768000" in fault(tmp_path / "a.wav")


def test_headers_that_promise_terabytes_and_headerless_files_are_refused(tmp_path):
    sf.write(tmp_path / "a.flac", RAMP, RATE)
    raw = bytearray((tmp_path / "a.flac").read_bytes())
    raw[21:26] = b"\xff" * 5  # the number of samples
    (tmp_path / "a.flac").write_bytes(raw)
    (tmp_path / "a.raw").write_bytes(b"1234" * 100)
    for name in ("a.flac", "a.raw"):
        assert "not readable audio" in fault(tmp_path / name, "samples")


def test_damaged_floats_as_loud_as_a_star_are_refused(tmp_path):
    sf.write(tmp_path / "a.wav", np.where(RAMP > 0.8, 1e30, RAMP), RATE, subtype="FLOAT")
    assert "infinite" in fault(tmp_path / "a.wav", "samples")


def test_channels_are_averaged(tmp_path):
    sf.write(tmp_path / "a.wav", np.stack([RAMP, 0 * RAMP], axis=1), RATE, subtype="FLOAT")
    reader = AudioReader()
    np.testing.assert_allclose(reader(utterance(tmp_path / "a.wav")), RAMP / 2, atol=1e-7)
    assert reader.counts["mixed down"] == 1 and reader.counts["resampled"] == 0


@pytest.mark.parametrize(("name", "options"), [("a.flac", {}), ("a.ogg", {}), ("a.ogg", {"subtype": "OPUS"})])
def test_compressed_files(name, options, tmp_path):
    sf.write(tmp_path / name, tone(RATE), RATE, **options)
    assert fault(tmp_path / name, "samples") is None and duration(tmp_path / name) == pytest.approx(1.0)
    samples = AudioReader()(utterance(tmp_path / name))
    assert np.corrcoef(samples, tone(RATE))[0, 1] > 0.99


def test_short_clips_are_padded_and_long_ones_cut_and_both_counted(ramp, tmp_path):
    sf.write(tmp_path / "short.wav", RAMP[:800], RATE, subtype="FLOAT")  # 0.05 s
    reader = AudioReader(min_seconds=0.1, max_seconds=0.5)
    short, long = reader(utterance(tmp_path / "short.wav")), reader(utterance(ramp))
    assert len(short) == 1_600 and not short[800:].any()
    np.testing.assert_array_equal(long, RAMP[:8_000])
    assert (reader.counts["padded"], reader.counts["cut"]) == (1, 1)


def test_a_part_of_a_recording(ramp):
    part = AudioReader()(utterance(ramp, 0.25, 0.75))
    np.testing.assert_array_equal(part, RAMP[4_000:12_000])
    rounded = AudioReader()(utterance(ramp, 0.9, 1.005))  # a written end may be rounded up
    np.testing.assert_array_equal(rounded, RAMP[14_400:])


@pytest.mark.parametrize(("start", "end"), [(0.5, 1.2), (2.0, 3.0), (0.5, 0.5), (0.6, 0.4), (-0.1, 0.5),
                                            (0.1, float("nan"))])
def test_a_part_that_is_not_in_the_recording_is_refused(start, end, ramp):
    for check in ("header", "samples"):
        assert "is not in the file (1 s)" in fault(ramp, check, (start, end))
    with pytest.raises(BadInput, match=r"ramp\.wav: utterance u1: the part .* is not in the file"):
        AudioReader()(utterance(ramp, start, end))


def damaged(kind: str, folder: Path) -> Path:
    """A file that cannot be used."""
    name, _, how = kind.partition(" ")
    path = folder / name
    if how.startswith("cut"):
        sf.write(path, tone(RATE), RATE, **({"subtype": "OPUS"} if name == "opus.ogg" else {}))
        whole = path.read_bytes()
        path.write_bytes(whole[: int(len(whole) * float(how.split()[1]))])
    elif how == "NaN":
        sf.write(path, np.where(RAMP > 0.8, np.nan, RAMP), RATE, subtype="FLOAT")
    elif how in ("silent", "no samples", "nearly silent"):
        sf.write(path, RAMP[: 0 if how == "no samples" else None] * (9e-5 if how == "nearly silent" else 0), RATE)
    elif how != "missing":
        path.write_bytes({"empty": b"", "text": b"not sound " * 50, "a header alone": b"RIFF\x24\0\0\0WAVEfmt "}[how])
    return path


# kind, what the header tells, what the samples tell (None: nothing wrong)
@pytest.mark.parametrize(("kind", "by_header", "by_samples"), [
    ("a.wav missing", "is missing", "is missing"),
    ("a.wav empty", "is empty (0 bytes)", "is empty (0 bytes)"),
    ("a.wav text", "not readable audio", "not readable audio"),
    ("a.ogg text", "not readable audio", "not readable audio"),
    ("a.wav a header alone", "truncated", "truncated"),
    ("a.wav no samples", "holds no samples", "holds no samples"),
    *((f"a.wav cut {share}", "truncated", "truncated") for share in (0.001, 0.5, 0.999)),
    *((f"{name}.ogg cut {share}", "truncated", "truncated") for name in ("vorbis", "opus") for share in (0.5, 0.99)),
    ("a.flac cut 0.5", None, "not readable audio"),
    ("a.mp3 cut 0.5", None, "truncated"),
    ("a.wav NaN", None, "NaN or infinite"),
    ("a.wav silent", None, "silent throughout"),
    ("a.wav nearly silent", None, "silent throughout"),
])
def test_unusable_files_are_named_with_the_reason(kind, by_header, by_samples, tmp_path):
    path = damaged(kind, tmp_path)
    assert fault(path, "none") is None
    for check, words in (("header", by_header), ("samples", by_samples)):
        why = fault(path, check)
        assert why is None if words is None else words in why
    with pytest.raises(BadInput) as error:
        AudioReader()(utterance(path))
    assert f"{path}: utterance u1: " in str(error.value) and by_samples in str(error.value)


def test_no_audio_and_a_wrong_check_are_named(ramp):
    with pytest.raises(Missing, match="utterance u1 has no audio"):
        AudioReader()(utterance(None))
    with pytest.raises(BadInput, match="unknown check 'sample'; expected one of: none, header, samples"):
        fault(ramp, "sample")


def test_every_clip_of_a_real_corpus_opens(shared):
    clips = sorted((shared / "data/nemo/samples").iterdir())[::50]
    assert len(clips) > 50 and {fault(clip, "samples") for clip in clips} == {None}
