"""LSGMER whole: padding, neighbours, every ablation and reading, the moving average, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from small_lemer import FRAMES, TOKENS, C, close
from small_lsgmer import PLAIN, D, batch_of, model

from mer_kit.batch import Padded
from mer_kit.errors import BadInput, Missing
from mer_kit.models.lsgmer import PRESETS, LSGMERConfig, one_modality_out
from mer_kit.training.runs import config_hash

VARIANTS = {"w/o MA": {"ma_rate": 0.0}, "w/o JOO": {"joo": False}, "w/o LSMA": {"lsma": False},
            "w/o LSMA & JOO": {"lsma": False, "joo": False}, "label attention": {"original": "label attention"},
            "gate per label": {"gate": "label"}, "flat": {"gate": "flat"}, "literal (16)": {"apc_mean": "literal"},
            "alpha": {"alpha": 0.5}, "beta": {"beta": 0.5}}
every_variant = pytest.mark.parametrize("changed", [{}, *VARIANTS.values()], ids=["as it is", *VARIANTS])


@every_variant
def test_padding_and_neighbours_change_nothing(changed):
    lsgmer = model(replace(PLAIN, **changed)).eval()
    together, padded = lsgmer(batch_of()), lsgmer(batch_of(padding=4))
    alone = [lsgmer(batch_of([i])) for i in range(3)]
    close(together.logits, padded.logits)
    close(together.loss, padded.loss)
    close(together.logits, torch.cat([o.logits for o in alone]))
    close(together.loss, torch.stack([o.loss for o in alone]).mean())


def test_shapes_and_names():
    output = model()(batch_of())
    tokens, frames = max(TOKENS), max(FRAMES)
    assert {n: tuple(a.shape) for n, a in output.attention.items()} == {
        "token_frame": (3, tokens, frames), "frame_token": (3, frames, tokens), "label_frame": (3, frames, C),
        "label_token": (3, tokens, C), "gate": (3, 2)}
    assert output.logits.shape == (3, C) and output.features.shape == (3, D) and set(output.terms) == {"L_ce", "L_apc"}
    for name, axis in (("label_frame", "frames"), ("label_token", "tokens")):
        close(output.attention[name].sum(dim=1), torch.ones(3, C))
        assert not output.attention[name][~output.masks[axis]].any()


@pytest.mark.parametrize("name", [n for n in VARIANTS if n != "w/o MA"])
def test_every_ablation_and_reading_changes_what_is_computed_and_the_hash(name):
    usual, other = model(), model(replace(PLAIN, **VARIANTS[name]))
    shared = {n: w for n, w in usual.state_dict().items() if n in other.state_dict()
              and other.state_dict()[n].shape == w.shape}
    other.load_state_dict(shared, strict=False)
    with torch.no_grad():
        for parameter in {*usual.parameters(), *other.parameters()}:
            parameter.mul_(3)  # as drawn, attention is nearly even
        a, b = usual.eval()(batch_of()), other.eval()(batch_of())
    assert not torch.allclose(a.loss, b.loss, atol=1e-6)
    assert config_hash({"c": usual.config}) != config_hash({"c": other.config})


def test_labels_move_by_one_part_in_a_hundred_and_without_ma_as_they_learnt():
    for rate in (0.99, 0.0):
        lsgmer = model(replace(PLAIN, ma_rate=rate))
        before = lsgmer.L.detach().clone()
        for epoch in (1, 2):
            with torch.no_grad():
                lsgmer.L.add_(1.0)
            lsgmer.end_epoch()
            close(lsgmer.L, before + epoch * (1 - rate))
    bare = model(replace(PLAIN, lsma=False, joo=False))
    bare.end_epoch()
    assert bare.L is None and not any("label" in n for n in bare.state_dict())


@pytest.mark.parametrize(("changed", "taught"), [({}, True), ({"lsma": False}, True), ({"joo": False}, True),
                                                 ({"lsma": False, "joo": False}, False)])
def test_who_teaches_the_labels(changed, taught):
    lsgmer = model(replace(PLAIN, **changed))
    lsgmer(batch_of()).loss.backward()
    assert (lsgmer.L is not None and lsgmer.L.grad.abs().sum() > 0) == taught
    assert all(p.grad is not None for p in lsgmer.parameters())


def test_modality_dropout_leaves_out_one_modality_in_training_alone():
    torch.manual_seed(0)
    H = Padded(torch.ones(4000, 2, 3), torch.ones(4000, 2, dtype=torch.bool))
    text, audio = one_modality_out(H, H, 0.3)
    out = torch.stack([~text.values.any(dim=2)[:, 0], ~audio.values.any(dim=2)[:, 0]]).float()
    assert (out.mean(dim=1) - 0.15).abs().max() < 0.02 and out.sum(dim=0).max() == 1
    lsgmer = model(replace(PLAIN, modality_dropout=1.0))
    close(lsgmer.eval()(batch_of()).logits, model().eval()(batch_of()).logits)
    assert not torch.allclose(lsgmer.train()(batch_of()).logits, lsgmer.eval()(batch_of()).logits)


def test_what_is_refused():
    with pytest.raises(Missing, match="has no spectrogram"):
        model()(replace(batch_of(), spectrogram=None))
    with pytest.raises(Missing, match="has no speech"):
        model()(replace(batch_of(), speech=None))
    for wrong, words in (({"gate": "labels"}, "did you mean 'label'"), ({"ma_rate": 1.0}, "would never learn a label"),
                         ({"heads": 3}, "expected a multiple"), ({"original": "men"}, "did you mean 'mean'")):
        with pytest.raises(BadInput, match=words):
            LSGMERConfig(**wrong)


def test_the_paper_preset_is_the_papers():
    paper = PRESETS["paper"]
    assert (paper.alpha, paper.beta, paper.ma_rate, PRESETS["paper-meld"].beta) == (1.0, 0.05, 0.99, 0.1)
    assert paper.lsma and paper.joo
