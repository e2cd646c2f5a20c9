"""The benchmarks at their smallest: both sides of each ratio compute the same, and figures reach file and table."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from mer_kit.features.inputs import collate
from mer_kit.install import ROOT

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def beside(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")


def rows_of(out: Path) -> list[dict]:
    """What a benchmark has written: every ratio a positive number between its extremes."""
    said = json.loads(out.read_text())
    assert said["machine"]["threads"] and all(row["what"] and row["figure"] for row in said["rows"])
    for ratio in (row["ratio"] for row in said["rows"] if "ratio" in row):
        assert 0 < ratio["lowest"] <= ratio["median"] <= ratio["highest"] < math.inf
    return said["rows"]


def without_dropout(model: torch.nn.Module) -> torch.nn.Module:
    for module in model.modules():
        for name in ("p", "dropout", "attention_dropout"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
    return model


def same_training(loops, given, new_model) -> None:
    """Loops that each train a new model on their batches leave the same weights."""
    weights = []
    for loop, batches in zip(loops, given, strict=True):
        model = new_model()
        loop(model, batches)
        weights.append(torch.cat([p.flatten() for p in model.parameters()]))
    start = torch.cat([p.flatten() for p in new_model().parameters()])
    assert (weights[0] - start).abs().max() > 1e-5
    torch.testing.assert_close(weights[0], weights[1], atol=2e-6, rtol=0)


def test_lengths_are_those_of_iemocap():
    from measure import seconds_like_iemocap, tokens_of

    seconds = seconds_like_iemocap(5000)
    assert seconds.mean() == pytest.approx(4.5, abs=0.1) and seconds.min() >= 0.6 and seconds.max() == 20
    few = np.array([1.0, 2.0, 20.0, 1.0])  # 5, 8, 68, 5 tokens
    assert tokens_of(few).tolist() == [5, 8, 68, 5] and tokens_of(few, 60).tolist() == [5, 8, 60, 5]
    assert tokens_of(few, 80, history=True).tolist() == [5, 13, 76, 73]


def test_ways_take_turns_and_their_ratio_is_that_of_one_round():
    from measure import alternately, times_as_fast

    called = []
    spent = alternately({"a": lambda: called.append("a"), "b": lambda: called.append("b")}, 2)
    assert "".join(called) == "ab" + "ba" + "ab" and [len(s) for s in spent.values()] == [2, 2]
    assert len(alternately({"a": lambda: called.append("a")}, 1, warm=True)["a"]) == 1 and len(called) == 7
    row = times_as_fast({"kit": [1.0, 2.0, 4.0], "loop": [3.0, 4.0, 4.0]}, "kit", "loop", "what", "≥ 2", work=0.5)
    assert row["figure"] == "4.00 × (2.00 to 6.00)"
    assert row["ratio"] == {"median": 4, "lowest": 2, "highest": 6}


def test_the_table_holds_every_file_and_the_readme_that_table(tmp_path):
    from measure import BEGIN, END, keep, table

    (tmp_path / "old.json").write_text('{"epochs": 3, "share": 0.5, "machine": "a | b"}')
    (tmp_path / "old.py").write_text('"""What it is.\n\n    python benchmarks/old.py --epochs 3\n"""\n')
    (tmp_path / "README.md").write_text(f"before\n{BEGIN}stale\n{END}after\n")
    keep(tmp_path / "new.json", [{"what": "first", "figure": "1 ×", "goal": "≥ 1"},
                                 {"what": "second", "figure": "2 ×", "goal": ""}], command="python new.py")
    lines = table(tmp_path).splitlines()
    assert lines[2].startswith("| new | first | 1 × | ≥ 1 | `python new.py` | GPU ")
    assert lines[3] == "|  | second | 2 × |  |  |  |"
    assert lines[4] == ("| old | What it is. | epochs 3, share 0.5 |  | `python benchmarks/old.py --epochs 3` | "
                        "a \\| b |")
    assert (tmp_path / "README.md").read_text() == f"before\n{BEGIN}{table(tmp_path)}{END}after\n"


def test_the_readme_shows_the_figures_at_hand():
    from measure import HERE, table

    assert table() in (HERE / "README.md").read_text()


@pytest.mark.parametrize("name", ["wav2vec2", "BERT"])
def test_extraction_says_what_the_loops_say(name, tmp_path):
    import extraction

    tiny = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    model, encoder = extraction.models(tiny, tiny)[name]
    inputs = {u: x[:6000] for u, x in extraction.utterances(name, 20).items()}
    ways = extraction.ways(model, encoder, inputs, str(tmp_path))
    kit, alone, padded = (ways[way]() for way in ("kit", "one at a time", "padded to the longest"))
    for u, given in inputs.items():
        bare = model(given[None]).last_hidden_state[0].detach()
        for states in (kit(u), alone[u], padded[u]):
            torch.testing.assert_close(states, bare, atol=1e-4, rtol=0)
    packed = extraction.packed(inputs)
    assert sum(map(len, packed)) == 20
    assert sum(b.numel() for b in packed) == pytest.approx(sum(map(len, inputs.values())), abs=20)
    assert ways["packed"]() is None


def test_an_epoch_over_cached_features_trains_as_one_over_memory(tmp_path):
    import cached_epoch as bench

    utterances = bench.Utterances(40)
    loaded = bench.batches(utterances, bench.cached(utterances, tmp_path, 2**20), 8)
    loaded.set_epoch(1)
    same_training((bench.steps, bench.fitted), (list(loaded), loaded), lambda: without_dropout(bench.new_model()))
    states = bench.cached(utterances, tmp_path, 0)
    again = collate(next(iter(loaded)).ids, states["text"], states["speech"], utterances.labels, utterances.spectrogram)
    assert all(torch.equal(getattr(again, m).values, getattr(next(iter(loaded)), m).values)
               for m in ("text", "speech", "spectrogram"))
    bench.main(count=40, rounds=1, out=tmp_path / "out.json")
    assert len(rows_of(tmp_path / "out.json")) == 3


@pytest.mark.parametrize("name", ["LE-MER", "LSGMER", "JFM + ICL"])
def test_a_step_of_the_kit_is_one_of_the_plain_loop(name):
    import training_step as bench

    *sizes, _ = bench.PRESETS["tiny"]
    utterances = bench.Utterances(name, 60, *sizes)
    batches = bench.chosen(utterances.seconds.clip(max=3), 3, 2)
    assert sorted(u for b in bench.shuffled(batches) for u in b) == sorted(u for b in batches for u in b)

    def new_model():
        torch.manual_seed(0)
        return without_dropout(bench.MODELS[name](*sizes))

    padded = utterances.padded(batches[0])
    assert padded.text.mask.shape[1] == utterances.tokens.max() > utterances.batch(batches[0]).text.mask.shape[1]
    same_training((lambda model, given: bench.plain_loop(model, given, CPU),
                   lambda model, given: bench.by_the_kit(model, given, CPU, "no")),
                  (bench.Lazily(utterances.padded, batches), bench.Lazily(utterances.batch, batches)), new_model)
    bench.by_the_kit(new_model(), bench.Lazily(utterances.batch, batches), CPU, "bf16")


def test_training_steps_are_timed_and_a_missing_gpu_is_said(tmp_path, monkeypatch):
    import training_step as bench

    monkeypatch.setattr(bench, "MODELS", {"LSGMER": bench.lsgmer})
    bench.main("tiny", steps=1, out=tmp_path / "cpu.json")
    rows = rows_of(tmp_path / "cpu.json")
    assert len(rows) == 4 and rows[3]["utterances a second"] > 0 < rows[3]["share of the matrix rate"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    bench.main("paper", "cuda", out=tmp_path / "cuda.json")
    assert rows_of(tmp_path / "cuda.json")[0]["figure"].startswith("not run")


def test_work_and_memory_are_compared_with_the_smallest_corpus(tmp_path):
    import growth

    costs = growth.cost(20, 2, 0, torch.get_num_threads(), str(tmp_path))
    assert set(costs) == {"extraction", "reading", "steps", "MiB", "states"} and all(c > 0 for c in costs.values())
    row = growth._row({1: [{"steps": 2.0}], 4: [{"steps": 2.5}], 16: [{"steps": 3.0}]}, "steps", "what", 1, "flat")
    assert row["ratio"]["median"] == 1.5 and row["figure"] == "1.50 × (1.50 to 1.50); 2 / 2.5 / 3 s at (1, 4, 16) times"


def test_a_notebooks_overhead_is_what_its_cells_did_not_take(tmp_path):
    import nbformat
    import notebook_overhead as bench

    from mer_kit.batch_runs import record

    cells = [nbformat.v4.new_code_cell("1", metadata={"papermill": {"duration": d}}) for d in (1.5, 2.0, None)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "00_one.ipynb")
    record([{"notebook": "00_one", "seconds": 7.0, "status": "ok"},
            {"notebook": "01_two", "seconds": 9.0, "status": "failed"}], tmp_path)
    bench.main(tmp_path, tmp_path / "out.json")
    assert rows_of(tmp_path / "out.json")[0]["figure"] == "3.5 s (3.5 to 3.5); 50% of all 1 notebooks' time"


def test_faults_are_counted_over_all_tests_that_report_any(tmp_path):
    from faults import rows_of as counted
    from measure import keep

    (tmp_path / "report.xml").write_text("""<testsuites><testsuite>
        <testcase name="test_a_damaged_grid"><properties><property name="refused" value="1400"/>
            <property name="read" value="100"/></properties></testcase>
        <testcase name="test_kills[grid-10]"><properties><property name="kills" value="10"/>
            <property name="came to the end" value="3"/></properties></testcase>
        <testcase name="test_without_counts"/></testsuite></testsuites>""")
    keep(tmp_path / "out.json", counted(tmp_path / "report.xml"))
    figures = [row["figure"] for row in json.loads((tmp_path / "out.json").read_text())["rows"]]
    assert figures == ["1,500 cases, 10 kills, nothing wrong", "1,400 refused, 100 read", "10 kills, 3 came to the end"]
