"""Settings by name, and how `mer-kit train` reads its options as settings."""

from __future__ import annotations

from dataclasses import replace

import pytest
from typer.testing import CliRunner

from mer_kit.cli import app
from mer_kit.errors import BadInput
from mer_kit.guidance.label_embeddings import GuidanceConfig
from mer_kit.models.lemer import LEMERConfig
from mer_kit.training import experiments
from mer_kit.training.experiments import Experiment
from mer_kit.training.lsgmer_studies import TABLE_3
from mer_kit.training.settings import configured, left_out, parsed

LSGMER, LEMER = Experiment("lsgmer"), Experiment("lemer")


@pytest.fixture
def asked(monkeypatch):
    """`asked("lsgmer", "--without", "MA")`: the experiment that `mer-kit train` would run, or what it says instead."""
    ran = []

    def note(experiment, *_, **__):
        ran.append(experiment)
        raise BadInput("not now")

    def ask(*words):
        ran.clear()
        done = CliRunner().invoke(app, ["train", *words])
        return ran[0] if ran else done.stderr

    monkeypatch.setattr(experiments, "run", note)
    return ask


@pytest.mark.parametrize(("name", "text", "value"), [
    ("lsgmer.beta", "1e-1", 0.1), ("lsgmer.lsma", "false", False), ("lsgmer.gate", "label", "label"),
    ("encoders.text_dim", "64", 64), ("encoders.spectrogram", "imagenet", "imagenet"), ("encoders.text", "7", "7")])
def test_a_text_becomes_a_value_of_the_fields_type(name, text, value):
    group, field = name.split(".")
    changed = getattr(configured(LSGMER, {name: text}), group)
    assert changed == replace(getattr(LSGMER, group), **{field: value})
    assert type(getattr(changed, field)) is type(value)


def test_lists_nothing_and_mappings_are_json():
    assert configured(LEMER, {"lemer.mu": "[1, 0.5, 0, 0]"}).lemer.mu == (1.0, 0.5, 0.0, 0.0)
    train = configured(LSGMER, {"train.gradient_clip": "null", "train.rates": '{"text": 1e-3}'}).train
    assert train.gradient_clip is None and train.rates == {"rest": 5e-4, "text": 1e-3}


def test_settings_of_the_training_join_those_that_are_there_and_nothing_set_changes_nothing():
    both = configured(configured(LSGMER, {"train.batch_size": "8"}), {"train.metric": "WF1"})
    assert both == replace(LSGMER, changes={"batch_size": 8, "metric": "WF1"})
    assert configured(LSGMER, {}) == LSGMER


@pytest.mark.parametrize(("experiment", "pair", "said"), [
    (LEMER, "lsgmer.beta=0.1", "the model 'lemer' does not read lsgmer.beta; it has settings of: lemer, guidance, enc"),
    (LSGMER, "lemer.fusion=C2", "the model 'lsgmer' does not read lemer.fusion; it has settings of: lsgmer, encoders"),
    (LSGMER, "guidance.tonal=text", "does not read guidance.tonal"),
    (Experiment("text"), "guidance.semantic=random", "lemer, encoders, train; with labels it reads guidance too"),
    (LSGMER, "lsgmer.betta=0.1", r"unknown setting of lsgmer 'betta'.*did you mean 'beta'"),
    (LSGMER, "lsgmr.beta=0.1", r"unknown group of settings 'lsgmr'.*did you mean 'lsgmer'"),
    (LSGMER, "train.epochs=3", r"unknown setting of train 'epochs'; expected one of: "),
    (LSGMER, "lsgmer.beta=much", "got lsgmer.beta='much'; expected a value of the type float"),
    (LSGMER, "train.patience=soon", r"got train.patience='soon'; expected a value of the type int \| null"),
    (LSGMER, "lsgmer.heads=0", "and 0 heads; expected a multiple"),
    (LSGMER, "lsgmer.beta=nan", "got lsgmer.beta='nan'; expected a value of the type float"),
    (LSGMER, "lsgmer.gate=labels", r"unknown gate 'labels'.*did you mean 'label'"),
    (LSGMER, "lsgmer.beta", "got the setting 'lsgmer.beta'; expected GROUP.FIELD=VALUE"),
    (LSGMER, "beta=0.1", "got the setting 'beta'; expected GROUP.FIELD=VALUE")])
def test_what_cannot_be_set_is_refused_in_a_sentence(experiment, pair, said):
    with pytest.raises(BadInput, match=said):
        configured(experiment, parsed([pair]))


def test_what_is_left_out_is_table_3(asked):
    for parts in (["MA"], ["JOO"], ["LSMA", "JOO"]):
        row = TABLE_3.rows[f"w/o {' & '.join(parts)}"]
        assert configured(LSGMER, left_out("lsgmer", parts)) == row
        assert asked("lsgmer", *(word for part in parts for word in ("--without", part))) == row
    with pytest.raises(BadInput, match=r"unknown part of lsgmer 'LSM'.*did you mean 'LSMA'"):
        left_out("lsgmer", ["LSM"])
    refused = asked("lemer", "--without", "MA")
    assert "the model 'lemer' has no parts to leave out by name; expected one of: lsgmer, jfm" in refused


def test_a_setting_counts_more_than_an_ablation(asked):
    assert asked("lsgmer", "--without", "MA", "--set", "lsgmer.ma_rate=0.5").lsgmer.ma_rate == 0.5


def test_the_options_of_le_mer_are_settings_as_before(asked):
    assert asked("lemer") == LEMER
    changed = asked("lemer", "--fusion", "C2", "--constraint", "raw", "--tonal", "text", "--control", "one-hot",
                    "--history", "3", "--rate", "rest=1e-2", "--batch-size", "4", "--seed", "2", "--frozen")
    assert changed == Experiment(
        "lemer", seed=2, lemer=LEMERConfig("C2", "raw", dropout=0.3),
        guidance=GuidanceConfig("tf-idf", "text", "one-hot", seed=2),
        changes={"rates": {"rest": 0.01}, "batch_size": 4},
        encoders=replace(LEMER.encoders, history_turns=3, frozen=True))
    assert asked("text", "--labels", "--semantic", "random").guidance.semantic == "random"
    assert asked("lsgmer", "--preset", "paper") == Experiment("lsgmer", preset="paper")


@pytest.mark.parametrize(("words", "said"), [
    (["lsgmer", "--fusion", "C2"], "the model 'lsgmer' does not read lemer.fusion"),
    (["lsgmer", "--labels"], "got labels=True for the model 'lsgmer'"),
    (["lemer", "--set", "lsgmer.beta=0.1"], "the model 'lemer' does not read lsgmer.beta"),
    (["text", "--tonal", "random"], "with labels it reads guidance too")])
def test_options_of_another_model_are_refused_in_a_sentence(asked, words, said):
    answer = asked(*words)
    assert answer.startswith("mer-kit: ") and said in answer and answer.count("\n") == 1
