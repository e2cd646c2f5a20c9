"""The same model under several protocols: gaps by hand, runs read where they are recorded, flaws named."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from small_experiments import SMALL, experiments_on, slice_of_duet

from mer_kit.evaluation.statistics import interval, paired_cluster_bootstrap
from mer_kit.training import protocol_gap
from mer_kit.training.protocol_gap import protocol_gaps, schemes_of, told, under_protocols
from mer_kit.training.runs import Outcome, record, run_once

HONEST, FLAWED = "duet-4/session-out", "duet-4/random-5 (teaching only: speakers stand in both)"


def made(folder, protocol: str, fold: str, predictions: pd.DataFrame):
    config = {"model": "m", "corpus": "c", "corpus_hash": "h", "protocol": protocol, "fold": fold, "seed": 0}
    return run_once(folder, config, lambda _: Outcome(predictions))


def says(ids: str, right: str) -> pd.DataFrame:
    """Utterances of dialogues of two; `right`: "1" where the prediction is."""
    truth = ["a", "b"] * (len(ids) // 2)
    wrong = {"a": "b", "b": "a"}
    return pd.DataFrame({"id": list(ids), "truth": truth, "predicted": [
        t if r == "1" else wrong[t] for t, r in zip(truth, right, strict=True)], "p_a": 0.5, "p_b": 0.5,
        "dialogue": [f"d{i // 2}" for i in range(len(ids))]})


def test_gaps_stand_on_the_utterances_that_both_have_tested(tmp_path):
    honest = [made(tmp_path, HONEST, "1", says("uvwx", "1100")), made(tmp_path, HONEST, "2", says("klmn", "1000"))]
    flawed = [made(tmp_path, FLAWED, "1", says("uvwxyz", "111111"))]
    table = protocol_gaps({"session-out": honest, "random-5": flawed}, "WA")
    assert table["mean"].tolist() == [0.375, 1.0] and table["runs"].tolist() == [2, 1]
    assert table.loc[0, ["low", "high"]].tolist() == list(interval([0.5, 0.25])[1:])
    both = paired_cluster_bootstrap(list("abab"), list("abab"), list("abba"), ["d0", "d0", "d1", "d1"], "WA")
    assert table.loc[1, ["gap", "gap_low", "gap_high"]].tolist() == list(both[:3]) and table.loc[1, "gap"] == 0.5
    assert table["utterances"].tolist() == [8, 4] and np.isnan(table.loc[0, "gap"])


def test_a_row_is_told_with_its_flaw_and_gap(tmp_path):
    runs = {"session-out": [made(tmp_path, HONEST, "1", says("uvwx", "1100"))],
            "random-5": [made(tmp_path, FLAWED, "1", says("uvwx", "1110"))],
            "official": [made(tmp_path, "x (teaching only: y)", "1", says("qr", "10"))]}
    first, second, third = (told(row) for row in protocol_gaps(runs).to_dict("records"))
    assert first == "duet-4/session-out: 50.0 %. The other protocols are compared with this one."
    assert second.startswith(f"{FLAWED}: 75.0 %. On the 4 utterances") and "gap is +25.0 points" in second
    assert third == "x (teaching only: y): 50.0 %."


def test_recorded_runs_are_read_and_what_lacks_is_trained(tmp_path, monkeypatch):
    ledger, results, text = tmp_path / "ledger", tmp_path / "results", replace(SMALL, model="text")
    asked, real = [], protocol_gap.run
    with experiments_on(slice_of_duet()):
        monkeypatch.setattr(protocol_gap, "run", lambda e, *a, **k: (asked.append(e), real(e, *a, **k))[1])
        assert schemes_of(text) == ("session-out", "session-out/dev=test", "random-5")
        first = under_protocols(text, ledger, results, folds=(0, 1), progress=False)
        assert [(e.protocol, e.fold) for e in asked] == [(p, f) for p in ("", *schemes_of(text)[1:]) for f in (0, 1)]
        for runs in first.values():
            for one in runs:
                record(one, results)
        asked.clear()
        again = under_protocols(replace(text, fold=3), ledger, results, folds=(0, 1), progress=False)
        assert not asked, "what is recorded is not run again"
        assert under_protocols(replace(text, seed=5), ledger, results, folds=(), progress=False).keys() == first.keys()
    for scheme, runs in again.items():
        assert [r.hash for r in runs] == [r.hash for r in first[scheme]]
        assert len({r.config["fold"] for r in runs}) == 2
    title = first["session-out/dev=test"][0].config["protocol"]
    assert title == "duet-4/session-out/dev=test (teaching only: the epoch is chosen on the test set)"
