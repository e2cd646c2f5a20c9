"""The command line: what it prints, refuses and returns."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
import torch
from small_notebook import write
from typer.testing import CliRunner

from mer_kit import batch_runs, cli, doctor
from mer_kit.cli import app
from mer_kit.console import plain
from mer_kit.install import ROOT
from mer_kit.machine import gpus

HEADER = "id\tspeaker\ttext\tlabel\tsession\n"


@pytest.fixture
def call(monkeypatch):
    """`call("corpus", "duet")` -> exit code, standard output and standard error, 200 columns wide."""
    monkeypatch.setattr(cli.out, "width", 200)
    return lambda *words: CliRunner().invoke(app, list(map(str, words)))


@pytest.fixture
def manifest(tmp_path):
    """Two speakers in each of three sessions, ten utterances each; one text is hostile."""
    rows = [f"u{s}{p}{i}\ts{s}p{p}\tline {i} [red]<b>\x1b[2J\t{('anger', 'joy')[i % 2]}\t{s}\n"
            for s in range(3) for p in range(2) for i in range(10)]
    path = tmp_path / "own.tsv"
    path.write_text(HEADER + "".join(rows))
    return path


def test_help_lists_the_commands(call):
    shown = call("--help")
    assert shown.exit_code == 0
    assert all(word in shown.output for word in ("doctor", "corpus", "run", "demo", "lab", "test"))
    as_module = subprocess.run([sys.executable, "-m", "mer_kit", "--help"], cwd=ROOT, capture_output=True, text=True)
    assert as_module.returncode == 0 and "Usage: mer-kit" in as_module.stdout


def test_corpus_shows_counts_durations_protocol_and_audit(call):
    shown = call("corpus", "duet")
    assert shown.exit_code == 0, shown.output
    for words in ("with a label of duet-4", "utterances by session and class", "utterances by speaker and class",
                  "durations", "skipped: 0", "protocol duet-4/session-out", "audit of duet-4/session-out"):
        assert words in shown.output
    seven = call("corpus", "duet", "--classes", 7, "--protocol", "speaker-out-5")
    assert "protocol duet-7/speaker-out-5" in seven.output and "disgust" in seven.output


def test_a_manifest_shows_what_was_skipped_and_why(call, manifest):
    manifest.write_text(manifest.read_text() + "bad\ts0p0\ttext\t\t0\n" * 2)
    stopped = call("corpus", manifest)
    assert stopped.exit_code == 2 and "own.tsv" in stopped.stderr and stopped.stderr.count("\n") == 1
    shown = call("corpus", manifest, "--on-error", "skip")
    assert shown.exit_code == 0, shown.output
    assert "skipped: 0" not in shown.stdout and "own.tsv" in shown.stdout


def test_a_corpus_too_small_for_folds_is_shown_all_the_same(call, manifest):
    manifest.write_text(HEADER + "a\tx\thello\tanger\t0\nb\ty\tthere\tjoy\t0\n")
    shown = call("corpus", manifest)
    assert shown.exit_code == 0 and "durations" in shown.output and "no protocol: corpus" in shown.output
    assert call("corpus", manifest, "--protocol", "speaker-out-5").exit_code == 2


def test_nothing_from_a_corpus_is_taken_for_markup():
    hostile = "[red]x[/red] [link=file:///]\x1b[2J\u202e"
    assert plain(hostile).plain == "[red]x[/red] [link=file:///]�[2J�" and not plain(hostile).spans
    assert [plain(v).plain for v in (None, float("nan"), 2.0, 2.5, 7)] == ["–", "–", "2", "2.50", "7"]


@pytest.mark.parametrize(("words", "said"), [
    (["corpus", "dute"], "did you mean 'duet'?"),
    (["corpus", "nemo"], "say where it lies with data_dir"),
    (["corpus", "duet", "--protocol", "sesion-out"], "did you mean 'session-out'"),
    (["corpus", "duet", "--classes", "5"], "unknown label set 'duet-5'"),
    (["prepare", "meld", "nowhere"], "nowhere"),
])
def test_errors_are_one_line_and_exit_with_two(call, monkeypatch, words, said):
    monkeypatch.delenv("MER_KIT_DATA", raising=False)
    done = call(*words)
    assert done.exit_code == 2
    assert done.stderr.startswith("mer-kit: ") and said in done.stderr and done.stderr.count("\n") == 1


def test_an_absent_package_is_one_line_too(call, monkeypatch):
    monkeypatch.setitem(sys.modules, "mer_kit.doctor", None)
    with pytest.raises(ModuleNotFoundError):  # a fault of mer_kit's own is not hidden
        CliRunner().invoke(app, ["doctor"], catch_exceptions=False)
    monkeypatch.setattr(cli, "_run_and_report", lambda *_, **__: __import__("no_such_package"))
    monkeypatch.setattr(batch_runs, "find_notebooks", lambda *_: [])
    done = call("demo")
    assert done.exit_code == 2 and "the package no_such_package is not in this Python" in done.stderr


def test_weights_are_fetched_with_their_sizes_or_refused_in_one_sentence(call, monkeypatch, tmp_path):
    (tmp_path / "model.safetensors").touch()
    os.truncate(tmp_path / "model.safetensors", 2**29)
    fetched = []
    monkeypatch.setattr("mer_kit.encoders.hub.download", lambda source: fetched.append(source) or tmp_path)
    monkeypatch.setattr("torchvision.models.alexnet", lambda weights: fetched.append("alexnet") or SimpleNamespace(
        features=[torch.nn.Conv2d(3, 1, 1)]))
    done = call("prepare", "weights", "--preset", "paper")
    assert fetched == ["bert-base-uncased", "facebook/wav2vec2-conformer-rel-pos-large", "roberta-base",
                       "microsoft/wavlm-large", "google/vit-base-patch16-224-in21k", "alexnet"]
    assert done.exit_code == 0 and done.stdout.count("0.50 GiB, revision") == 5
    monkeypatch.undo()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    done = call("prepare", "weights")
    assert done.exit_code == 2 and "the checkpoint 'bert-base-uncased' cannot be loaded" in done.stderr
    assert call("prepare", "weights", "--preset", "papers").exit_code == 2


def test_run_reads_pairs_runs_and_reports(call, tmp_path):
    good = write(tmp_path, "00_good", "assert (TOP_K, CORPUS) == (3, 'x y')")
    done = call("run", good, "-p", "TOP_K", 3, "-p", "CORPUS", "x y", "--out", tmp_path / "nb",
                "--report", tmp_path / "r")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[-1] == f"The report: {tmp_path / 'r/index.html'}"
    (ended,) = json.loads((tmp_path / "nb/runs.json").read_text())
    assert ended["parameters"]["TOP_K"] == 3 and (tmp_path / "r/00_good.html").is_file()


def test_run_returns_failure_and_names_notebook_cell_and_error(call, tmp_path):
    bad = write(tmp_path, "00_bad", "raise ValueError('boom [red]')")
    done = call("run", bad, "--out", tmp_path / "nb", "--report", tmp_path / "r")
    assert done.exit_code == 1
    assert "failed: 00_bad, cell 5 (raise ValueError('boom [red]')): ValueError: boom [red]" in done.stderr
    assert (tmp_path / "r/index.html").is_file()


@pytest.mark.parametrize(("pair", "said"), [
    (["-p", "TOPK", "3"], "did you mean 'TOP_K'"), (["-p", "TOP_K", "three"], "parameter TOP_K is of type int"),
    (["-p", "TOPK=3"], "did you mean 'TOP_K'"), (["-p", "TOP_K"], "parameter TOP_K is of type int")])
def test_run_refuses_before_it_starts(call, tmp_path, pair, said):
    done = call("run", write(tmp_path, "00_a"), "--out", tmp_path / "nb", *pair)
    assert done.exit_code == 2 and said in done.stderr and not (tmp_path / "nb").exists()


def test_a_demo_runs_as_many_notebooks_at_a_time_as_fit_and_run_one_unless_told(call, tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr(batch_runs, "run_notebooks", lambda *words: given.append(words[-1]) or [])
    monkeypatch.setattr("mer_kit.report.build_report", lambda *_: tmp_path)
    for words in (["demo"], ["demo", "--workers", "3"], ["run", "00"], ["run", "00", "--workers", "2"]):
        assert call(*words).exit_code == 0
    assert given == [0, 3, 1, 2]


def test_figures_go_where_the_readme_looks_for_them(call, tmp_path, monkeypatch):
    drawing = write(tmp_path, "00_a", parameters="FIGURES_DIR: str = ''")
    monkeypatch.setattr(batch_runs, "find_notebooks", lambda *_: [drawing, write(tmp_path, "01_b")])
    given = []
    monkeypatch.setattr(cli, "_run_and_report", lambda *words, **_: given.append(words[:2]))
    assert call("figures").exit_code == 0
    ((notebooks, parameters),) = given
    assert notebooks == [drawing]
    assert (batch_runs.NOTEBOOKS / parameters["FIGURES_DIR"]).resolve() == ROOT / "figures"
    assert parameters["EPOCHS"] == 0, "what is committed is drawn from trainings of full length"


def test_test_returns_the_failure_of_either_set(call, monkeypatch):
    codes = {"default": 0, "browser": 0}
    monkeypatch.setattr(cli.subprocess, "run", lambda words, **_: subprocess.CompletedProcess(
        words, codes["browser" if "browser" in words else "default"]))
    for default, browser, chromium, expected in [(0, 0, "c", 0), (1, 0, "c", 1), (0, 2, "c", 2), (0, 2, None, 0)]:
        codes.update(default=default, browser=browser)
        monkeypatch.setattr(cli, "find_chromium", lambda found=chromium: found)
        done = call("test")
        assert done.exit_code == expected
        assert ("left out" in done.output) == (chromium is None)


def test_lab_listens_on_this_machine_alone(call, monkeypatch):
    started = []
    monkeypatch.setattr(os, "execv", lambda program, words: started.append(words))
    call("lab", "--port", 9000)
    (words,) = started
    assert words[:3] == [sys.executable, "-m", "jupyterlab"] and {"--ip=127.0.0.1", "--port=9000"} < set(words)
    assert f"--ServerApp.root_dir={ROOT / 'notebooks'}" in words and not any("token" in w for w in words)


def test_doctor_finds_each_thing_and_mends_what_is_not_there(monkeypatch, tmp_path):
    (tmp_path / "nemo").mkdir()
    monkeypatch.setenv("MER_KIT_DATA", str(tmp_path))
    monkeypatch.setattr(doctor, "find_chromium", lambda: None)
    monkeypatch.setattr(doctor, "_torch", lambda: doctor.Finding("GPU", "ok", "stands for the slow import below"))
    monkeypatch.setattr(doctor, "PATIENCE", 0.1)
    found = {f.name: f for f in doctor.examine()}
    assert (found["Python"].state, found["packages"].state, found["corpus duet"].state) == ("ok", "ok", "ok")
    assert (found["corpus nemo"].state, found["corpus meld"].state) == ("ok", "absent")
    assert found["chromium"].mend == "install it (Debian and Ubuntu: apt install chromium)"
    assert all(f.mend for f in found.values() if f.state != "ok")


@pytest.mark.slow
def test_doctor_sees_the_gpu_or_that_there_is_none():
    finding = doctor._torch()
    assert finding.name == "GPU" and finding.state == ("ok" if gpus() else "absent")


def test_doctor_names_packages_of_a_wrong_version(monkeypatch):
    have, wrong = doctor.package_version, {"torch": "2.9.0", "plotly": None}
    monkeypatch.setattr(doctor, "package_version", lambda name: wrong.get(name, have(name)))
    (finding,) = doctor._packages()
    assert finding.state == "broken" and "torch 2.9.0 (expected ==2.11.0)" in finding.text
    assert "plotly absent" in finding.text


def test_doctor_never_hangs_on_the_network(monkeypatch):
    monkeypatch.setattr(doctor.socket, "getaddrinfo", lambda *_: time.sleep(30))
    monkeypatch.setattr(doctor, "PATIENCE", 0.1)
    begun = time.perf_counter()
    assert doctor._network().state == "absent" and time.perf_counter() - begun < 3


def test_doctor_returns_failure_where_something_is_broken(call, monkeypatch):
    monkeypatch.setattr(doctor, "examine", lambda: iter([doctor.Finding("x", "broken", "[bold]y", "do z")]))
    done = call("doctor")
    assert done.exit_code == 1 and "[bold]y" in done.output and "→ do z" in done.output
