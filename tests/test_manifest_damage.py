"""A damaged manifest row is named by file, line, column and value, or left out, and takes no other row with it."""

from __future__ import annotations

import csv
import io
import random
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mer_kit.corpora.corpus import Corpus
from mer_kit.corpora.manifest import load
from mer_kit.errors import BadInput, MerKitError

COLUMNS = ["audio", "text", "speaker", "label", "id", "session", "dialogue", "turn", "start", "end", "split"]
RATE = 8_000  # Hz

# kind -> cells that damage a row, and words of the message besides file, line and value (the first cell's)
CELLS = {
    "unknown label": ({"label": "angri"}, "column label: unknown emotion label 'angri'; expected one of: anger, joy"),
    "empty label": ({"label": ""}, "column label"),
    "duplicate id": ({"id": "u0"}, "column id: this id already stands in line 2"),
    "empty speaker": ({"speaker": " "}, "column speaker: it is empty"),
    "dialogue in two sessions": ({"session": "s9", "dialogue": "d0"}, "dialogue 'd0' began in session 's0'"),
    "neither text nor audio": ({"audio": "", "text": " "}, "columns audio and text: both are empty"),
    "start not a number": ({"start": "soon", "end": "0.04"}, "column start: expected seconds"),
    "decimal comma": ({"start": "0,01", "end": "0.04"}, "column start: expected seconds"),
    "end not a number": ({"end": "nan", "start": "0.01"}, "column end: expected seconds"),
    "infinite end": ({"end": "inf", "start": "0.01"}, "column end: expected seconds"),
    "negative start": ({"start": "-0.01", "end": "0.04"}, "column start: expected seconds, a number from 0"),
    "end before start": ({"end": "0.01", "start": "0.03"}, "column end: it must come after the start, 0.03 s"),
    "start without end": ({"end": "", "start": "0.01"}, "column end: it is empty; give both start and end"),
    "end without start": ({"start": "", "end": "0.01"}, "column start: it is empty; give both start and end"),
    "part past the file's end": ({"audio": "good.wav", "start": "0.01", "end": "7"}, "0.01 to 7 s is not in the file"),
    "silent part": ({"audio": "half.wav", "start": "0.06", "end": "0.09"}, "silent"),
    "bad split": ({"split": "dve"}, "expected one of: train, dev, test; did you mean 'dev'?"),
    "bad turn": ({"turn": "1.5"}, "column turn: expected a whole number from 0"),
    "negative turn": ({"turn": "-1"}, "column turn: expected a whole number from 0"),
    "turn of 5,000 digits": ({"turn": "7" * 5_000}, "column turn: expected a whole number from 0"),
    "missing audio": ({"audio": "nowhere.wav"}, "column audio: the audio file is missing"),
    "folder as audio": ({"audio": "."}, "column audio: the audio file is missing"),
    "overlong name": ({"audio": "x" * 300 + ".wav"}, "column audio: the file is not readable audio"),
    "empty audio": ({"audio": "empty.wav"}, "column audio: the audio file is empty"),
    "no samples": ({"audio": "none.wav"}, "column audio: the audio file holds no samples"),
    "truncated wav": ({"audio": "cut.wav"}, "column audio: the audio file is truncated"),
    "truncated ogg": ({"audio": "cut.ogg"}, "column audio: the audio file is truncated"),
    "truncated flac": ({"audio": "cut.flac"}, "column audio: the file is not readable audio"),
    "text named wav": ({"audio": "words.wav"}, "column audio: the file is not readable audio"),
    "NaN samples": ({"audio": "nan.wav"}, "column audio: the audio holds NaN or infinite samples"),
    "silent clip": ({"audio": "silent.wav"}, "column audio: the audio is silent throughout"),
}

# kind -> the damaged line made from a good one, the value in the message, and its words
LINES = {
    "too few fields": (lambda raw: b"good.wav,hello,Ann", "'hello'", "3 fields, expected 11 (audio, text"),
    "too many fields": (lambda raw: raw + b",more", "'more'", "12 fields, expected 11 (audio, text"),
    "far too many fields": (lambda raw: raw + b"," * 500, "511", "511 fields, expected 11"),
    "unclosed quote": (lambda raw: b'"broken' + raw, '"broken', "the quotes or the length of a cell"),
    "text after a quote": (lambda raw: b'"no"thing,' + raw, '"no"thing', "the quotes or the length of a cell"),
    "cell too long": (lambda raw: b"x" * 200_000 + raw, "xxxxxxxx", "field larger than field limit"),
    "cp1252 bytes": (lambda raw: raw.replace(b"you", b"you\x92re"), r"\x92re", "is not UTF-8"),
    "NUL byte": (lambda raw: b"\0" + raw, r"\x00", "the line holds a NUL byte"),
    "header again": (lambda raw: ",".join(COLUMNS).encode(), "'label'", "column label: unknown emotion label"),
}
KINDS = [*CELLS, *LINES]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """One good clip of 0.1 s, and one for each way to be unusable."""
    path = tmp_path_factory.mktemp("clips")
    tone = 0.3 * np.sin(np.arange(RATE // 10) / 5)
    for name, samples in {"good.wav": tone, "good.ogg": tone, "good.flac": tone, "none.wav": tone[:0],
                          "silent.wav": 0 * tone, "half.wav": tone * (np.arange(len(tone)) < 400)}.items():
        sf.write(path / name, samples, RATE)
    sf.write(path / "nan.wav", np.where(np.arange(len(tone)) == 99, np.nan, tone), RATE, subtype="FLOAT")
    for kind in ("wav", "ogg", "flac"):
        whole = (path / f"good.{kind}").read_bytes()
        (path / f"cut.{kind}").write_bytes(whole[: int(len(whole) * 0.8)])
    (path / "empty.wav").touch()
    (path / "words.wav").write_text("these are words, not sound\n" * 20)
    return path


def good_rows() -> list[dict[str, str]]:
    """Twelve rows: 2 sessions of 2 dialogues of 2 speakers; some with quotes, some that are part of a file."""
    rows = []
    for i in range(12):
        session, dialogue, speaker = i // 6, i // 3, 2 * (i // 6) + i % 2
        part = ("0.01", "0.05") if i % 4 == 1 else ("", "")
        rows.append(dict(zip(COLUMNS, (
            "good.wav", f'So, you said "{i}"?', f"p{speaker}", ("anger", "joy", "neutral")[i % 3], f"u{i}",
            f"s{session}", f"d{dialogue}", str(i % 3), *part, ("train", "dev", "test")[i % 3]), strict=True)))
    return rows


def line_of(cells: dict[str, str]) -> bytes:
    out = io.StringIO()
    csv.writer(out, lineterminator="").writerow(cells.values())
    return out.getvalue().encode()


def damaged(kind: str, cells: dict[str, str]) -> tuple[bytes, str, str]:
    """The damaged line, the value that the message must show, and its words."""
    if kind in CELLS:
        changes, words = CELLS[kind]
        return line_of(cells | changes), repr(next(iter(changes.values())).strip()), words
    change, value, words = LINES[kind]
    return change(line_of(cells)), value, words


def write(path: Path, lines: list[bytes]) -> Path:
    path.write_bytes(b"\n".join([",".join(COLUMNS).encode(), *lines, b""]))
    return path


def kept_ids(corpus: Corpus) -> set[str]:
    return set(corpus.table["id"])


def test_the_undamaged_manifest_is_whole(folder):
    corpus = load(write(folder / "whole.csv", [line_of(cells) for cells in good_rows()]))
    assert kept_ids(corpus) == {f"u{i}" for i in range(12)}
    assert corpus.skipped.empty and not corpus.notes


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("at", [1, 6, 11])
def test_each_kind_of_damage_is_named_or_left_out(kind, at, folder):
    lines = [line_of(cells) for cells in good_rows()]
    lines[at], value, words = damaged(kind, good_rows()[at])
    path = write(folder / "damaged.csv", lines)
    with pytest.raises(BadInput) as error:
        load(path)
    message = str(error.value)
    assert message.startswith(f"{path}:{at + 2}: ")
    assert value in message and words in message and "on_error='skip'" in message
    corpus = load(path, on_error="skip")
    assert kept_ids(corpus) == {f"u{i}" for i in range(12)} - {f"u{at}"}
    assert corpus.skipped["where"].tolist() == [f"{path}:{at + 2}"]
    assert words in corpus.skipped["reason"].iloc[0]
    who = corpus.skipped["utterance"].fillna("").iloc[0]  # not the line before's
    assert who == {"duplicate id": "u0", "header again": "id"}.get(kind, f"u{at}" if kind in CELLS else "")


@pytest.mark.parametrize("chunk", range(10))
def test_five_hundred_random_damages(chunk, folder):
    """One to four damaged rows of random kinds: raise names the first, skip keeps exactly the others."""
    for seed in range(50 * chunk, 50 * chunk + 50):
        rng = random.Random(seed)
        hit = sorted(rng.sample(range(1, 12), rng.randint(1, 4)))  # row 0 stays, for duplicates of it
        rows, lines, expected = good_rows(), [line_of(cells) for cells in good_rows()], {}
        for i in hit:
            kind = rng.choice(KINDS)
            lines[i], *expected[i] = damaged(kind, rows[i])
        path = write(folder / "random.csv", lines)
        with pytest.raises(BadInput) as error:
            load(path)
        first = hit[0]
        assert str(error.value).startswith(f"{path}:{first + 2}: "), seed
        assert all(part in str(error.value) for part in expected[first]), (seed, expected[first], str(error.value))
        corpus = load(path, on_error="skip")
        assert kept_ids(corpus) == {f"u{i}" for i in range(12) if i not in hit}, seed
        assert corpus.skipped["where"].tolist() == [f"{path}:{i + 2}" for i in hit], seed


def test_a_clip_is_not_decoded_unless_asked(folder):
    rows = good_rows()
    rows[3]["audio"], rows[4]["audio"] = "silent.wav", "nan.wav"
    path = write(folder / "loose.csv", [line_of(cells) for cells in rows])
    assert len(load(path, check="header")) == 12
    rows[5]["audio"] = "nowhere.wav"
    write(path, [line_of(cells) for cells in rows])
    assert len(load(path, check="header", on_error="skip")) == 11
    assert len(load(path, check="none")) == 12


def test_the_first_of_two_equal_ids_is_kept_unless_it_is_damaged(folder):
    rows = good_rows()
    rows[5]["id"] = "u2"
    path = write(folder / "twice.csv", [line_of(cells) for cells in rows])
    corpus = load(path, on_error="skip")
    assert len(corpus) == 11 and corpus["u2"].text == 'So, you said "2"?'
    rows[2]["label"] = "?"
    corpus = load(write(path, [line_of(cells) for cells in rows]), on_error="skip")
    assert len(corpus) == 11 and corpus["u2"].text == 'So, you said "5"?'


def test_when_no_row_is_left_the_first_reason_is_told(folder):
    path = write(folder / "hopeless.csv", [line_of(cells | {"label": "meh"}) for cells in good_rows()])
    with pytest.raises(BadInput, match=r"12 rows follow, none of them usable \(first: line 2: column label: unknown"):
        load(path, on_error="skip")


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 2_000), cut=st.integers(0, 40), put=st.binary(max_size=12))
def test_no_bytes_break_the_reader(at, cut, put, folder):
    """Whatever replaces a stretch of the file: a corpus, or an error meant for the user that names the file."""
    path = write(folder / "fuzz.csv", [line_of(cells) for cells in good_rows()])
    content = path.read_bytes()
    path.write_bytes(content[:at] + put + content[at + cut :])
    try:
        corpus = load(path, on_error="skip", check="none")
    except MerKitError as error:
        assert str(path) in str(error)
    else:
        assert 1 <= len(corpus) <= 24
