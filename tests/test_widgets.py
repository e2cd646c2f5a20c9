"""Clips and questions: what may be embedded, what is escaped, what is marked right."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace

import numpy as np
import pytest
import soundfile as sf

from mer_kit.corpora import load_corpus
from mer_kit.widgets import Question, clips, media_allowed, sounds

NASTY = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def corpus():
    return load_corpus("duet")


def test_a_free_corpus_is_played_with_its_words(corpus):
    page = clips(corpus, ["S1_d00_t00", "S1_d00_t03"]).data
    sounds = re.findall(r"data:audio/ogg;base64,([^\"]+)", page)
    assert [base64.b64decode(s) for s in sounds] == [corpus[u].audio.read_bytes() for u in ("S1_d00_t00", "S1_d00_t03")]
    assert corpus["S1_d00_t03"].text.split()[0] in page and "Do not share" not in page


def test_a_licensed_corpus_is_embedded_only_when_asked_and_says_so(corpus):
    licensed = replace(corpus, embeddable=False, licence="Licensed by form.")
    assert not media_allowed(licensed, False) and media_allowed(licensed, True) and media_allowed(corpus, False)
    closed, opened = (clips(licensed, ["S1_d00_t00"], embed_media=e).data for e in (False, True))
    assert "base64" not in closed and corpus["S1_d00_t00"].text not in closed and "Licensed by form." in closed
    assert "base64" in opened and "Do not share it" in opened


def test_other_formats_and_segments_are_sent_as_wav(corpus, tmp_path):
    samples = np.sin(np.arange(16_000) / 20).astype("float32") / 2
    sf.write(tmp_path / "long.flac", samples, 16_000)
    row = {"id": "a", "audio": str(tmp_path / "long.flac"), "segment": True, "start": 0.25, "end": 0.75}
    one = replace(corpus, table=corpus.table.head(1).assign(**row))
    sound = re.search(r"data:audio/wav;base64,([^\"]+)", clips(one, ["a"]).data)[1]
    heard, rate = sf.read(io.BytesIO(base64.b64decode(sound)))
    assert rate == 16_000 and heard == pytest.approx(samples[4000:12_000], abs=1e-3)


def test_made_sounds_are_played_with_their_labels_unless_licensed(corpus):
    wave = (np.sin(np.arange(24_000) / 20) / 2).astype("float32")
    page = sounds(corpus, {"angry": wave, "sad": wave[:8000]}).data
    players = re.findall(r"aria-label=\"sounds of (\w+)\" src=\"data:audio/ogg;base64,([^\"]+)", page)
    assert [name for name, _ in players] == ["angry", "sad"] and ">1.5<" in page and ">0.5<" in page
    heard, rate = sf.read(io.BytesIO(base64.b64decode(players[0][1])))
    assert len(heard) == 24_000 * rate // 16_000 and np.corrcoef(heard[:: rate // 16_000], wave)[0, 1] > 0.95
    licensed = replace(corpus, embeddable=False, licence="Licensed by form.")
    assert "base64" not in sounds(licensed, {"angry": wave}).data
    assert "Do not share it" in sounds(licensed, {"angry": wave}, embed_media=True).data


def test_markup_in_words_and_names_is_shown_as_text(corpus):
    table = corpus.table.head(1).assign(text=NASTY, speaker=NASTY, audio=None)
    page = clips(replace(corpus, table=table), [table["id"].iloc[0]]).data
    assert "<img" not in page and page.count("&lt;img") == 2 and "no sound" in page


@pytest.mark.parametrize(("reply", "right"), [
    ("4.16", True), ("4,16", True), (" 4.159 ", True), ("4.2", False), ("four", False), ("", False)])
def test_numbers_are_marked_within_tolerance(reply, right):
    assert Question("?", 4.1589, tolerance=0.01).mark(reply) is right


def test_a_reply_changes_the_verdict():
    question = Question("Which?", "a", choices=["a", "b"], because="since")
    assert set(question.reply.options) == {"choose …", "a", "b"}
    question.reply.value = "b"
    assert "not yet" in question.verdict.value and "since" not in question.verdict.value
    question.reply.value = "a"
    assert "right" in question.verdict.value and "since" in question.verdict.value
    question.reply.value = "choose …"
    assert question.verdict.value == ""


def test_a_report_gets_a_folded_answer_with_markup_as_text():
    page = Question(NASTY, 0.25, because=NASTY)._repr_mimebundle_()["text/html"]
    assert "<details>" in page and "0.25" in page and "<img" not in page
