"""Runs: whole or not there, found by their config, joined only where they may be."""

from __future__ import annotations

import json
import multiprocessing
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from killed_runs import CONFIG, SAID, compute

from mer_kit.errors import BadInput, Missing
from mer_kit.install import ROOT
from mer_kit.training import provenance, runs
from mer_kit.training.runs import Ledger, Outcome, Run, config_hash, join, record, recorded, run_once, summary


@pytest.fixture
def quick(monkeypatch):
    """Runs made without asking git and the driver, which take their time."""
    monkeypatch.setattr(runs, "environment", lambda: {"commit": "c0ffee"})


def never(scratch: Path) -> Outcome:
    pytest.fail("it was finished")


def test_a_run_is_written_once_and_read_back(tmp_path):
    run = run_once(tmp_path, CONFIG, compute)
    assert run.folder == tmp_path / config_hash(CONFIG) and run.config == CONFIG
    again = run_once(tmp_path, CONFIG, never)
    pd.testing.assert_frame_equal(again.predictions, SAID)
    assert again.history["epoch"].tolist() == [1, 2]
    assert again.metrics == {"WA": 0.5, "UA": 0.5, "WF1": pytest.approx(1 / 3), "seconds": 1.0, "best_epoch": 2}
    assert again.weights["w"].tolist() == [1, 1, 1] and again.attention["label_token/a"].shape == (2, 2)
    assert {"torch", "transformers", "gpu", "python", "mer_kit", "commit"} <= set(again.environment)
    assert sorted(p.name for p in tmp_path.iterdir()) == [f".{run.hash}.lock", run.hash]


def test_the_hash_follows_content_not_order():
    @dataclass(frozen=True)
    class Options:
        rates: dict
        layers: tuple

    plain = {"a": 1, "options": {"rates": {"x": 0.1, "rest": 0.2}, "layers": [1, 2]}}
    assert config_hash({"options": Options({"rest": 0.2, "x": 0.1}, (1, 2)), "a": np.int64(1)}) == config_hash(plain)
    assert config_hash(plain) != config_hash(plain | {"a": 2}) and len(config_hash(plain)) == 16
    with pytest.raises(BadInput, match=r"PosixPath.*expected numbers, texts"):
        config_hash({"path": Path("x")})


def test_another_seed_is_another_run(tmp_path, quick):
    first, second = (run_once(tmp_path, CONFIG | {"seed": seed}, compute) for seed in (0, 1))
    assert first.folder != second.folder and len(Ledger(tmp_path).runs()) == 2


def test_a_config_names_what_was_run(tmp_path):
    with pytest.raises(BadInput, match="lacks corpus_hash, seed; expected at least model, corpus"):
        run_once(tmp_path, {k: v for k, v in CONFIG.items() if k not in ("seed", "corpus_hash")}, never)


def test_a_failed_computation_leaves_its_scratch_and_no_run(tmp_path, quick):
    def fail(scratch: Path) -> Outcome:
        (scratch / "checkpoint").write_text("epoch 3")
        raise KeyboardInterrupt

    def go_on(scratch: Path) -> Outcome:
        assert (scratch / "checkpoint").read_text() == "epoch 3"
        return compute(scratch)

    with pytest.raises(KeyboardInterrupt):
        run_once(tmp_path, CONFIG, fail)
    assert not Ledger(tmp_path).runs()
    run = run_once(tmp_path, CONFIG, go_on)
    assert [p for p in tmp_path.iterdir() if p.is_dir()] == [run.folder]


def killed(tmp_path: Path, writer: str) -> dict:
    program = [sys.executable, str(Path(__file__).with_name("killed_runs.py")), str(tmp_path), writer]
    done = subprocess.run(program, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize(("writer", "places"), [("run", 30), ("record", 30)])
def test_a_kill_anywhere_leaves_nothing_half_written(tmp_path, writer, places):
    found = killed(tmp_path, writer)
    assert not found["wrong"] and found["places"] >= places


@pytest.mark.slow
def test_the_killer_catches_a_writer_that_is_not_atomic(tmp_path):
    assert len(killed(tmp_path, "in place")["wrong"]) >= 10


def slowly(log: Path, folder: Path) -> None:
    def computing(scratch: Path) -> Outcome:
        with log.open("a") as file:
            file.write("computed\n")
        time.sleep(0.3)
        return compute(scratch)

    runs.environment = lambda: {"commit": "c"}
    assert run_once(folder, CONFIG, computing).metrics["WA"] == 0.5


def test_of_two_processes_one_computes(tmp_path):
    forks = multiprocessing.get_context("fork")
    both = [forks.Process(target=slowly, args=(tmp_path / "log", tmp_path / "runs")) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(20)
    assert [p.exitcode for p in both] == [0, 0] and (tmp_path / "log").read_text() == "computed\n"


def test_the_ledger_lists_what_is_finished(tmp_path, quick):
    assert Ledger(tmp_path / "nowhere").table().columns.tolist() == list(runs.COLUMNS)
    for model, fold in (("lemer", "S2"), ("lemer", "S1"), ("bert", "S1")):
        run_once(tmp_path, CONFIG | {"model": model, "fold": fold}, compute)
    (tmp_path / ".unfinished").mkdir()
    (tmp_path / "else").mkdir()
    table = Ledger(tmp_path).table()
    assert table[["model", "fold"]].to_numpy().tolist() == [["bert", "S1"], ["lemer", "S1"], ["lemer", "S2"]]
    assert table["UA"].tolist() == [0.5] * 3 and set(table["commit"]) == {"c0ffee"}
    assert table["hash"].tolist() == [run.folder.name for run in Ledger(tmp_path).runs()]


def test_joined_predictions_say_whose_they_are(tmp_path, quick):
    joined = join(run_once(tmp_path, CONFIG | {"fold": fold}, compute) for fold in ("S1", "S2"))
    assert joined.columns.tolist() == ["model", "fold", "seed", "hash", *SAID.columns]
    assert joined["fold"].tolist() == ["S1", "S1", "S2", "S2"] and joined["p_sad"].tolist() == [0.75, 0.6] * 2


@pytest.mark.parametrize(("name", "value"), [("protocol", "toy/random-5"), ("corpus_hash", "c1")])
def test_what_is_not_comparable_is_not_joined(tmp_path, quick, name, value):
    first, second = run_once(tmp_path, CONFIG, compute), run_once(tmp_path, CONFIG | {name: value}, compute)
    with pytest.raises(BadInput, match=f"different {name} .*'{CONFIG[name]}' in {first.hash}; '{value}' in"):
        join([first, second])
    with pytest.raises(BadInput, match="no run to join"):
        join([])


def test_a_record_is_small_and_newer_ones_replace_it(tmp_path, quick):
    run = run_once(tmp_path / "runs", CONFIG, compute)
    place = record(run, tmp_path / "results")
    assert sorted(p.name for p in place.iterdir()) == sorted(runs.KEPT) and place.name == run.hash
    [kept] = recorded(tmp_path / "results")
    assert kept.config == CONFIG and kept.metrics == run.metrics and kept.environment["commit"] == "c0ffee"
    assert kept.predictions["p_sad"].dtype == np.float32
    with pytest.raises(Missing, match=r"keeps no model.safetensors: it is a recorded run"):
        _ = kept.weights
    (run.folder / "metrics.json").write_text('{"WA": 0.75}')
    record(run, tmp_path / "results")
    [newer] = recorded(tmp_path / "results")
    assert newer.metrics == {"WA": 0.75} and [p.name for p in (tmp_path / "results").iterdir()] == [run.hash]


def test_whether_attention_looks_at_the_cue_is_kept_where_it_is_known(tmp_path, quick):
    looked = pd.DataFrame({"part": ["words"], "source": ["model"], "id": ["a"], "hit": np.float32([1])})
    run = run_once(tmp_path / "runs", CONFIG, lambda scratch: replace(compute(scratch), grounding=looked))
    record(run, tmp_path / "results")
    for kept in (run, *recorded(tmp_path / "results")):
        pd.testing.assert_frame_equal(kept.grounding, looked)
    without = run_once(tmp_path / "runs", CONFIG | {"seed": 1}, compute)
    with pytest.raises(Missing, match=r"keeps no grounding.parquet: it is a recorded run, or one that made none"):
        _ = without.grounding


def test_a_folder_that_is_no_run_says_so(tmp_path, quick):
    with pytest.raises(Missing, match=r"holds no config.json; expected the folder of a finished run"):
        _ = Run(tmp_path).config
    run = run_once(tmp_path, CONFIG, compute)
    (run.folder / "config.json").write_text('{"model": ')
    with pytest.raises(BadInput, match=r"config.json is damaged \(Expecting value"):
        Ledger(tmp_path).runs()


def test_tied_weights_are_written(tmp_path, quick):
    tied = torch.arange(6.0).view(2, 3)
    outcome = Outcome(SAID, weights={"a": tied, "b": tied, "turned": tied.T})
    run = run_once(tmp_path, CONFIG, lambda scratch: outcome)
    assert torch.equal(run.weights["b"], tied) and torch.equal(run.weights["turned"], tied.T)
    assert run.metrics["seconds"] is None


def test_the_commit_is_this_checkouts(monkeypatch, tmp_path):
    said = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True)
    if said.returncode:
        pytest.skip("this is no git checkout")
    assert provenance.commit().rstrip("+") == said.stdout.strip()
    monkeypatch.setattr(provenance, "ROOT", ROOT / "mer_kit")  # a folder inside a checkout of something else
    assert provenance.commit() is None
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    assert provenance.commit() is None


def test_only_the_first_process_writes(tmp_path, quick, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    seen = []
    run_once(tmp_path, CONFIG, lambda scratch: seen.append(scratch) or compute_nothing())
    assert len(seen) == 1 and not Ledger(tmp_path).runs()


def compute_nothing() -> Outcome:
    return Outcome(SAID)


def test_a_summary_holds_means_over_folds_and_refuses_mixed_protocols(tmp_path, quick):
    folds = [run_once(tmp_path, CONFIG | {"fold": f}, lambda scratch, s=said: Outcome(s)) for f, said in (
        ("a", SAID), ("b", SAID.assign(predicted=SAID["truth"])))]
    table = summary({"ours": folds}).set_index("metric")
    assert table.loc["WA", "mean"] == pytest.approx(0.75) and table.loc["WA", "low"] < 0.75 < table.loc["WA", "high"]
    assert table["system"].eq("ours").all() and table.loc["WA", "run"].endswith("2 runs")
    other = run_once(tmp_path, CONFIG | {"protocol": "duet-4/random-5"}, compute)
    with pytest.raises(BadInput, match=r"system 'ours' has runs under duet-4/random-5, .*; expected one"):
        summary({"ours": [*folds, other]})
    with pytest.raises(BadInput, match=r"no protocol"):
        summary({"ours": []})
