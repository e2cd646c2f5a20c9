"""JFM + ICL whole: padding, neighbours, every ablation and reading, what the vectors carry, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from small_jfm import D_M, D_T, PLAIN, batch_of, language, model, unimodal, vision
from small_lemer import TOKENS, C, Words, close

from mer_kit.batch import Padded
from mer_kit.errors import BadInput, Missing
from mer_kit.models.jfm import JFM, PRESETS, JFMConfig
from mer_kit.models.jfm_streams import take
from mer_kit.training.runs import config_hash

VARIANTS = {"w/o JFM": {"fusion": "late"}, "w/o v_j": {"joint": 0}, "w/o ICL": {"icl": 0.0},
            "CFA": {"fusion": "cross attention"}, "concatenation": {"fusion": "concatenation"}, "|v| = 1": {"joint": 1},
            "N = 1": {"blocks": 1}, "not tied": {"tied": False}, "own tokens": {"tokens": "current"},
            "raw (7)": {"normalise": False}, "temperature": {"temperature": 1.0}}
every_variant = pytest.mark.parametrize("changed", [{}, *VARIANTS.values()], ids=["as it is", *VARIANTS])


@every_variant
def test_padding_and_neighbours_change_nothing(changed):
    jfm = model(replace(PLAIN, **changed)).eval()
    together, padded = jfm(batch_of()), jfm(batch_of(padding=4))
    alone = [jfm(batch_of([i])) for i in range(3)]
    close(together.logits, padded.logits)
    close(together.loss, padded.loss)
    close(together.logits, torch.cat([o.logits for o in alone]))
    close(together.features, torch.cat([o.features for o in alone]))
    for name, whole in together.attention.items():
        for i, one in enumerate(alone):
            part = whole[i][tuple(slice(n) for n in one.attention[name].shape[1:])]
            close(part, one.attention[name][0])


def test_swapped_streams_too():
    jfm = model(replace(PLAIN, streams="swapped"), d_m=D_T).eval()
    assert not torch.allclose(jfm(batch_of()).logits, model(PLAIN, d_m=D_T).eval()(batch_of()).logits, atol=1e-4)
    close(jfm(batch_of()).logits, torch.cat([jfm(batch_of([i], padding=3)).logits for i in range(3)]))


def test_shapes_and_names():
    output, tokens, patches = model()(batch_of()), max(TOKENS), 1 + 5
    assert {n: tuple(a.shape) for n, a in output.attention.items()} == {
        "token_joint": (3, tokens, 2, 4), "joint_token": (3, tokens, 2, 4), "patch_joint": (3, patches, 2, 4),
        "joint_patch": (3, patches, 2, 4)}
    assert output.masks["tokens"].sum(dim=1).tolist() == list(TOKENS)
    assert output.masks["patches"].sum(dim=1).tolist() == [3, 6, 4]  # of 4, 9 and 6 frames, a CLS before
    assert output.logits.shape == (3, C) and output.features.shape == (3, D_T + D_M)
    assert set(output.terms) == {"L_ERC", "L_ICL"}
    asked = model(replace(PLAIN, fusion="cross attention"))(batch_of()).attention
    assert {n: tuple(a.shape) for n, a in asked.items()} == {"token_patch": (3, tokens, patches),
                                                             "patch_token": (3, patches, tokens)}
    assert model()(replace(batch_of(), labels=None)).loss is None


@every_variant
def test_attention_is_0_for_what_is_not_there_and_a_share_of_1(changed):
    output = model(replace(PLAIN, **changed)).eval()(batch_of())
    axes = {"token": output.masks["tokens"], "patch": output.masks["patches"]}
    for name, seen in output.attention.items():
        asks, asked = name.split("_")
        assert not seen[~axes[asked if asks == "joint" else asks]].any() and (seen >= 0).all()
        assert (seen.sum(dim=1 if asks == "joint" else -1) <= 1 + 1e-5).all()


def test_the_stream_of_own_tokens_leaves_history_to_the_encoder():
    """The encoder here has no context, so other words in the history change nothing, and attention to them is 0."""
    jfm = model(replace(PLAIN, tokens="current")).eval()
    batch = batch_of()
    past = batch.text.mask & ~batch.current
    past[:, 0] = False
    assert past.any()
    other = replace(batch, text=Padded(torch.where(past, 19 - batch.text.values, batch.text.values), batch.text.mask))
    output = jfm(batch)
    close(output.logits, jfm(other).logits)
    assert not output.attention["token_joint"][past].any() and not output.attention["joint_token"][past].any()
    assert output.attention["token_joint"][batch.current].any(dim=-1).all()
    first = torch.arange(batch.text.mask.shape[1]) == 0
    other_cls = replace(batch, text=Padded(torch.where(first, 0, batch.text.values), batch.text.mask))
    assert not torch.allclose(output.logits, jfm(other_cls).logits, atol=1e-4)
    everything = model().eval()
    assert not torch.allclose(everything(batch).logits, everything(other).logits, atol=1e-4)


def test_taking_tokens_keeps_their_order():
    H = Padded.of([torch.arange(8.0).view(4, 2), torch.arange(4.0).view(2, 2)])
    kept = torch.tensor([[True, False, True, True], [True, False, False, False]])
    taken = take(H, kept)
    assert taken.values.tolist() == [[[0, 1], [4, 5], [6, 7]], [[0, 1], [0, 0], [0, 0]]]
    assert taken.lengths.tolist() == [3, 1]


@pytest.mark.parametrize("name", VARIANTS)
def test_every_ablation_and_reading_changes_what_is_computed_and_the_hash(name):
    usual, other = model(), model(replace(PLAIN, **VARIANTS[name]))
    shared = {n: w for n, w in usual.state_dict().items() if n in other.state_dict()
              and other.state_dict()[n].shape == w.shape}
    other.load_state_dict(shared, strict=False)
    if name == "not tied":
        with torch.no_grad():
            other.fusion.vision_2[0].layer.mlp.fc2.bias.add_(torch.arange(D_M))  # as they start, they are the same
    a, b = usual.eval()(batch_of()), other.eval()(batch_of())
    assert not torch.allclose(a.loss, b.loss, atol=1e-6)
    assert config_hash({"c": usual.config}) != config_hash({"c": other.config})


@pytest.mark.parametrize(("changed", "carried"), [
    ({}, True), ({"fusion": "cross attention"}, True), ({"joint": 0}, False), ({"fusion": "late"}, False),
    ({"fusion": "concatenation"}, False)])
def test_only_vectors_and_cross_attention_carry_between_the_streams(changed, carried):
    """Other sounds, other words: does the CLS of the other stream notice?"""
    jfm, batch = model(replace(PLAIN, **changed)).eval(), batch_of()
    before = jfm(batch).features
    other_sound = replace(batch, speech=Padded(batch.speech.values.flip(0, 2) + 1, batch.speech.mask))
    other_words = replace(batch, text=Padded((batch.text.values + 3) % 20, batch.text.mask))
    text_moved = (jfm(other_sound).features - before)[:, :-D_M].abs().amax(dim=1)
    mel_moved = (jfm(other_words).features - before)[:, -D_M:].abs().amax(dim=1)
    assert ((text_moved > 1e-4) == carried).all() and ((mel_moved > 1e-4) == carried).all()


@every_variant
def test_everything_learns(changed):
    jfm = model(replace(PLAIN, **changed)).train()
    jfm(batch_of()).loss.backward()
    assert not [n for n, p in jfm.named_parameters() if p.grad is None]


@pytest.mark.parametrize("modality", ["text", "speech"])
def test_one_modality(modality):
    net, missing = unimodal(modality).eval(), {"text": "speech", "speech": "text"}[modality]
    output = net(replace(batch_of(), **{missing: None}))
    close(output.logits, torch.cat([net(batch_of([i], padding=2)).logits for i in range(3)]))
    assert output.logits.shape == (3, C) and set(output.terms) == {"L_ERC"} and output.loss == output.terms["L_ERC"]
    output.loss.backward()
    assert not [n for n, p in net.named_parameters() if p.grad is None]
    with pytest.raises(Missing, match=f"has no {modality}"):
        net(replace(batch_of(), **{modality: None}))


def test_a_wider_text_encoder_is_mapped_to_the_language_layers():
    assert isinstance(model().extract.project, torch.nn.Linear)  # 6 -> 8
    assert isinstance(unimodal("text").extract.project, torch.nn.Identity)


def test_bf16_keeps_the_contrast_exact():
    jfm = model().eval()
    with torch.autocast("cpu", torch.bfloat16):
        output = jfm(batch_of())
    assert output.loss.isfinite() and output.terms["L_ICL"].dtype == torch.float32
    assert (output.logits.float() - jfm(batch_of()).logits).abs().max() < 0.1


def test_what_is_refused():
    eyes = vision()
    with pytest.raises(BadInput, match="got 1 layers of LTrans and 2 of VTrans; expected one of each in each of 2"):
        JFM(Words(), eyes.patches, language(1), eyes.layers, C, PLAIN)
    with pytest.raises(BadInput, match=r"8 \(text\) and 12 \(mel\) dimensions; streams='swapped'"):
        model(replace(PLAIN, streams="swapped"))
    with pytest.raises(Missing, match="has no speech"):
        model()(replace(batch_of(), speech=None))
    with pytest.raises(Missing, match="tokens='all'"):
        model(replace(PLAIN, tokens="current"))(replace(batch_of(), current=None))
    for wrong, words in (({"fusion": "jont"}, "did you mean 'joint'"), ({"blocks": 0}, "expected a block or more"),
                         ({"temperature": 0.0}, "temperature above 0"), ({"streams": "swap"}, "did you mean 'swapped'"),
                         ({"tokens": "al"}, "did you mean 'all'")):
        with pytest.raises(BadInput, match=words):
            JFMConfig(**wrong)


def test_the_paper_preset_is_the_papers():
    paper = PRESETS["paper"]
    assert (paper.blocks, paper.joint, paper.extractor, paper.heads, paper.feed_forward) == (2, 4, 2, 8, 1024)
    assert (paper.icl, paper.temperature, paper.streams) == (0.1, 0.1, "parallel") and paper.normalise and paper.tied
