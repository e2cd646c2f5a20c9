"""The embedded corpus: frozen, as its design says, and its ideal observer against brute force and simulation."""

from __future__ import annotations

import hashlib
import itertools

import numpy as np
import pandas as pd
import pytest

from mer_kit.corpora import duet, load_corpus
from mer_kit.corpora.audio import AudioReader, duration
from mer_kit.corpora.duet_process import process
from mer_kit.corpora.protocols import make_protocol
from mer_kit.evaluation import probes

FROZEN = "ca90c77fdb787660fa99cc3b938f5b798cfafdb47963b13bfe5b54fe409ae29a"


@pytest.fixture(scope="module")
def corpus():
    return load_corpus("duet")


@pytest.fixture(scope="module")
def ceilings(corpus):
    return duet.ceilings(corpus).set_index(["now", "history"])["ceiling"]


def test_every_byte_is_frozen():
    digest = hashlib.sha256()
    for file in sorted(f for f in duet.DATA.rglob("*") if f.is_file()):
        digest.update(file.relative_to(duet.DATA).as_posix().encode() + file.read_bytes())
    assert digest.hexdigest() == FROZEN


def test_size_sessions_and_speakers(corpus):
    table = corpus.table
    megabytes = sum(f.stat().st_size for f in duet.DATA.rglob("*") if f.is_file()) / 1e6
    minutes = (table["end"] - table["start"]).sum() / 60
    assert 1700 <= len(corpus) <= 1900 and 40 <= minutes <= 60 and megabytes <= 12
    assert table["session"].nunique() == 5
    assert (table.groupby("session")["speaker"].nunique() == 2).all()
    assert (table.groupby("dialogue")["speaker"].nunique() == 2).all()
    assert set(table["raw_label"]) == set(process().emotions)
    assert len(corpus.targets) / len(corpus) == pytest.approx(0.80, abs=0.02)


def test_clips_last_as_long_as_the_table_says(corpus):
    rows = corpus.table.iloc[::40]
    assert [duration(a) for a in rows["audio"]] == pytest.approx((rows["end"] - rows["start"]).tolist(), abs=0.002)


def test_lexicon_and_carriers_are_wide():
    settings = process().settings
    lexicon = settings["lexicon"]
    assert all(len(set(words)) >= 15 for words in lexicon.values())
    assert len(set(settings["words"]["carriers"])) >= 40
    shared = {w for a, b in itertools.combinations(lexicon.values(), 2) for w in set(a) & set(b)}
    assert shared == {"upset", "appalled", "alarmed", "content", "dazzled", "numb"}
    everywhere = {w for words in lexicon.values() for w in words}
    assert set(settings["only_in_sessions"]) < everywhere
    assert not everywhere & {*settings["words"]["fillers"], *settings["words"]["topics"]}


def test_words_of_some_sessions_are_heard_there_alone(corpus):
    truth = corpus.truth.join(corpus.table.set_index("id")["session"])
    for word, sessions in process().settings["only_in_sessions"].items():
        assert set(truth["session"][truth["cue_word"] == word]) <= {f"Session{s}" for s in sessions}


@pytest.mark.parametrize("channel", ["text", "voice"])
def test_cues_come_as_often_as_stated(corpus, channel):
    truth, settings = corpus.truth, process().settings[channel]
    cue = truth[f"{channel}_cue"]
    for share, stated in (((cue == truth["emotion"]).mean(), settings["true_cue"]),
                          ((cue.notna() & (cue != truth["emotion"])).mean(), settings["misleading_cue"])):
        assert share == pytest.approx(stated, abs=3.5 * np.sqrt(stated * (1 - stated) / len(truth)))


def test_emotions_persist_as_stated(corpus):
    emotion = corpus.table["raw_label"]
    follows = corpus.table["dialogue"].eq(corpus.table["dialogue"].shift())
    kept = (emotion == emotion.shift())[follows].mean()
    this = process()
    stated = this.keep + (1 - this.keep) * (this.prior**2).sum()
    assert kept == pytest.approx(stated, abs=3.5 * np.sqrt(stated * (1 - stated) / follows.sum()))
    assert this.prior @ this.transition == pytest.approx(this.prior)


def test_text_and_voice_are_independent_given_the_emotion(corpus):
    truth = corpus.truth
    text, voice = truth["text_cue"] == truth["emotion"], truth["voice_cue"] == truth["emotion"]
    assert (text & voice).mean() == pytest.approx(text.mean() * voice.mean(), abs=3.5 * 0.5 / np.sqrt(len(truth)))


def test_cue_tokens_words_and_spans_fit_text_and_clip(corpus):
    length = (corpus.table["end"] - corpus.table["start"]).to_numpy()
    for text, seconds, row in zip(corpus.table["text"], length, corpus.truth.itertuples(), strict=True):
        words = text.split()
        cue = " ".join(words[i].lower().strip(".,?") for i in row.cue_tokens)
        assert cue == (row.cue_word or "")
        assert len(row.word_starts) == len(row.word_ends) == len(words)
        times = [t for pair in zip(row.word_starts, row.word_ends, strict=True) for t in pair]
        assert times == sorted(times) and times[0] >= 0 and times[-1] <= seconds + 0.002
        if row.voice_cue:
            assert row.span_start in row.word_starts and row.span_end in row.word_ends and row.span_start < row.span_end
        else:
            assert np.isnan([row.span_start, row.span_end]).all()


def test_likelihoods_sum_to_one_over_all_that_can_be_seen():
    this = process()
    for session in range(1, 6):
        words = {None} | {w for k in range(7) for w in this.word_given_class(session, k)}
        assert sum(this.text_likelihood(w, session) for w in words) == pytest.approx(np.ones(7))
    assert sum(this.voice_likelihood(s) for s in [None, *range(7)]) == pytest.approx(np.ones(7))


def test_posterior_equals_enumeration_of_all_emotion_sequences():
    this, rng = process(), np.random.default_rng(0)
    now, past = rng.random((2, 4, 7))
    computed = this.posterior(now, past, np.zeros(4), turns=10)[-1]
    expected = np.zeros(7)
    for path in itertools.product(range(7), repeat=4):
        p = this.prior[path[0]] * np.prod([this.transition[a, b] for a, b in itertools.pairwise(path)])
        expected[path[-1]] += p * np.prod([past[t, path[t]] for t in range(3)]) * now[3, path[3]]
    assert computed == pytest.approx(expected / expected.sum())


def test_history_stops_at_the_dialogue_and_at_the_stated_number_of_turns():
    this, rng = process(), np.random.default_rng(1)
    now, past = rng.random((2, 6, 7))
    whole = this.posterior(now, past, np.array([0, 0, 0, 1, 1, 1]), turns=10)
    assert whole[3:] == pytest.approx(this.posterior(now[3:], past[3:], np.zeros(3), turns=10))
    assert this.posterior(now, past, np.zeros(6), turns=2)[-1] == pytest.approx(
        this.posterior(now[3:], past[3:], np.zeros(3), turns=10)[-1])
    assert this.posterior(now, past, np.zeros(6), turns=0) == pytest.approx(
        now * this.prior / (now * this.prior).sum(axis=1, keepdims=True))


def simulate(dialogues: int, seed: int):
    """Fresh dialogues: emotions (n,), likelihoods of text and of voice (n, 7), dialogue numbers (n,)."""
    this, rng, rows = process(), np.random.default_rng(seed), []
    for d in range(dialogues):
        for turn in this.draw_dialogue(rng, d % 5 + 1, 15):
            text, voice = this.text_likelihood(turn.word, d % 5 + 1), this.voice_likelihood(turn.voice_cue)
            rows.append((turn.emotion, text, voice, d))
    return map(np.array, zip(*rows, strict=True))


def test_a_simulated_ideal_observer_reaches_the_ceilings(ceilings):
    emotion, text, voice, dialogue = simulate(400, seed=3)
    this, four = process(), [process().emotions.index(e) for e in ("anger", "joy", "sadness", "neutral")]
    scored = np.isin(emotion, four)
    inputs = {"none": np.ones_like(text), "text": text, "voice": voice, "text + voice": text * voice}
    for (now, history), ceiling in ceilings.items():
        belief = this.posterior(inputs[now], inputs[history], dialogue, 0 if history == "none" else 10)[scored][:, four]
        hits = np.array(four)[belief.argmax(axis=1)] == emotion[scored]
        assert hits.mean() == pytest.approx(ceiling, abs=0.025), (now, history)


def test_ceilings_lie_where_the_design_wants_them(ceilings):
    wanted = {("text", "none"): 0.72, ("voice", "none"): 0.70, ("text + voice", "none"): 0.84, ("text", "text"): 0.83,
              ("text + voice", "text"): 0.90}
    assert {k: ceilings[k] for k in wanted} == pytest.approx(wanted, abs=0.015)


def test_ceilings_grow_with_what_is_seen(corpus, ceilings):
    for history in duet.HISTORY:
        assert ceilings["text + voice", history] > max(ceilings["text", history], ceilings["voice", history])
    for now in duet.NOW:
        assert ceilings[now, "none"] < ceilings[now, "text"] < ceilings[now, "text + voice"]
    seven = duet.ceilings(load_corpus("duet", classes=7)).set_index(["now", "history"])
    assert (seven["ceiling"] < ceilings).all() and (seven["chance"] == 1 / 7).all()


@pytest.fixture(scope="module")
def probe_scores(corpus):
    """Accuracy of the linear probes over the five session-out folds, each utterance tested once."""
    targets = corpus.targets.set_index("id")
    sound, hits = probes.prosody_table(corpus), {"text": [], "voice": [], "fusion": []}
    for fold in make_protocol(corpus, "session-out").folds:
        text = probes.probe(probes.bag_of_words(), targets["text"], targets["label"], fold)
        voice = probes.probe(probes.linear(), sound, targets["label"], fold)
        for name, p in (("text", text), ("voice", voice), ("fusion", probes.late_fusion(text, voice))):
            hits[name] += (p.idxmax(axis=1) == targets["label"].loc[p.index]).tolist()
    return {name: np.mean(h) for name, h in hits.items()}


def test_bag_of_words_is_good_but_not_the_ceiling(probe_scores, ceilings):
    assert 0.80 <= probe_scores["text"] / ceilings["text", "none"] <= 0.96


def test_voice_statistics_are_clearly_above_chance_and_below_the_ceiling(probe_scores, ceilings):
    assert 0.40 < probe_scores["voice"] < 0.95 * ceilings["voice", "none"]


def test_late_fusion_beats_both_probes(probe_scores, ceilings):
    assert max(probe_scores["text"], probe_scores["voice"]) + 0.03 < probe_scores["fusion"]
    assert probe_scores["fusion"] < ceilings["text + voice", "none"]


def test_styles_are_heard_in_the_voice(corpus):
    """Where a style is high, low, loud or soft by its settings, its clips are, against the same speaker's others."""
    reader = AudioReader()
    rows = [{"speaker": u.speaker, "style": corpus.truth.loc[u.id, "voice_cue"], **probes.prosody(reader(u))}
            for u in itertools.islice(corpus, 0, None, 4)]
    table = pd.DataFrame(rows)
    pitch = table["pitch_p90"] - table.groupby("speaker")["pitch_p90"].transform("median")
    energy = table["energy_mean"] - table.groupby("speaker")["energy_mean"].transform("median")
    assert pitch[table["style"] == "surprise"].mean() > pitch[table["style"] == "sadness"].mean() + 2
    assert energy[table["style"] == "anger"].mean() > energy[table["style"] == "sadness"].mean() + 2
