"""Damage that is the same for the same utterance, models that answer under it, gates summed up by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import accuracy_score
from small_experiments import SMALL, TINY, experiments_on, slice_of_duet, wav2vec2_in

from mer_kit.errors import BadInput
from mer_kit.models.lsgmer import LSGMERConfig
from mer_kit.training import robustness
from mer_kit.training.experiments import run
from mer_kit.training.restore import restored
from mer_kit.training.robustness import LOST, SNRS, by_level, damage, damages, gates_under, sweep, under

TONE = np.sin(np.arange(4000) / 7).astype(np.float32)
WORDS = " ".join(f"w{i}" for i in range(400))
SMALL_LSGMER = replace(SMALL, model="lsgmer", lsgmer=LSGMERConfig(dim=16, heads=2))


def test_damages_go_from_none_to_all_of_each_modality():
    names = list(damages())
    assert names == ["as it is", "noise at 20 dB", "noise at 10 dB", "noise at 0 dB", "sound muted",
                     "25% of words lost", "50% of words lost", "all words lost"]
    assert [sorted(d) for d in damages().values()] == [[]] + [["sound"]] * 4 + [["words"]] * 3


@pytest.mark.parametrize("snr", SNRS)
def test_noise_has_the_power_that_it_says_and_silence_none(snr):
    sound = damages(3)[f"noise at {snr} dB"]["sound"]
    noise = sound("u", TONE) - TONE
    assert 10 * np.log10(np.mean(TONE**2) / np.mean(noise**2)) == pytest.approx(snr, abs=0.01)
    silent = np.zeros(1600, dtype=np.float32)
    assert sound("u", silent).tolist() == silent.tolist()
    assert not damages()["sound muted"]["sound"]("u", TONE).any() and TONE.any()


def test_words_lost_at_one_rate_are_lost_at_a_higher():
    kept = {rate: set(damages(1)[f"{rate:.0%} of words lost"]["words"]("u", WORDS).split()) for rate in LOST}
    assert kept[0.5] < kept[0.25] < set(WORDS.split())
    for rate, words in kept.items():
        assert len(words) / 400 == pytest.approx(1 - rate, abs=0.08)
    assert damages(1)["all words lost"]["words"]("u", WORDS) == ""
    assert all(d["words"]("u", "") == "" for d in damages().values() if "words" in d)


@pytest.mark.parametrize(("name", "kind", "given"), [("noise at 0 dB", "sound", TONE),
                                                     ("50% of words lost", "words", WORDS)])
def test_damage_is_drawn_by_seed_and_utterance(name, kind, given):
    first, again = (damages(5)[name][kind] for _ in range(2))
    assert np.array_equal(first("a", given), again("a", given))
    others = [first("b", given), damages(6)[name][kind]("a", given)]
    assert not any(np.array_equal(first("a", given), other) for other in others)
    assert np.array_equal(first("a", given), again("a", given)), "no state is left behind"


def test_damage_of_ones_own_is_that_of_the_list():
    for own, name in ((damage(10, seed=3), "noise at 10 dB"), (damage(muted=True), "sound muted"),
                      (damage(words_lost=0.5, seed=3), "50% of words lost"), (damage(), "as it is")):
        assert own.keys() == damages(3)[name].keys()
        for kind, damaged in own.items():
            given = {"words": WORDS, "sound": TONE}[kind]
            assert np.array_equal(damaged("u", given), damages(3)[name][kind]("u", given))
    both = damage(0, muted=True, words_lost=1.0)
    assert not both["sound"]("u", TONE).any() and both["words"]("u", WORDS) == "", "silence has no noise"


@pytest.fixture(scope="module", autouse=True)
def small():
    with experiments_on(slice_of_duet()):
        yield


@pytest.fixture(scope="module")
def models(ledger):
    asked = {"LSGMER": SMALL_LSGMER, "LE-MER": SMALL, "text": replace(SMALL, model="text"),
             "speech": replace(SMALL, model="speech")}
    return {name: restored(e, ledger, progress=False, device="cpu") for name, e in asked.items()}


@pytest.fixture(scope="module")
def answers(models):
    chosen = {name: damages()[name] for name in ("as it is", "noise at 0 dB", "sound muted", "all words lost")}
    return under(models, chosen)


def test_every_model_answers_under_every_damage(models, answers, ledger):
    fold = models["LSGMER"].fold
    assert len(answers) == 4 * 4 * len(fold.test) and answers["fold"].eq(fold.name).all()
    assert list(dict.fromkeys(answers["system"])) == list(models)
    p = [c for c in answers if c.startswith("p_")]
    assert len(p) == 4 and np.isfinite(answers[p]).all(axis=None), "silence and empty texts are answered"
    recorded = run(SMALL_LSGMER, ledger, progress=False).predictions.set_index("id")
    as_it_is = answers.query("system == 'LSGMER' and damage == 'as it is'").set_index("id").loc[recorded.index]
    np.testing.assert_allclose(as_it_is[p], recorded[p], atol=1e-4)
    assert as_it_is["dialogue"].tolist() == recorded["dialogue"].tolist()


def test_a_model_hears_the_damage_that_it_reads(answers):
    said = answers.pivot(index="id", columns=["system", "damage"], values="p_sad")
    for system, heard in {"LSGMER": {"sound", "words"}, "LE-MER": {"sound", "words"}, "text": {"words"},
                          "speech": {"sound"}}.items():
        for name in ("noise at 0 dB", "sound muted", "all words lost"):
            changed = not np.allclose(said[system, name], said[system, "as it is"], atol=1e-6)
            assert changed == (("words" if "words" in name else "sound") in heard), (system, name)


def test_an_utterance_asked_alone_has_the_same_damage(models, answers):
    trained = models["LSGMER"]
    ids = list(trained.fold.test[5:2:-1])
    alone = trained.predict(ids, **damages()["noise at 0 dB"]).set_index("id").loc[ids]
    among = answers.query("system == 'LSGMER' and damage == 'noise at 0 dB'").set_index("id").loc[ids]
    np.testing.assert_allclose(alone["p_sad"], among["p_sad"], atol=1e-5)


def test_former_turns_lose_their_words_whether_they_are_asked_or_not(models):
    trained, words = models["text"], damages()["all words lost"]
    rows = trained.stage.rows.loc[list(trained.fold.test)]
    last = rows.groupby("dialogue")["turn"].idxmax().iloc[0]
    emptied, alone = (trained.predict([last], **given).iloc[0] for given in (words, words | {"history_turns": 0}))
    assert emptied["p_sad"] == pytest.approx(alone["p_sad"], abs=1e-5)
    assert abs(trained.predict([last])["p_sad"].item() - alone["p_sad"]) > 1e-5
    among = trained.predict(trained.fold.test, **words).set_index("id").loc[last]
    assert among["p_sad"] == pytest.approx(emptied["p_sad"], abs=1e-5)


def test_without_words_and_sound_all_utterances_of_a_length_are_one(models):
    both = damages()["sound muted"] | damages()["all words lost"]
    for trained in models.values():
        nothing = trained.predict(trained.fold.test[:20], **both, history_turns=0)
        assert np.isfinite(nothing.select_dtypes("number")).all(axis=None)
    text = models["text"].predict(models["text"].fold.test[:20], **both, history_turns=0)
    assert text["p_sad"].to_numpy() == pytest.approx(text["p_sad"][0], abs=1e-5)


def test_an_encoder_of_waveforms_hears_silence(tmp_path):
    waves = replace(SMALL, model="speech", encoders=replace(TINY, speech=wav2vec2_in(tmp_path / "w")))
    trained = restored(waves, tmp_path / "ledger", progress=False, device="cpu")
    said = trained.predict(trained.fold.test[:5], **damages()["sound muted"])
    assert np.isfinite(said[[c for c in said if c.startswith("p_")]]).all(axis=None)


def test_runs_keep_what_the_classifier_sees(ledger, models):
    finished = run(SMALL_LSGMER, ledger, progress=False)
    trained = models["LSGMER"]
    for batch, output in trained.outputs(trained.fold.test[:7]):
        kept = torch.stack([finished.attention[f"features/{u}"] for u in batch.ids])
        np.testing.assert_allclose(kept, output.features, atol=1e-4)


@pytest.fixture(scope="module")
def as_it_is(models):
    return under({name: models[name] for name in ("LSGMER", "LE-MER")}, {"as it is": {}})


@pytest.fixture
def asked(models, as_it_is):
    """A sweep of two models on the first three utterances of each dialogue."""
    few = as_it_is.groupby("dialogue")["id"].head(3)
    shorter = {name: replace(models[name], fold=replace(models[name].fold, test=tuple(sorted(set(few)))))
               for name in ("LSGMER", "LE-MER")}
    return lambda kind, levels: sweep(shorter, kind, levels, as_it_is[as_it_is["id"].isin(few)], seed=0)


def said_at(swept: pd.DataFrame, level, system: str = "LE-MER") -> np.ndarray:
    return swept[(swept["level"] == level) & (swept["system"] == system)].set_index("id")["p_sad"].sort_index()


def test_a_sweep_goes_from_no_damage_through_its_levels_as_the_list_of_damages_has_them(asked, answers):
    noise = asked("noise", [10, 0])
    assert list(dict.fromkeys(noise["level"])) == [np.inf, 10, 0] and set(noise["damage"]) == {"noise"}
    assert noise.groupby(["system", "level"])["id"].nunique().nunique() == 1
    known = answers[answers["system"] == "LE-MER"].set_index(["damage", "id"])["p_sad"]
    for level, name in ((np.inf, "as it is"), (0, "noise at 0 dB")):
        said = said_at(noise, level)
        np.testing.assert_allclose(said, known[name].loc[said.index], atol=1e-5)
    missing = asked("missing", ["words", "sound", "both"])
    for level, name in (("nothing", "as it is"), ("words", "all words lost"), ("sound", "sound muted")):
        said = said_at(missing, level)
        np.testing.assert_allclose(said, known[name].loc[said.index], atol=1e-5)
    for one in ("sound", "words"):
        assert not np.allclose(said_at(missing, "both"), said_at(missing, one), atol=1e-6)


def test_lost_words_are_gone_and_replaced_ones_are_words_of_the_training_part(asked, models):
    lost, replaced = (asked(f"words {how}", [0.0, 1.0]) for how in ("lost", "replaced"))
    assert list(dict.fromkeys(lost["level"])) == [0.0, 1.0], "no damage is asked once"
    assert not np.allclose(said_at(lost, 1.0), said_at(replaced, 1.0), atol=1e-6)
    given = robustness._at_level("words replaced", 1.0, models["LE-MER"], 0)["words"]
    known = set(" ".join(models["LE-MER"].stage.rows.loc[list(models["LE-MER"].fold.train), "text"]).split())
    told = given("u", "so many strange words here").split()
    assert len(told) == 5 and set(told) <= known and not set(told) & {"so", "many", "strange", "words", "here"}


def test_a_model_that_reads_fewer_turns_says_the_same_as_it_is(asked):
    turns = asked("history", [0, 1])
    assert list(dict.fromkeys(turns["level"])) == [2, 0, 1], "both read two turns"
    assert not np.allclose(said_at(turns, 0), said_at(turns, 2), atol=1e-6)
    assert not np.allclose(said_at(turns, 0), said_at(turns, 1), atol=1e-6)
    assert not np.allclose(said_at(turns, 1), said_at(turns, 2), atol=1e-6)
    more = asked("history", [5])
    assert np.array_equal(said_at(more, 5), said_at(more, 2))


def test_models_with_the_same_inputs_share_damaged_sound(models):
    heard, ids = [], list(models["LE-MER"].fold.test[:4])
    assert damage(10, seed=1)["sound"] == damage(10, seed=1)["sound"] != damage(10, seed=2)["sound"]
    sounds = [lambda utterance, samples, loud=loud: heard.append(utterance) or samples * loud for loud in (1, 0)]
    for name in ("LE-MER", "speech"):
        models[name].predict(ids, sound=sounds[0])
    assert sorted(heard) == sorted(ids), "each clip is damaged once"
    models["speech"].predict(ids, sound=sounds[1])
    assert len(heard) == 8, "another damage is computed anew"


def test_a_sweep_names_the_kinds_and_modalities_that_it_knows(asked):
    with pytest.raises(BadInput, match="noise, words lost, words replaced, missing, history"):
        asked("wind", [1])
    with pytest.raises(BadInput, match="nothing, sound, words, both"):
        asked("missing", ["text"])


def swept_table() -> pd.DataFrame:
    """Two dialogues of two turns; at level 0 all are right, at 1 one of each, at 2 the first dialogue alone."""
    right = {0: [1, 1, 1, 1], 1: [1, 0, 0, 1], 2: [1, 1, 0, 0]}
    return pd.concat([pd.DataFrame({
        "system": "s", "level": level, "id": list("abcd"), "dialogue": list("xxyy"), "truth": "sad",
        "predicted": np.where(np.array(of, dtype=bool), "sad", "happy")}) for level, of in right.items()])


def test_levels_are_accuracies_with_paired_changes_over_dialogues():
    found = by_level(swept_table().sample(frac=1, random_state=1).sort_values("level", kind="stable"))
    assert found["mean"].tolist() == [1, 0.5, 0.5] and found["level"].tolist() == [0, 1, 2]
    assert found[["low", "high"]].to_numpy().tolist() == [[1, 1], [0.5, 0.5], [0, 1]]  # whole dialogues are drawn
    assert found["change"].tolist() == [0, -0.5, -0.5]
    assert found[["change_low", "change_high"]].to_numpy().tolist() == [[0, 0], [-0.5, -0.5], [-1, 0]]
    assert by_level(swept_table(), reference=2)["change"].tolist() == [0.5, 0, 0]
    seeds = pd.concat([swept_table().assign(seed=0, fold="f"), swept_table().assign(seed=1, fold="f")])
    assert by_level(seeds)["change"].tolist() == [0, -0.5, -0.5], "the same utterance under two seeds"


def table(**gates: list[float]) -> pd.DataFrame:
    """Answers of systems with gates, two dialogues of two utterances, the last of them mistaken."""
    return pd.concat([pd.DataFrame({
        "system": system, "damage": damage, "gate_audio": np.array(gate) * scale, "dialogue": list("aabb"),
        "truth": ["sad", "sad", "happy", "happy"], "predicted": ["sad", "sad", "happy", "sad"]})
        for system, gate in gates.items() for damage, scale in (("b", 1.0), ("a", 0.5))])


def test_gates_are_means_with_intervals_over_dialogues():
    found = gates_under(table(z=[0.0, 0.4, 0.6, 0.8], y=[0.5] * 4))
    assert found[["system", "damage"]].to_numpy().tolist() == [["z", "b"], ["z", "a"], ["y", "b"], ["y", "a"]]
    assert found["mean"].tolist() == pytest.approx([0.45, 0.225, 0.5, 0.25])
    assert found["low"].tolist() == pytest.approx([0.2, 0.1, 0.5, 0.25])  # dialogue a twice: 1 of 4 resamples
    assert found["high"].tolist() == pytest.approx([0.7, 0.35, 0.5, 0.25])
    assert (found["WA"] == accuracy_score(["s", "s", "h", "h"], ["s", "s", "h", "s"])).all()


def test_a_model_without_a_gate_is_named(answers):
    with pytest.raises(BadInput, match="got no gate of LE-MER, text, speech; expected models with a gate"):
        gates_under(answers)
    with pytest.raises(BadInput, match="got no gate of text"):
        gates_under(answers[answers["system"] == "text"].drop(columns=["gate_audio", "gate_text"]))
    assert len(gates_under(answers[answers["system"] == "LSGMER"])) == 4
