"""Damaged files and odd words, by the thousand: an answer, or a sentence; never a wrong label, a traceback, a hang.

`MER_KIT_CASES` sets how many cases each test draws; `python benchmarks/faults.py` writes down what they came to.
"""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache, partial
from itertools import cycle
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch
from damage import EDIT, EDITS, damaged
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_notebook import write

from mer_kit import batch_runs
from mer_kit.batch_runs import TYPES, parameters_of, read_value
from mer_kit.corpora import Corpus, iemocap, load_corpus, manifest, meld, nemo
from mer_kit.corpora.audio import AudioReader, fault
from mer_kit.corpora.corpus import Utterance
from mer_kit.corpora.layouts import write_as_iemocap
from mer_kit.errors import MerKitError
from mer_kit.features.store import FeatureStore
from mer_kit.grid.file import MOST, read_grid
from mer_kit.labels import emotion_of
from mer_kit.training.experiments import Experiment
from mer_kit.training.presets import MODELS
from mer_kit.training.settings import configured, parsed

pytestmark = pytest.mark.slow
CASES = int(os.environ.get("MER_KIT_CASES", 1_500))
fuzz = settings(max_examples=CASES, deadline=timedelta(seconds=5), derandomize=True, database=None,
                suppress_health_check=list(HealthCheck))


@pytest.fixture
def came(record_property):
    """How many cases came to what; kept in a report of pytest's."""
    counts = Counter()
    yield counts
    assert counts.total() >= CASES, "hypothesis drew fewer cases than were asked for"
    for outcome, count in counts.items():
        record_property(outcome, count)


@dataclass(frozen=True)
class Texts:
    """The text files of a corpus on disk, what loads them, and what they hold undamaged."""

    load: partial[Corpus]
    files: dict[Path, bytes]

    def put_back(self) -> None:
        for path, content in self.files.items():
            path.write_bytes(content)


def some_of_duet() -> Corpus:
    corpus = load_corpus("duet", classes=7)
    kept = corpus.table["dialogue"].str[-2:].eq("00") & ~corpus.table["text"].duplicated()
    return replace(corpus, table=corpus.table[kept].reset_index(drop=True))


def table(rows: list[dict], separator: str) -> bytes:
    out = io.StringIO()
    writer = csv.DictWriter(out, rows[0], delimiter=separator)
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


def as_manifest(folder: Path, ending: str) -> Texts:
    rows = [{"text": u.text, "speaker": u.speaker, "label": u.label, "id": u.id, "session": u.session,
             "dialogue": u.dialogue, "turn": u.turn, "split": "train"} for u in some_of_duet()]
    path = folder / f"own.{ending}"
    return Texts(partial(manifest.load, path), {path: table(rows, {"csv": ",", "tsv": "\t"}[ending])})


def as_meld(folder: Path) -> Texts:
    files = {}
    for split, session in zip(meld.CLIPS, (1, 2, 3), strict=True):
        rows = [dict(zip(meld.COLUMNS, (i, u.text, u.speaker, u.label, "neutral", 7, i, session, 1, "00:00:01,000",
                                        "00:00:02,500"), strict=True))
                for i, u in enumerate(some_of_duet()) if u.session[-1] == str(session)]
        files[folder / f"{split}_sent_emo.csv"] = table(rows, ",")
    return Texts(partial(meld.load, folder), files)


def as_nemo(folder: Path) -> Texts:
    (folder / "samples").mkdir()
    names, lines = cycle(nemo.LABELS), ["\t".join(nemo.COLUMNS)]
    for i, u in enumerate(some_of_duet()):
        emotion = next(names)
        sf.write(folder / "samples" / f"A{i % 5}_{emotion}_{i}.wav", np.full(240, 0.1), 24_000)
        lines.append("\t".join((f"A{i % 5}_{emotion}_{i}.wav", emotion, u.text, f"A{i % 5}")))
    return Texts(partial(nemo.load, folder), {folder / "data.tsv": "\n".join(lines).encode()})


def as_iemocap(folder: Path) -> Texts:
    write_as_iemocap(some_of_duet(), folder)
    return Texts(partial(iemocap.load, folder), {p: p.read_bytes() for p in sorted(folder.glob("*/dialog/*/*.txt"))})


LAYOUTS = {"manifest.csv": partial(as_manifest, ending="csv"), "manifest.tsv": partial(as_manifest, ending="tsv"),
           "MELD": as_meld, "nEMO": as_nemo, "IEMOCAP": as_iemocap}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_damaged_corpus_is_refused_or_keeps_the_label_of_every_row_that_is_whole(layout, tmp_path, came):
    texts = LAYOUTS[layout](tmp_path)
    texts.put_back()
    said = {u.id: u for u in texts.load()}
    raw = texts.load().table.set_index("id")["raw_label"]
    assert len(said) > 30 and len({u.text for u in said.values()}) == len(said)

    @fuzz
    @given(which=st.integers(0, 99), edits=EDITS, on_error=st.sampled_from(("raise", "skip")),
           check=st.sampled_from(("none", "header")))
    def each(which, edits, on_error, check):
        path, whole = list(texts.files.items())[which % len(texts.files)]
        path.write_bytes(content := damaged(whole, edits))
        lines = {*whole.splitlines()}
        strange = b"\n".join(line for line in content.splitlines() if line not in lines).decode(errors="replace")
        try:
            corpus = texts.load(on_error=on_error, check=check)
        except MerKitError as error:
            assert len(str(error)) > 20
            came["refused"] += 1
        else:
            for u, spoken in zip(corpus, corpus.table["raw_label"], strict=True):
                assert u.label is None or u.label in corpus.label_set.classes
                if u.id in said and said[u.id].text == u.text and u.id not in strange and u.text not in strange:
                    assert emotion_of(spoken) == emotion_of(raw[u.id]), u.id
                    assert (u.label is None) == (said[u.id].label is None), u.id
            came["read in part" if len(corpus.skipped) else "read"] += 1
        finally:
            path.write_bytes(whole)

    each()
    assert came["refused"] > CASES / 20 and came["read in part"] > CASES / 20  # both ways were walked


def test_a_damaged_feature_is_none_or_what_was_put(tmp_path, came):
    store, key = FeatureStore(tmp_path), "k" * 64
    tensors = {"states": torch.arange(60.0).reshape(12, 5), "mask": torch.arange(12) > 3}
    store.put(key, tensors)
    whole = store.path(key).read_bytes()

    @fuzz
    @given(edits=EDITS, random=st.none() | st.binary(max_size=400))
    def each(edits, random):
        content = damaged(whole, edits) if random is None else random
        store.path(key).write_bytes(content)
        kept = store.get(key)
        assert (kept is not None) == (content == whole)
        assert kept is None or all(torch.equal(tensors[name], t) for name, t in kept.items())
        came["computed again" if kept is None else "read"] += 1

    each()


@pytest.mark.parametrize(("ending", "subtype"), [("wav", "PCM_16"), ("wav", "FLOAT"), ("flac", "PCM_16"),
                                                 ("ogg", "VORBIS")])
def test_damaged_sound_is_refused_or_sound(ending, subtype, tmp_path, came):
    path = tmp_path / f"a.{ending}"
    sf.write(path, 0.3 * np.sin(np.arange(1_600) / 5), 8_000, subtype=subtype)
    whole = path.read_bytes()
    utterance = Utterance("u", "d", 0, "Ann", "s", "hi", path, 0.01, 0.15, "joy")
    AudioReader()(utterance)  # what it imports takes its time
    header = st.lists(EDIT.map(lambda edit: (edit[0], edit[1] % 60, *edit[2:])), min_size=1, max_size=3)

    @fuzz
    @given(edits=EDITS | header, random=st.none() | st.none() | st.binary(max_size=300), segment=st.booleans())
    def each(edits, random, segment):
        content = damaged(whole, edits) if random is None else random
        path.write_bytes(content)
        reader, part = AudioReader(min_seconds=0.1, max_seconds=20), (0.01, 0.15) if segment else None
        why = fault(path, "samples", part)
        try:
            samples = reader(replace(utterance, segment=segment))
            assert why is None
        except MerKitError as error:
            assert "utterance u: the " in str(error) or "utterance u: its " in str(error)
            came["refused"] += 1
        else:
            assert samples.dtype == np.float32 and 1_600 <= len(samples) <= 320_000 and np.isfinite(samples).all()
            came["read"] += 1

    each()


NAMES = [f"{group}.{name}" for group in ("lemer", "lsgmer", "jfm", "encoders", "guidance", "train")
         for name in ("beta", "heads", "dim", "dropout", "mu", "fusion", "gate", "blocks", "temperature", "rates",
                      "patience", "text", "text_dim", "tonal", "metric", "clusters", "gradient_clip", "frozen", "seed")]
WORDS = ("0", "-1", "1", "8", "0.1", "1e400", "nan", "-inf", "9" * 5_000, "null", "true", "C2", "[1, 0.5, 0, 0]", "[]",
         "[" * 5_000, '{"rest": 1e-3}', '{"rest": NaN}', "{", '"', "offline", "random", "label", "UA", "\0", "\ud800")


def test_settings_are_taken_or_refused_in_a_sentence(came):
    pair = st.builds("{}={}".format, st.sampled_from(NAMES) | st.text(max_size=20), st.sampled_from(WORDS) | st.text())

    @fuzz
    @given(model=st.sampled_from(sorted(MODELS)), pairs=st.lists(pair | st.text(), max_size=3))
    def each(model, pairs):
        try:
            made = configured(Experiment(model), parsed(pairs))
        except MerKitError as error:
            assert len(str(error)) > 20
            came["refused"] += 1
        else:
            assert made.model == model and made.train.epochs >= 1
            assert all(np.isfinite(rate) for rate in (*made.train.rates.values(), made.lsgmer.beta))
            came["taken"] += 1

    each()


GRID = """notebooks: [{notebook}]
parameters: {{CORPUS: duet}}
grid:
  TOP_K: [1, 2, 3]
  RATE: ["0.5", 1]
  EMBED_MEDIA: [true, False]
"""


def test_a_damaged_grid_is_refused_or_its_jobs_have_values_of_the_right_types(tmp_path, came, monkeypatch):
    monkeypatch.setattr(batch_runs, "parameters_of", cache(parameters_of))  # one notebook, read once
    path, notebook = tmp_path / "grid.yaml", write(tmp_path, "00_a", "print(TOP_K)")
    whole = GRID.format(notebook=notebook).encode()
    kinds = {name: type(default) for name, (_, default) in parameters_of(notebook).items()}
    odd = st.sampled_from((b"&a [*a, *a]", b"[" * 3_000, b"!!python/object/apply:os.abort []", b"? ", b"<<: *a", b"|",
                           b"TOP_K: [9]", b"!!binary", b"%YAML 9.9\n---\n", b"{}", b"- ", b": "))
    edits = st.lists(EDIT | st.tuples(st.sampled_from(("insert", "replace")), st.integers(0, 2**16), st.just(0), odd),
                     min_size=1, max_size=3)

    @fuzz
    @given(edits=edits, random=st.none() | st.none() | st.text().map(lambda text: text.encode(errors="replace")))
    def each(edits, random):
        path.write_bytes(damaged(whole, edits) if random is None else random)
        try:
            jobs = read_grid(path)
        except MerKitError as error:
            assert "grid.yaml" in str(error)
            came["refused"] += 1
        else:
            assert 1 <= len(jobs) <= MOST and len({job.name for job in jobs}) == len(jobs)
            assert all(type(value) is kinds[name] for job in jobs for name, value in job.parameters.items())
            came["read"] += 1

    path.write_bytes(whole)
    assert len(read_grid(path)) == 12
    each()


LITERALS = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
                        lambda of: st.lists(of) | st.tuples(of, of) | st.dictionaries(st.text(), of), max_leaves=9)


def test_parameters_are_of_their_type_or_refused_in_a_sentence(came):
    odd = st.sampled_from(("{[]: 1}", "(" * 300, "-" * 9_000 + "1", "__import__('os').abort()", "9" * 5_000, "1e999"))

    @fuzz
    @given(value=odd | LITERALS | LITERALS.map(repr) | LITERALS.map(repr).flatmap(
               lambda text: EDITS.map(lambda edits: damaged(text.encode(errors="replace"), edits).decode("latin-1"))),
           kind=st.sampled_from((*TYPES, "list", "dict", "tuple")))
    def each(value, kind):
        try:
            read = read_value("X", value, kind)
        except MerKitError as error:
            assert f"parameter X is of type {kind}" in str(error)
            came["refused"] += 1
        else:
            assert kind not in TYPES or type(read) is TYPES[kind]
            came["taken"] += 1

    each()
