"""One's own recordings from the command line, one or a folder; and the card that stands beside the model."""

from __future__ import annotations

import json
import shlex
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from small_experiments import SMALL, experiments_on, slice_of_duet
from typer.testing import CliRunner

from mer_kit import predict_cli
from mer_kit.cli import app
from mer_kit.errors import BadInput
from mer_kit.evaluation.metrics import recalls
from mer_kit.evaluation.statistics import cluster_interval, score_interval
from mer_kit.training import runs
from mer_kit.training.card import command_of
from mer_kit.training.experiments import run
from mer_kit.training.reopen import experiment_of, find_run, reopened
from mer_kit.training.restore import restored
from mer_kit.training.settings import asked, parsed


@pytest.fixture(scope="module", autouse=True)
def small():
    with experiments_on(slice_of_duet()):
        yield


@pytest.fixture(scope="module")
def finished(ledger):
    return run(SMALL, ledger, progress=False, device="cpu")


@pytest.fixture
def folder(finished, tmp_path):
    """The first three turns of a dialogue of the test part, and a table of what is said."""
    corpus = slice_of_duet()
    tested = corpus.table[corpus.table["id"].isin(finished.predictions["id"]) & (corpus.table["turn"] == 2)]
    turns = corpus.table[corpus.table["dialogue"] == tested["dialogue"].iloc[0]].head(3)
    rows = ["file,text,dialogue,turn", f'c.ogg,"{turns["text"].iloc[2]}",d,2']
    for name, turn in zip("ab", turns.itertuples(), strict=False):
        rows.append(f'{name}.ogg,"{turn.text}",d,{turn.turn}')
    for name, audio in zip("abc", turns["audio"], strict=True):
        shutil.copy(audio, tmp_path / f"{name}.ogg")
    (tmp_path / "texts.csv").write_text("\n".join(rows) + "\n")
    return tmp_path, turns["id"].tolist()


@pytest.fixture
def call(ledger, monkeypatch):
    monkeypatch.setattr(predict_cli.out, "width", 200)
    return lambda *words: CliRunner().invoke(app, ["predict", *map(str, words), "--ledger", str(ledger)])


def test_a_folder_is_answered_as_the_corpus_with_its_history(call, finished, folder, ledger, tmp_path):
    here, utterances = folder
    done = call(finished.hash[:7], here, "--out", tmp_path / "said.csv", "--attention", tmp_path / "looks")
    assert done.exit_code == 0, done.output
    said = pd.read_csv(tmp_path / "said.csv").set_index("file")
    assert said.index.tolist() == ["c.ogg", "a.ogg", "b.ogg"], "in the table's order"
    trained = restored(SMALL, ledger, progress=False, device="cpu")
    expected = trained.predict([utterances[2]]).filter(like="p_").iloc[0]
    np.testing.assert_allclose(said.loc["c.ogg"].filter(like="p_").astype(float), expected, atol=1e-5)
    with np.load(tmp_path / "looks/c.ogg.npz") as kept:
        assert kept["classes"].tolist() == list(trained.stage.corpus.label_set.classes)
        np.testing.assert_allclose(kept["p"], said.loc["c.ogg"].filter(like="p_").astype(float), atol=1e-5)
        assert kept["label_token"].shape == (len(kept["word_of_token"]), 4) and "token_frame" in kept
    assert finished.card.splitlines()[2][2:] in done.stdout.replace("\n", " ")


def test_one_clip_and_what_is_refused(call, finished, folder):
    here, _ = folder
    done = call(finished.folder, here / "a.ogg", "--text", "I am so happy")
    assert done.exit_code == 0 and "p_happy" in done.stdout and "a.ogg" in done.stdout
    (here / "b.ogg").write_bytes(b"no sound")
    stopped = call(finished.hash, here)
    assert stopped.exit_code == 2 and "b.ogg" in stopped.stderr and "--on-error skip" in stopped.stderr
    skipped = call(finished.hash, here, "--on-error", "skip")
    assert skipped.exit_code == 0 and "skipped: 1" in skipped.stdout and "c.ogg" in skipped.stdout
    (here / "texts.csv").unlink()
    (here / "a.txt").write_text("so\nglad")
    beside = call(finished.hash, here, "--on-error", "skip")
    assert "skipped: 2" in beside.stdout and "c.txt" not in str(beside.exception)
    for words, why in (([here / "a.ogg"], "--text"), ([], "listens"), ([here, "--text", "x"], "texts.csv"),
                       ([here / "nothing.wav", "--text", "x"], "neither a file nor a folder")):
        assert why in (refused := call(finished.hash, *words)).stderr and refused.exit_code == 2
    assert "first digits" in call("zzz", here).stderr


@pytest.mark.parametrize("file", ["../a.ogg", "/a.ogg", "none.ogg", "c.ogg"])
def test_rows_that_name_no_clip_of_the_folder_are_refused(call, finished, folder, file):
    here, _ = folder
    with (here / "texts.csv").open("a") as table:
        table.write(f"{file},x,d,9\n")
    done = call(finished.hash, here)
    assert done.exit_code == 2 and "texts.csv:5" in done.stderr


def test_a_run_is_reopened_from_its_config(finished):
    config = json.loads(json.dumps(finished.config))
    again = experiment_of(config)
    assert again.lemer == SMALL.lemer and again.guidance == SMALL.guidance
    assert {m: again.encoders.said(m) for m in again.branches} == {m: SMALL.encoders.said(m) for m in SMALL.branches}
    with pytest.raises(BadInput, match="corpus_hash 'c0', and here it is"):
        (other := runs.Run(finished.folder)).__dict__["config"] = config | {"corpus_hash": "c0"}
        reopened(other)
    with pytest.raises(BadInput, match="none"):
        find_run("zz", finished.folder.parent)


def test_the_card_says_what_the_run_holds(finished):
    card, said = finished.card, finished.predictions
    low_high = score_interval(said["truth"], said["predicted"], said["dialogue"], "UA")
    assert f"| UA | {low_high.mean:.3f} | {low_high.low:.3f} to {low_high.high:.3f} |" in card
    for name, recall in recalls(said["truth"], said["predicted"], ["angry", "happy", "sad", "neutral"]).items():
        assert f"| {name} | {(said['truth'] == name).sum()} | {recall:.3f} |" in card
    for words in (finished.hash, finished.config["corpus_hash"], finished.config["protocol"], "MIT", "hiring",
                  "medical", "Surveillance", "other languages", command_of(SMALL)):
        assert words in card
    assert "{{" not in card and "None" not in card


def test_a_score_interval_of_accuracy_is_that_of_its_mean():
    truth, said, of = list("abababab"), list("abbbaaab"), list("xxyyzzww")
    right = np.equal(truth, said).astype(float)
    assert score_interval(truth, said, of, "WA") == pytest.approx(cluster_interval(right, of))


@pytest.mark.parametrize("given", [
    {"model": "jfm", "fold": 2, "settings": {"jfm.joint": "8", "train.rates": '{"rest": 0.01}'}},
    {"model": "text", "labels": True, "epochs": 3, "protocol": "session-out/as-published"},
    {"model": "lsgmer", "preset": "paper", "seed": 4, "settings": {"encoders.history_turns": "2"}}])
def test_the_command_makes_the_same_experiment(given):
    settings, fields = given.get("settings", {}), {n: v for n, v in given.items() if n not in ("model", "settings")}
    experiment = asked(given["model"], (), settings, **fields)
    words = shlex.split(command_of(experiment))[3:]
    read = {"settings": []}
    while words:
        name = words.pop(0).removeprefix("--").replace("-", "_")
        value = True if name == "labels" else words.pop(0)
        if name == "set":
            read["settings"].append(value)
        else:
            read[name] = int(value) if name in ("fold", "seed", "epochs", "classes") else value
    assert asked(given["model"], (), parsed(read.pop("settings")), **read) == replace(experiment)
