"""MELD's clips to wav: what is made, what is listed, and that nothing half-done is left."""

from __future__ import annotations

import shutil
import subprocess
import time

import numpy as np
import pytest
import soundfile as sf

from mer_kit.corpora import prepare
from mer_kit.corpora.meld import load
from mer_kit.corpora.prepare import prepare_meld
from mer_kit.errors import BadInput, Missing

needs_ffmpeg = pytest.mark.skipif(not shutil.which("ffmpeg"), reason="the program ffmpeg is not installed")

HEADER = "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime\r\n"
ROW = '1,Hi,Ross,joy,positive,{},{},1,1,"00:00:01,000","00:00:02,000"\r\n'
SPLIT_OF = {"train_splits": "train", "dev_splits_complete": "dev", "output_repeated_splits_test": "test"}
IDS = {"train": [(0, 0), (0, 1), (125, 3)], "dev": [(110, 7)], "test": [(0, 0)]}


@pytest.fixture
def folder(tmp_path):
    """MELD.Raw as its archives unpack: rows of 1 s; a folder of clips in each split's own."""
    for clips, split in SPLIT_OF.items():
        root = tmp_path / "MELD.Raw" / split
        (root / clips).mkdir(parents=True)
        rows = "".join(ROW.format(*ids) for ids in IDS[split])
        (root / f"{split}_sent_emo.csv").write_text(HEADER + rows, newline="")
    return tmp_path


def clip(folder, name, seconds=1.0, volume=1.0):
    """A clip with a picture and stereo sound at 44.1 kHz."""
    path = folder / "MELD.Raw" / SPLIT_OF[name.split("/")[0]] / f"{name}.mp4"
    picture = ["-f", "lavfi", "-i", "color=black:s=32x32:r=5"]
    sound = ["-f", "lavfi", "-i", f"sine=440:sample_rate=44100,volume={volume},aformat=channel_layouts=stereo"]
    made = ["-t", str(seconds), "-c:v", "mpeg4", "-c:a", "aac", str(path)]
    subprocess.run(["ffmpeg", "-v", "error", *picture, *sound, *made], check=True)
    return path


def statuses(table):
    return dict(zip(table["clip"], table["status"], strict=True))


@needs_ffmpeg
def test_clips_become_mono_wavs_and_every_other_one_is_listed(folder):
    clip(folder, "train_splits/dia0_utt0")
    clip(folder, "train_splits/dia0_utt1", volume=0)
    clip(folder, "train_splits/dia125_utt3").write_bytes(b"\x00\x00\x00\x18ftypmp42 cut off")
    clip(folder, "dev_splits_complete/dia49_utt4")
    clip(folder, "output_repeated_splits_test/dia0_utt0", seconds=1.8)
    (folder / "MELD.Raw" / "train" / "train_splits" / "._dia0_utt0.mp4").write_bytes(b"\x00\x05\x16\x07")
    table = prepare_meld(folder)
    assert statuses(table) == {
        "train_splits/dia0_utt0.mp4": "ready", "train_splits/dia0_utt1.mp4": "silent",
        "train_splits/dia125_utt3.mp4": "broken", "dev_splits_complete/dia110_utt7.mp4": "missing",
        "output_repeated_splits_test/dia0_utt0.mp4": "overlong", "dev_splits_complete/dia49_utt4.mp4": "no row"}
    details = dict(zip(table["clip"], table["detail"], strict=True))
    assert details["output_repeated_splits_test/dia0_utt0.mp4"].endswith("s longer than its row")
    assert "moov atom not found" in details["train_splits/dia125_utt3.mp4"]
    made = sorted(str(f.relative_to(folder / "wav")) for f in (folder / "wav").rglob("*") if f.is_file())
    assert made == ["test/dia0_utt0.wav", "train/dia0_utt0.wav"]
    samples, rate = sf.read(folder / "wav" / "train" / "dia0_utt0.wav", always_2d=True)
    assert rate == 16_000 and samples.shape[1] == 1 and abs(len(samples) - 16_000) < 1_100
    spectrum = np.abs(np.fft.rfft(samples[:16_000, 0]))
    assert abs(spectrum.argmax() * 16_000 / len(samples[:16_000]) - 440) < 2


@needs_ffmpeg
def test_the_loader_finds_what_was_prepared(folder):
    clip(folder, "train_splits/dia0_utt0")
    clip(folder, "train_splits/dia0_utt1")
    clip(folder, "output_repeated_splits_test/dia0_utt0", seconds=1.8)
    prepare_meld(folder, on_error="raise")  # dia125_utt3 and dia110_utt7 are known to lack
    corpus = load(folder)
    assert len(corpus) == 5 and len(corpus.targets) == 3
    assert any(n.startswith("test: 1 clips are over 0.5 s longer") for n in corpus.notes)


@needs_ffmpeg
def test_finished_wavs_are_kept_and_a_damaged_one_is_made_anew(folder):
    source = clip(folder, "train_splits/dia0_utt0")
    prepare_meld(folder)
    wav = folder / "wav" / "train" / "dia0_utt0.wav"
    first = wav.read_bytes()
    stamp = wav.stat().st_mtime_ns
    prepare_meld(folder)
    assert wav.stat().st_mtime_ns == stamp
    wav.write_bytes(first[:500])
    prepare_meld(folder)
    assert wav.read_bytes() == first
    source.unlink()
    assert statuses(prepare_meld(folder))["train_splits/dia0_utt0.mp4"] == "ready"


@needs_ffmpeg
def test_an_unreadable_clip_raises_when_asked(folder):
    clip(folder, "train_splits/dia0_utt0")
    clip(folder, "train_splits/dia0_utt1").write_bytes(b"")
    with pytest.raises(BadInput, match=r"train_dia0_utt1: ffmpeg: .*train_splits/dia0_utt1.mp4"):
        prepare_meld(folder, jobs=1, on_error="raise")


@needs_ffmpeg
@pytest.mark.parametrize("cause", [KeyboardInterrupt, BadInput])
def test_a_stopped_run_leaves_nothing_half_done_and_starts_no_more(folder, monkeypatch, cause):
    def stop(*arguments):
        started.append(arguments)
        arguments[-1].write_bytes(b"RIFF half of a wav")
        time.sleep(0.05)
        if cause is KeyboardInterrupt:
            raise KeyboardInterrupt
        return "cannot be read"

    started = []
    for clips, split in SPLIT_OF.items():
        for dialogue, turn in IDS[split]:
            (folder / "MELD.Raw" / split / clips / f"dia{dialogue}_utt{turn}.mp4").touch()
    monkeypatch.setattr(prepare, "ffmpeg", stop)
    with pytest.raises(cause):
        prepare_meld(folder, jobs=1, on_error="raise")
    assert len(started) <= 2 and [f for f in (folder / "wav").rglob("*") if f.is_file()] == []


@needs_ffmpeg
def test_folders_of_clips_that_are_not_there(folder):
    clip(folder, "train_splits/dia0_utt0")
    shutil.rmtree(folder / "MELD.Raw" / "test" / "output_repeated_splits_test")
    table = prepare_meld(folder).set_index("clip")
    assert table.loc["output_repeated_splits_test/dia0_utt0.mp4"].tolist() == \
        ["missing", "the folder of its split is missing"]
    for split in ("train/train_splits", "dev/dev_splits_complete"):
        shutil.rmtree(folder / "MELD.Raw" / split)
    with pytest.raises(Missing, match=r"none of train_splits, .*unpack"):
        prepare_meld(folder)


def test_without_ffmpeg_one_is_told_how_to_install_it(folder, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(Missing, match=r"ffmpeg was not found.*conda install.*apt install.*brew install"):
        prepare_meld(folder)
