"""Equations (1)-(7) of JFM + ICL, each against an independent calculation: utterances alone, loops, two processes."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_jfm import D_M, D_T, PLAIN, batch_of, language, livelier, model, vision

from mer_kit.batch import Padded
from mer_kit.models import jfm
from mer_kit.models.jfm import JointFusion, contrastive_loss

TOKENS, PATCHES = (5, 2, 7), (3, 6, 4)


def streams(d_t: int = D_T, d_m: int = D_M) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    random = torch.Generator().manual_seed(0)
    return tuple([torch.randn(n, d, generator=random) for n in lengths] for lengths, d in (
        (TOKENS, d_t), (PATCHES, d_m)))


def fusion(d_m: int = D_M, **changed) -> JointFusion:
    config = replace(PLAIN, **changed)
    torch.manual_seed(1)
    return livelier(JointFusion(language(config.blocks), vision(config.blocks, d_m).layers, config)).eval()


def joint(layer: torch.nn.Module, stream: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The layer of BERT or ViT itself on one utterance without padding, `v` behind it: (the stream, the vectors)."""
    out = layer.layer(torch.cat([stream, v])[None])[0]
    return out[: len(stream)], out[len(stream):]


def test_1_to_4_block_by_block_on_each_utterance_alone():
    fuse, (texts, mels) = fusion(), streams()
    text, mel, _ = fuse(Padded.of(texts), Padded.of(mels))
    for i, (t, m) in enumerate(zip(texts, mels, strict=True)):
        for block in range(2):
            LTrans, VTrans = fuse.language[block], fuse.vision[block]
            _, v_hat = joint(VTrans, m, fuse.v["text"][block])  # (1)
            t_next, _ = joint(LTrans, t, fuse.mlp["text"][block](v_hat))  # (2)
            _, v_hat = joint(LTrans, t, fuse.v["mel"][block])  # (3)
            m_next, _ = joint(VTrans, m, fuse.mlp["mel"][block](v_hat))  # (4)
            t, m = t_next, m_next
        torch.testing.assert_close(text.values[i, : len(t)], t, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(mel.values[i, : len(m)], m, atol=1e-5, rtol=1e-4)


def test_1_to_4_as_printed_swap_the_streams():
    """The paper's letters: F_mt starts as mel and becomes what LTrans gives, F_tm the other way round."""
    fuse, (texts, mels) = fusion(D_T, streams="swapped", blocks=3), streams(d_m=D_T)
    text, mel, attention = fuse(Padded.of(texts), Padded.of(mels))
    for i, (F_tm, F_mt) in enumerate(zip(texts, mels, strict=True)):
        for block in range(3):
            LTrans, VTrans = fuse.language[block], fuse.vision[block]
            _, v_hat = joint(VTrans, F_mt, fuse.v["text"][block])  # (1)
            F_mt_next, _ = joint(LTrans, F_tm, fuse.mlp["text"][block](v_hat))  # (2)
            _, v_hat = joint(LTrans, F_tm, fuse.v["mel"][block])  # (3)
            F_tm_next, _ = joint(VTrans, F_mt, fuse.mlp["mel"][block](v_hat))  # (4)
            F_mt, F_tm = F_mt_next, F_tm_next
        torch.testing.assert_close(mel.values[i, : len(F_mt)], F_mt, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(text.values[i, : len(F_tm)], F_tm, atol=1e-5, rtol=1e-4)
    assert {n: tuple(a.shape) for n, a in attention.items()} == {
        "token_joint": (3, 7, 3, 4), "joint_token": (3, 7, 3, 4), "patch_joint": (3, 6, 3, 4),
        "joint_patch": (3, 6, 3, 4)}


def test_attention_to_and_of_the_vectors_is_that_of_the_layers():
    fuse, (texts, mels) = fusion(blocks=1), streams()
    _, _, attention = fuse(Padded.of(texts), Padded.of(mels))
    for i, (t, m) in enumerate(zip(texts, mels, strict=True)):
        for stream, other, side, layer, back in ((t, m, "text", fuse.language[0], fuse.vision[0]),
                                                 (m, t, "mel", fuse.vision[0], fuse.language[0])):
            own, others = ("token", "patch") if side == "text" else ("patch", "token")
            _, whole = back(Padded.of([torch.cat([other, fuse.v[side][0]])]))
            read = attention[f"joint_{others}"][i, : len(other), 0]
            torch.testing.assert_close(read, whole[0, len(other):, : len(other)].T, atol=1e-5, rtol=1e-4)
            _, v_hat = joint(back, other, fuse.v[side][0])
            _, whole = layer(Padded.of([torch.cat([stream, fuse.mlp[side][0](v_hat)])]))
            taken = attention[f"{own}_joint"][i, : len(stream), 0]
            torch.testing.assert_close(taken, whole[0, : len(stream), len(stream):], atol=1e-5, rtol=1e-4)
            assert not attention[f"{own}_joint"][i, len(stream):].any()


def test_layers_are_shared_by_both_directions_or_only_start_the_same():
    tied, loose = fusion(blocks=1), fusion(blocks=1, tied=False)
    same = {f"{n.split('.')[0]}_2.{n.split('.', 1)[1]}": w for n, w in tied.state_dict().items()
            if n.startswith(("language", "vision"))}
    loose.load_state_dict(tied.state_dict() | same)
    given = [Padded.of(s) for s in streams()]
    text, mel, _ = tied(*given)
    for a, b in zip((text, mel), loose(*given)[:2], strict=True):
        torch.testing.assert_close(a.values, b.values)
    with torch.no_grad():
        loose.vision_2[0].layer.attention.o_proj.weight.add_(1.0)
    after = loose(*given)
    torch.testing.assert_close(after[0].values, text.values)
    assert not torch.allclose(after[1].values, mel.values, atol=1e-3)
    copies = sum(p.numel() for p in loose.language.parameters()) + sum(p.numel() for p in loose.vision.parameters())
    assert sum(p.numel() for p in loose.parameters()) - sum(p.numel() for p in tied.parameters()) == copies


def test_5_and_6_heads_averaged_and_cls_joined():
    net = model().eval()
    output = net(batch_of())
    cls_t, cls_m = output.features.split([D_T, D_M], dim=1)
    logits = [h(c).detach().numpy() for h, c in ((net.classify["text"], cls_t), (net.classify["mel"], cls_m))]
    np.testing.assert_allclose(output.logits.detach(), np.mean(logits, axis=0), atol=1e-6)
    log_p = np.log(np.exp(output.logits.detach().numpy()) / np.exp(output.logits.detach().numpy()).sum(1)[:, None])
    assert output.terms["L_ERC"].item() == pytest.approx(-np.mean([log_p[i, c] for i, c in enumerate((2, 2, 3))]))
    assert output.loss.item() == pytest.approx(output.terms["L_ERC"].item() + 0.1 * output.terms["L_ICL"].item())


def loop(F: np.ndarray, y: list[int], tau: float, normalise: bool = True) -> float:
    """(7) as its definition reads, K utterances averaged."""
    if normalise:
        F = F / np.linalg.norm(F, axis=1, keepdims=True)
    total, K = 0.0, len(y)
    for i in range(K):
        positive = [p for p in range(K) if y[p] == y[i] and p != i]
        for p in positive:
            below = sum(np.exp(F[i] @ F[j] / tau) for j in range(K) if j != i)
            total -= np.log(np.exp(F[i] @ F[p] / tau) / below) / len(positive)
    return total / K


@pytest.mark.parametrize("y", [[0, 0, 1, 1, 2, 0], [0, 1, 2, 3, 4, 0], [1] * 6, [0, 1, 2, 3, 4, 5], [3]],
                         ids=["usual", "seen once", "one class", "no positives", "one utterance"])
@pytest.mark.parametrize("normalise", [True, False])
def test_7_against_its_definition(y, normalise):
    F = torch.tensor(np.random.default_rng(0).normal(size=(len(y), 8)), dtype=torch.float32, requires_grad=True)
    loss = contrastive_loss(F, torch.tensor(y), 0.5, normalise)
    assert loss.item() == pytest.approx(loop(F.detach().double().numpy(), y, 0.5, normalise), abs=1e-5)
    loss.backward()
    assert F.grad.isfinite().all()


def test_7_by_hand():
    """Two pairs, each of one direction, at right angles: log(1 + 2 / e^(1/τ)) for everyone."""
    F = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 3.0], [0.0, 1.0]])
    loss = contrastive_loss(F, torch.tensor([0, 0, 1, 1]), 1.0)
    assert loss.item() == pytest.approx(np.log(1 + 2 / np.e))
    assert contrastive_loss(F, torch.tensor([0, 1, 0, 1]), 1.0).item() > loss.item()


def test_7_is_finite_where_features_are_long_and_alike():
    F = (1000 * torch.ones(4, 3)).requires_grad_()
    for normalise in (True, False):
        loss = contrastive_loss(F, torch.tensor([0, 0, 1, 1]), 0.1, normalise)
        assert loss.item() == pytest.approx(np.log(3), abs=1e-4)


TWO = """
import torch, sys
from accelerate import PartialState
from mer_kit.models.jfm import contrastive_loss
here, part = PartialState(cpu=True), {0: slice(0, 5), 1: slice(5, 8)}
random = torch.Generator().manual_seed(0)
F, y = torch.randn(8, 4, generator=random, requires_grad=True), torch.tensor([0, 1, 0, 2, 1, 0, 2, 3])
own = part[here.process_index]
loss = contrastive_loss(F[own], y[own], 0.5, gather=True)
(loss * len(y[own])).backward()
torch.distributed.all_reduce(F.grad)
torch.save((loss.item() * len(y[own]), F.grad), f"{sys.argv[1]}/{here.process_index}.pt")
here.destroy_process_group()
"""


@pytest.mark.slow
def test_7_in_two_processes_is_that_of_one(tmp_path):
    """Five utterances here and three there: the sum of losses and the gradients are those of all eight together."""
    (tmp_path / "two.py").write_text(TWO)
    paths = os.pathsep.join([str(tmp_path), str(Path(__file__).parent), *sys.path])
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "two", str(tmp_path)]
    done = subprocess.run(launch, capture_output=True, text=True, timeout=120,
                          env=os.environ | {"ACCELERATE_USE_CPU": "true", "PYTHONPATH": paths})
    assert done.returncode == 0, done.stderr
    F = torch.randn(8, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    alone = 8 * contrastive_loss(F, torch.tensor([0, 1, 0, 2, 1, 0, 2, 3]), 0.5)
    alone.backward()
    parts = [torch.load(tmp_path / f"{i}.pt") for i in range(2)]
    assert sum(loss for loss, _ in parts) == pytest.approx(alone.item(), abs=1e-5)
    for _, gradient in parts:
        torch.testing.assert_close(gradient, F.grad, atol=1e-6, rtol=1e-4)


def test_7_gathers_nothing_where_there_is_one_process():
    F, y = torch.randn(4, 3), torch.tensor([0, 0, 1, 1])
    assert jfm.contrastive_loss(F, y, gather=True).item() == jfm.contrastive_loss(F, y).item()
