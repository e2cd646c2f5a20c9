"""Each equation of LSGMER against an independent calculation: numpy, scipy, torch's own attention, hand sequences."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist, jensenshannon
from scipy.special import softmax
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from mer_kit.batch import Padded
from mer_kit.models import lsgmer

random = np.random.default_rng(0)


def tensor(*shape: int) -> torch.Tensor:
    return torch.tensor(random.normal(size=shape), dtype=torch.float32)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def lstm(x: np.ndarray, module: nn.LSTM, direction: str) -> np.ndarray:
    """The textbook recurrence, gate by gate, over (length, d)."""
    w_x, w_h, b_x, b_h = (getattr(module, f"{n}_l0{direction}").detach().numpy()
                          for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    h = c = np.zeros(w_h.shape[1])
    out = []
    for row in x if not direction else x[::-1]:
        i, f, g, o = np.split(w_x @ row + w_h @ h + b_x + b_h, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        out.append(h)
    return np.stack(out if not direction else out[::-1])


def test_1_bilstm_against_the_recurrence_on_ragged_lengths():
    text, states = lsgmer.Text(6, 8), [tensor(n, 6) for n in (4, 1, 7)]
    H_t0 = text(Padded.of(states))
    for i, x in enumerate(states):
        expected = np.concatenate([lstm(x.numpy(), text.lstm, d) for d in ("", "_reverse")], axis=1)
        np.testing.assert_allclose(H_t0.values[i, : len(x)].detach(), expected, atol=1e-5)
        assert not H_t0.values[i, len(x):].any()


def test_2_sums_speech_and_resampled_spectrogram():
    audio = lsgmer.Audio(5, 3, 4)
    speech, picture = [tensor(n, 5) for n in (6, 3)], [tensor(n, 3) for n in (2, 5)]
    H_a0 = audio(Padded.of(speech), Padded.of(picture))
    for i, (s, m) in enumerate(zip(speech, picture, strict=True)):
        to_d = (m @ audio.spectrogram.weight.T + audio.spectrogram.bias).detach().numpy()
        place = (np.arange(len(s)) + 0.5) * len(m) / len(s) - 0.5
        resampled = np.stack([np.interp(place, np.arange(len(m)), to_d[:, j]) for j in range(4)], axis=1)
        expected = (s @ audio.speech.weight.T + audio.speech.bias).detach().numpy() + resampled
        np.testing.assert_allclose(H_a0.values[i, : len(s)].detach(), expected, atol=1e-5)
        assert not H_a0.values[i, len(s):].any()


@pytest.mark.parametrize("heads", [1, 2])
def test_3_to_6_attention_sees_real_places_alone(heads):
    """Against torch's scaled dot product, head by head, on keys without any padding."""
    attend, keys = lsgmer.CrossAttention(8, heads, 0.0), [tensor(n, 8) for n in (5, 2)]
    query = tensor(2, 3, 8)
    drawn, weights = attend(query, Padded.of(keys))
    inner = attend.heads
    w_q, w_k, w_v = inner.in_proj_weight.chunk(3)
    b_q, b_k, b_v = inner.in_proj_bias.chunk(3)
    for i, key in enumerate(keys):
        q, k, v = (x.view(len(x), heads, -1).transpose(0, 1) for x in (
            query[i] @ w_q.T + b_q, key @ w_k.T + b_k, key @ w_v.T + b_v))
        out = scaled_dot_product_attention(q, k, v).transpose(0, 1).reshape(3, 8)
        torch.testing.assert_close(drawn[i], inner.out_proj(out), atol=1e-5, rtol=1e-4)
        mean = (q @ k.transpose(1, 2) / (8 / heads) ** 0.5).softmax(dim=-1).mean(dim=0)
        torch.testing.assert_close(weights[i, :, : len(key)], mean, atol=1e-5, rtol=1e-4)
        assert not weights[i, :, len(key):].any()


def test_7_and_8_by_hand():
    H = lsgmer.enhance(torch.tensor([[[0.0, 2.0]]]), torch.tensor([[[4.0, -1.0]]]))
    torch.testing.assert_close(H, torch.tensor([[[2.0, 2.0 - 1 / (1 + np.exp(-2.0))]]], dtype=torch.float32))


def test_9_a_hand_sequence_over_three_epochs():
    """Rate 0.9: labels at 0 are learnt to 10, then by +10 an epoch: 1, then 2, then 3 stay."""
    L, seen = torch.zeros(1, 1), []
    for _ in range(3):
        L = lsgmer.moving_average(L, L + 10, 0.9)
        seen.append(round(L.item(), 6))
    assert seen == [1.0, 2.0, 3.0]
    assert lsgmer.moving_average(torch.ones(2, 2), torch.zeros(2, 2), 0.0).eq(0).all()  # without MA: as learnt


def test_10_and_11_two_weights_that_sum_to_one():
    gate, H_a, H_t = lsgmer.Gate(4), tensor(5, 4), tensor(5, 4)
    g, fused = gate(H_a, H_t)
    weight, bias = (p.detach().numpy() for p in gate.weigh.parameters())
    expected = softmax(np.concatenate([H_a, H_t], axis=1) @ weight.T + bias, axis=1)
    np.testing.assert_allclose(g.detach(), expected, atol=1e-6)
    np.testing.assert_allclose(g.sum(dim=1).detach(), 1, atol=1e-6)
    np.testing.assert_allclose(fused.detach(), expected[:, :1] * H_a.numpy() + expected[:, 1:] * H_t.numpy(), atol=1e-6)


def test_14_and_15_cosines_softmaxed():
    H, L = tensor(3, 6), tensor(4, 6)
    cosine = 1 - cdist(H.numpy(), L.numpy(), "cosine")
    np.testing.assert_allclose(lsgmer.similarity(H, L).exp(), softmax(cosine, axis=1), atol=1e-6)


def test_16_and_17_against_scipys_distance_squared():
    p, q = random.dirichlet(np.ones(5), size=6), random.dirichlet(np.ones(5), size=6)
    expected = [jensenshannon(a, b) ** 2 for a, b in zip(q, p, strict=True)]
    log_q, log_p = torch.tensor(q).log(), torch.tensor(p).log()
    np.testing.assert_allclose(lsgmer.js_divergence(log_q, log_p), expected, rtol=1e-6)
    assert lsgmer.apc_loss(log_q, log_p).item() == pytest.approx(np.mean(expected))
    assert lsgmer.apc_loss(log_q, log_p, "literal").item() == pytest.approx(np.mean(expected) / 5)
    assert lsgmer.apc_loss(log_p, log_p).item() == pytest.approx(0, abs=1e-12)


def test_17_is_finite_where_a_model_is_sure():
    """Logits 200 apart leave probabilities of 0; the divergence stays log 2 at most, and its gradient finite."""
    logits = torch.tensor([[200.0, 0.0], [0.0, 200.0]], requires_grad=True)
    divergence = lsgmer.js_divergence(torch.tensor([[0.0, 200.0], [0.0, 200.0]]).log_softmax(1), logits.log_softmax(1))
    np.testing.assert_allclose(divergence.detach(), [np.log(2), 0], atol=1e-5)
    divergence.sum().backward()
    assert logits.grad.isfinite().all()


def test_19_weighs_both_losses():
    terms = {"L_ce": torch.tensor(2.0), "L_apc": torch.tensor(0.5)}
    assert lsgmer.total_loss(terms, 1.0, 0.1).item() == pytest.approx(2.05)
    assert lsgmer.total_loss({"L_ce": torch.tensor(2.0)}, 0.5, 0.1).item() == 1.0
