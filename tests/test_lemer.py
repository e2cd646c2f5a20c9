"""LE-MER whole: padding, gradients, every ablation, unimodal models, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_lemer import D_S, D_T, FRAMES, PLAIN, TOKENS, C, Words, batch_of, close, model, unimodal

from mer_kit.errors import BadInput, Missing
from mer_kit.models.lemer import (
    FUSIONS,
    LEMER,
    PRESETS,
    LEMERConfig,
    UnimodalConfig,
    UnimodalModel,
    gradients_of_constraint,
)
from mer_kit.training.runs import config_hash


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("constraint", ["raw", "guided"])
def test_padding_changes_nothing(fusion, constraint):
    lemer = model(replace(PLAIN, fusion=fusion, constraint=constraint))
    alone, padded = lemer(batch_of()), lemer(batch_of(padding=4))
    close(alone.logits, padded.logits)
    close(alone.loss, padded.loss)
    for name, weights in alone.attention.items():
        wide = padded.attention[name]
        close(weights, wide[tuple(slice(0, n) for n in weights.shape)])
        assert wide.abs().sum().item() == pytest.approx(weights.abs().sum().item(), abs=1e-4)  # 0 at padding


@pytest.mark.parametrize("fusion", FUSIONS)
def test_neighbours_change_nothing_and_the_loss_is_their_mean(fusion):
    lemer = model(replace(PLAIN, fusion=fusion))
    together, each = lemer(batch_of()), [lemer(batch_of([i])) for i in range(3)]
    close(together.logits, torch.cat([o.logits for o in each]))
    for symbol, term in together.terms.items():
        assert term.item() == pytest.approx(np.mean([o.terms[symbol].item() for o in each]), abs=1e-6)
    assert together.loss.item() == pytest.approx(np.mean([o.loss.item() for o in each]), abs=1e-6)


def test_the_loss_is_eq_12_of_its_terms():
    output = model(replace(PLAIN, mu=(1.0, 0.5, 0.3, 0.2)))(batch_of())
    L_m, L_c, L_g_t, L_g_s = (output.terms[s].item() for s in ("L_m", "L_c", "L_g_t", "L_g_s"))
    assert output.loss.item() == pytest.approx(L_m + 0.5 * L_c + 0.3 * L_g_t + 0.2 * L_g_s)


def test_shapes_and_names():
    output = model()(batch_of())
    tokens, frames = max(TOKENS), max(FRAMES)
    assert {n: tuple(a.shape) for n, a in output.attention.items()} == {
        "label_token": (3, tokens, C), "label_frame": (3, frames, C),
        "token_frame": (3, tokens, frames), "guided": (3, tokens, frames)}
    assert output.masks["tokens"].sum(dim=1).tolist() == list(TOKENS)
    assert output.masks["frames"].sum(dim=1).tolist() == list(FRAMES)
    assert output.features.shape == (3, D_T + D_S) and output.logits.shape == (3, C)


def test_without_labels_there_is_no_loss():
    output = model()(replace(batch_of(), labels=None))
    assert output.loss is None and output.terms == {} and output.logits.shape == (3, C)


# every ablation gives another hash, and another forward pass or loss

ABLATIONS = {
    "C2": {"fusion": "C2"}, "C3": {"fusion": "C3"}, "C4": {"fusion": "C4"}, "raw constraint": {"constraint": "raw"},
    "no constraint": {"mu": (1.0, 0.0, 0.2, 0.2)}, "no text guidance": {"mu": (1.0, 0.5, 0.0, 0.2)},
    "no speech guidance": {"mu": (1.0, 0.5, 0.2, 0.0)}, "all tokens": {"guidance_tokens": "all"},
}
CONFIGS = {"C1": PLAIN} | {name: replace(PLAIN, **change) for name, change in ABLATIONS.items()}


def test_every_ablation_has_its_own_hash():
    assert CONFIGS["raw constraint"] == PRESETS["paper"]
    hashes = {config_hash({"model": c}) for c in [*CONFIGS.values(), PRESETS["offline"], UnimodalConfig("text")]}
    assert len(hashes) == len(CONFIGS) + 2
    assert config_hash({"model": PLAIN}) == config_hash({"model": LEMERConfig(dropout=0.0)})
    assert config_hash({"model": UnimodalConfig("text")}) != config_hash({"model": UnimodalConfig("speech")})


@pytest.mark.parametrize("name", ABLATIONS)
def test_every_ablation_changes_logits_or_loss(name):
    normal, changed = (model(CONFIGS[n])(batch_of()) for n in ("C1", name))
    same_logits = torch.allclose(normal.logits, changed.logits)
    assert same_logits is (name not in ("C2", "C3"))
    assert abs(normal.loss - changed.loss).item() > 1e-4
    assert ("L_c" in changed.terms) is (name not in ("C2", "C3", "C4"))


def test_dropout_acts_in_training_alone():
    lemer = model(LEMERConfig(dropout=0.5))
    assert not torch.equal(lemer(batch_of()).logits, lemer(batch_of()).logits)
    lemer.eval()
    assert torch.equal(lemer(batch_of()).logits, lemer(batch_of()).logits)


def test_other_label_embeddings_give_another_loss():
    shuffled = model().L_t.detach().roll(1, dims=0)
    normal, changed = model()(batch_of()), model(label_t=shuffled)(batch_of())
    assert abs(normal.loss - changed.loss).item() > 1e-4


# gradients

def gradients(config: LEMERConfig, symbol: str) -> dict[str, bool]:
    """Which parameters a term of the loss teaches."""
    lemer = model(config)
    lemer(batch_of()).terms[symbol].backward()
    return {n: p.grad is not None and p.grad.abs().sum().item() > 1e-9 for n, p in lemer.named_parameters()}


def test_the_guided_constraint_teaches_A_r_and_no_label():
    taught = gradients(PLAIN, "L_c")
    assert taught["W"] and taught["text_encoder.table.weight"] and not taught["L_t"] and not taught["L_s"]


def test_the_raw_constraint_teaches_the_labels_too():
    taught = gradients(replace(PLAIN, constraint="raw"), "L_c")
    assert taught["W"] and taught["L_t"] and taught["L_s"]


@pytest.mark.parametrize(("symbol", "label", "encoder"), [("L_g_t", "L_t", "text_encoder.table.weight"),
                                                          ("L_g_s", "L_s", "speech_encoder.linear.weight")])
def test_guidance_teaches_its_encoder_and_its_labels_alone(symbol, label, encoder):
    taught = gradients(PLAIN, symbol)
    assert {n for n, got in taught.items() if got} == {label, encoder} | (
        {"speech_encoder.linear.bias"} if symbol == "L_g_s" else set())


@pytest.mark.parametrize("name", CONFIGS)
def test_every_parameter_has_a_gradient(name):
    """Distributed training waits for each of them, so that C3 must not even have W."""
    lemer = model(CONFIGS[name])
    lemer(batch_of()).loss.backward()
    assert not [n for n, p in lemer.named_parameters() if p.grad is None]
    assert (lemer.W is None) is (name == "C3")


def test_the_constraint_gradients_of_a_model():
    norms = gradients_of_constraint(model()(batch_of()))
    assert norms["guided"]["G"] == 0 < norms["guided"]["A_r"]
    assert norms["raw"]["G"] > norms["raw"]["A_r"] > 0


def size_of_A_l(lemer: LEMER) -> float:
    attention = lemer(batch_of()).attention
    return (attention["label_token"] @ attention["label_frame"].transpose(1, 2)).norm().item()


def test_the_raw_constraint_shrinks_A_l_and_the_guided_one_leaves_it():
    sizes = {}
    for constraint in ("raw", "guided"):
        lemer = model(replace(PLAIN, constraint=constraint, mu=(0.0, 1.0, 0.0, 0.0)))
        optimizer = torch.optim.Adam(lemer.parameters(), lr=0.02)
        before = size_of_A_l(lemer)
        for _ in range(30):
            optimizer.zero_grad()
            lemer(batch_of()).loss.backward()
            optimizer.step()
        sizes[constraint] = size_of_A_l(lemer) / before
    assert sizes["raw"] < 0.5 < sizes["guided"], sizes


@pytest.mark.parametrize("fusion", FUSIONS)
def test_it_learns_three_utterances(fusion):
    lemer = model(replace(PLAIN, fusion=fusion))
    optimizer = torch.optim.Adam(lemer.parameters(), lr=0.05)
    for _ in range(40):
        optimizer.zero_grad()
        lemer(batch_of()).loss.backward()
        optimizer.step()
    assert lemer(batch_of()).logits.argmax(dim=1).tolist() == [2, 0, 3]


def test_an_utterance_without_words_has_a_finite_loss_and_no_text_guidance():
    silent = batch_of()
    silent.current[0] = False
    lemer = model()
    output = lemer(replace(silent))
    output.loss.backward()
    assert all(p.grad.isfinite().all() for p in lemer.parameters())


def test_label_embeddings_start_where_they_are_told_and_belong_to_the_model():
    start = torch.randn(C, D_T)
    lemer = model(label_t=start)
    assert torch.equal(lemer.L_t, start) and lemer.L_t.requires_grad
    with torch.no_grad():
        lemer.L_t += 1
    assert not torch.equal(lemer.L_t, start)


# unimodal models

@pytest.mark.parametrize("modality", ["text", "speech"])
def test_unimodal_models(modality):
    labelled, plain = unimodal(modality), unimodal(modality, labelled=False)
    symbol, name, part = {"text": ("L_g_t", "label_token", "tokens"),
                          "speech": ("L_g_s", "label_frame", "frames")}[modality]
    given, without = labelled(batch_of()), plain(batch_of())
    assert set(given.terms) == {"L_m", symbol} and set(without.terms) == {"L_m"}
    assert given.loss.item() == pytest.approx((given.terms["L_m"] + 0.2 * given.terms[symbol]).item())
    assert without.loss.item() == pytest.approx(without.terms["L_m"].item())
    assert set(given.attention) == {name} and without.attention == {}
    assert set(given.masks) == {part}
    close(given.logits, labelled(batch_of(padding=3)).logits)
    close(given.loss, labelled(batch_of(padding=3)).loss)


def test_unimodal_text_guidance_over_its_own_tokens_or_all():
    own, everything = (unimodal("text", guidance_tokens=t)(batch_of()) for t in ("current", "all"))
    assert abs(own.loss - everything.loss).item() > 1e-4
    close(own.logits, everything.logits)


@pytest.mark.parametrize("modality", ["text", "speech"])
def test_a_unimodal_model_reads_its_modality_alone(modality):
    other = "speech" if modality == "text" else "text"
    assert unimodal(modality)(replace(batch_of(), **{other: None})).loss.isfinite()


# what is refused

@pytest.mark.parametrize("modality", ["text", "speech"])
def test_an_absent_modality_is_named(modality):
    lacking = replace(batch_of(), **{modality: None})
    for built in (model(), unimodal(modality)):
        with pytest.raises(Missing, match=rf"3 utterances, first: u0\) has no {modality}"):
            built(lacking)


def test_current_tokens_must_be_told():
    with pytest.raises(Missing, match="guidance_tokens='all'"):
        model()(replace(batch_of(), current=None))
    assert model(replace(PLAIN, guidance_tokens="all"))(replace(batch_of(), current=None)).loss.isfinite()


@pytest.mark.parametrize(("change", "words"), [
    ({"fusion": "C5"}, "unknown fusion 'C5'; expected one of: C1, C2, C3, C4"),
    ({"constraint": "guide"}, "did you mean 'guided'"),
    ({"guidance_tokens": "every"}, "expected one of: current, all"),
])
def test_wrong_choices_list_the_right_ones(change, words):
    with pytest.raises(BadInput, match=words):
        LEMERConfig(**change)
    if "fusion" not in change and "constraint" not in change:
        with pytest.raises(BadInput, match=words):
            UnimodalConfig("text", **change)


def test_label_embeddings_must_fit():
    with pytest.raises(BadInput, match=rf"shape \(4, 3\); expected \(C, {D_T}\)"):
        model(label_t=torch.randn(C, 3))
    with pytest.raises(BadInput, match="got 4 semantic and 3 tonal"):
        model(label_s=torch.randn(3, D_S))
    with pytest.raises(BadInput, match="unknown modality 'audio'; expected one of: text, speech"):
        UnimodalConfig("audio")
    with pytest.raises(BadInput, match=r"shape \(3, 6\); expected \(4, 6\)"):
        UnimodalModel(Words(), C, UnimodalConfig("text"), torch.randn(3, D_T))
