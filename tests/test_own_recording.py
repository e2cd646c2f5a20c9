"""A recording of one's own: heard as the same sound in a corpus is, kept nowhere, refused with a reason."""

from __future__ import annotations

import io
import os
import re
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
import soundfile as sf
import torch
from matplotlib.figure import Figure
from small_experiments import SMALL, experiments_on
from small_explorers import NASTY, SMALL_LSGMER, planted

from mer_kit.corpora.audio import AudioReader
from mer_kit.errors import BadInput, Missing
from mer_kit.training.attention import word_attention
from mer_kit.training.own_recording import hear
from mer_kit.training.restore import restored
from mer_kit.widgets import own_voice


@pytest.fixture(scope="module", autouse=True)
def small():
    with experiments_on(planted()):
        yield


@pytest.fixture(scope="module")
def models(ledger):
    asked = {m: replace(SMALL, model=m) for m in ("lemer", "text", "speech")} | {"lsgmer": SMALL_LSGMER}
    return {name: restored(e, ledger, progress=False, device="cpu") for name, e in asked.items()}


@pytest.fixture(scope="module")
def utterance(models):
    """An utterance of the test part, with its words and the bytes of its sound."""
    told = models["lemer"].stage.corpus[models["lemer"].fold.test[3]]
    return told.id, told.text, told.audio.read_bytes()


def wav(samples: np.ndarray, rate: int = 16_000) -> bytes:
    file = io.BytesIO()
    sf.write(file, samples, rate, format="WAV", subtype="FLOAT")
    return file.getvalue()


@pytest.mark.parametrize("model", ["lemer", "lsgmer", "text", "speech"])
def test_the_sound_of_a_corpus_is_answered_as_the_corpus_is_without_history(models, utterance, model):
    name, text, sound = utterance
    expected = models[model].predict([name], history_turns=0).iloc[0]
    heard = hear(models[model], sound, text)
    for c, p in heard.p.items():
        assert p == pytest.approx(expected[f"p_{c}"], abs=1e-5)
    if model == "lsgmer":
        assert heard.gate["audio"] == pytest.approx(expected["gate_audio"], abs=1e-5)
    assert (heard.gate is not None) == (model == "lsgmer")
    assert (heard.of_words is not None) == (model in ("lemer", "lsgmer"))


def test_the_maps_are_those_of_the_corpus(models):
    trained = models["lsgmer"]
    rows = trained.stage.rows.loc[list(trained.fold.test)]
    name = rows.index[rows["turn"] == 0][0]  # nothing is before it in the corpus either
    told = trained.stage.corpus[name]
    text, samples = told.text, trained.samples([name])
    heard = hear(trained, told.audio.read_bytes(), text)
    np.testing.assert_allclose(heard.of_words, word_attention(samples, name, text), atol=1e-5)
    np.testing.assert_allclose(heard.of_frames, samples[f"label_frame/{name}"], atol=1e-5)
    assert heard.frame_rate == float(samples["frame_rate"]) and heard.of_words.shape == (len(text.split()), 4)


def test_rates_channels_and_lengths_are_met_and_told(models):
    tone = (0.3 * np.sin(np.arange(44_100) / 30)).astype(np.float32)
    heard = hear(models["lemer"], wav(np.stack([tone, tone], axis=1), 44_100), "hello there")
    assert set(heard.notes) == {"resampled", "mixed down"}
    assert hear(models["lemer"], wav(tone[:800]), "").notes == ("padded",)
    assert "cut" in hear(models["speech"], wav(np.tile(tone, 5)), "").notes
    assert hear(models["lemer"], wav(tone), "").of_words is None, "no words, no map of words"
    for words in ("🙂 שלום", "word " * 10_000, NASTY):
        assert hear(models["lemer"], wav(tone), words).p.sum() == pytest.approx(1, abs=1e-5)


BAD = {
    "the audio file is empty": b"",
    "not readable audio": b"these are words, and no sound",
    "silent throughout": wav(np.zeros(8000, np.float32)),
    "NaN or infinite": wav(np.full(8000, np.nan, np.float32)),
    "truncated": wav(np.ones(8000, np.float32) / 3)[:9000],
    "holds no samples": wav(np.zeros(0, np.float32)),
}


@pytest.mark.parametrize("said", BAD)
def test_what_is_no_usable_sound_is_refused_by_its_name(models, said):
    with pytest.raises(BadInput, match=f"mine.wav: .*{said}"):
        hear(models["lemer"], BAD[said], "hello", "mine.wav")


def test_a_model_says_what_it_lacks(models):
    with pytest.raises(Missing, match="there is no recording"):
        hear(models["speech"], None, "hello")
    assert hear(models["text"], None, "hello").p.sum() == pytest.approx(1, abs=1e-5)


def test_bytes_and_files_are_read_alike(utterance, models):
    name, _, sound = utterance
    told = models["lemer"].stage.corpus[name]
    assert np.array_equal(AudioReader().decoded(sound, "x"), AudioReader()(told))


def upload(widget, name: str, content: bytes) -> None:
    """What the browser sends when a file is chosen."""
    widget.upload.set_trait("value", ({"name": name, "type": "audio/wav", "size": len(content), "error": "",
                                       "last_modified": datetime.now(UTC), "content": memoryview(content)},))


def shown(widget) -> list[float]:
    """The probabilities in the page's table."""
    return [float(p) for p in re.findall(r"<td>(\d\.\d{3})</td>", widget.told.value)]


def test_an_upload_is_answered_and_kept_nowhere(models, utterance, tmp_path, monkeypatch):
    _, text, sound = utterance
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    opened, real = [], io.open
    monkeypatch.setattr("builtins.open", lambda f, mode="r", *a, **k: (
        opened.append((f, mode)) if set(mode) & set("wax+") else None, real(f, mode, *a, **k))[1])
    widget = own_voice(models["lsgmer"])
    widget.words.value = text
    upload(widget, "mine.wav", sound)
    expected = hear(models["lsgmer"], sound, text)
    assert shown(widget) == pytest.approx(expected.p.tolist(), abs=6e-4)
    np.testing.assert_allclose(widget.state.p, expected.p, atol=1e-6)
    assert len(widget.drawn.children) == 4, "probabilities, gate, words, frames"
    assert widget.upload.value == () and not opened and not os.listdir(tmp_path)
    widget.words.value = "other words"
    assert shown(widget) == pytest.approx(hear(models["lsgmer"], sound, "other words").p.tolist(), abs=6e-4)
    widget.forget.click()
    assert widget.state is None and widget._sound is None and not widget.drawn.children


def test_bad_files_and_markup_are_told_as_text(models):
    widget = own_voice(models["lemer"])
    upload(widget, NASTY, b"no sound")
    assert 'role="alert"' in widget.told.value and "not readable audio" in widget.told.value
    assert "<img" not in widget.told.value and widget.state is None
    tone = (0.3 * np.sin(np.arange(16_000) / 30)).astype(np.float32)
    widget.words.value = NASTY
    upload(widget, "a.wav", wav(tone))
    assert "&lt;img" in widget.told.value and "<img" not in widget.told.value
    words = widget.drawn.children[1]
    assert words.layout.xaxis.ticktext[0] == "&lt;img"


def test_a_model_of_words_alone_needs_no_upload(models):
    widget = own_voice(models["text"])
    widget.words.value = "what a lovely day"
    assert widget.upload not in widget.children[0].children
    assert shown(widget) == pytest.approx(hear(models["text"], words="what a lovely day").p.tolist(), abs=6e-4)


@pytest.mark.parametrize("model", ["lemer", "text", "speech"])
def test_the_static_twin_asks_an_utterance_of_the_corpus(models, model):
    figure = own_voice(models[model], interactive=False)
    assert isinstance(figure, Figure)
    rows = [t.get_text() for t in figure.axes[0].get_yticklabels()]
    text = models[model].stage.corpus[models[model].fold.test[0]].text
    assert rows == ["probabilities", *(text.split() if model == "lemer" else [])]


def test_the_model_stays_as_it_was(models, utterance):
    before = {n: w.clone() for n, w in models["lemer"].model.state_dict().items()}
    hear(models["lemer"], utterance[2], utterance[1])
    assert all(torch.equal(before[n], w) for n, w in models["lemer"].model.state_dict().items())
