"""Every equation of LE-MER against plain loops over single utterances, which never see padding."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mer_kit.batch import ModelOutput, Padded
from mer_kit.models import lemer
from mer_kit.models.attention import masked_softmax

TOKENS, FRAMES, C, D_T, D_S = (4, 1, 6), (7, 3, 1), 4, 5, 3
Y = np.array([2, 0, 3])


def states(lengths, dim, seed):
    random = np.random.default_rng(seed)
    return [random.normal(size=(n, dim)) for n in lengths]


def padded(arrays) -> Padded:
    return Padded.of([torch.from_numpy(a) for a in arrays])


TEXT, SPEECH = states(TOKENS, D_T, 0), states(FRAMES, D_S, 1)
L_T, L_S = states([C], D_T, 2)[0], states([C], D_S, 3)[0]
W = states([D_T], D_S, 4)[0]
H_T, H_S = padded(TEXT), padded(SPEECH)
PAIRS = H_T.mask[:, :, None] & H_S.mask[:, None, :]


def cosine(h, labels):
    """One utterance's G, entry by entry."""
    def length(x):
        return sum(a * a for a in x) ** 0.5

    return np.array([[sum(a * b for a, b in zip(x, e, strict=True)) / (length(x) * length(e)) for e in labels]
                     for x in h])


def softmax(row):
    e = np.exp(row - row.max())
    return e / e.sum()


def cross_entropy(logits, y):
    return -np.log(softmax(logits)[y])


G_T, G_S = [cosine(h, L_T) for h in TEXT], [cosine(h, L_S) for h in SPEECH]
A_R = [np.array([softmax(np.array([x @ W @ f for f in s])) for x in t]) for t, s in zip(TEXT, SPEECH, strict=True)]
A_L = [np.array([[sum(a[c] * b[c] for c in range(C)) for b in s] for a in t]) for t, s in zip(G_T, G_S, strict=True)]


def as_padded(matrices) -> torch.Tensor:
    """Each utterance's (tokens, frames) in a corner of (batch, longest, longest), zeros elsewhere."""
    out = torch.zeros(len(matrices), max(TOKENS), max(FRAMES), dtype=torch.float64)
    for i, m in enumerate(matrices):
        out[i, : m.shape[0], : m.shape[1]] = torch.from_numpy(m)
    return out


def same(got: torch.Tensor, expected) -> None:
    assert got.numpy() == pytest.approx(np.asarray(expected), abs=1e-12)


@pytest.mark.parametrize(("H", "L", "expected"), [(H_T, L_T, G_T), (H_S, L_S, G_S)], ids=["1", "4"])
def test_eq_1_and_4_cosine(H, L, expected):
    same(lemer.label_attention(H.values, torch.from_numpy(L)), padded(expected).values)


def test_eq_1_by_hand():
    H, L = torch.tensor([[[3.0, 4.0], [0.0, 2.0], [0.0, 0.0]]]), torch.tensor([[1.0, 0.0], [0.0, 5.0]])
    assert lemer.label_attention(H, L)[0].numpy() == pytest.approx(np.array([[0.6, 0.8], [0, 1], [0, 0]]))


@pytest.mark.parametrize(("H", "G"), [(H_T, G_T), (H_S, G_S)], ids=["2, 3", "5, 6"])
def test_eq_2_3_5_6_mean_and_cross_entropy(H, G):
    means = [sum(g) / len(g) for g in G]
    same(lemer.guidance_logits(padded(G).values, H.mask), means)
    expected = np.mean([cross_entropy(m, y) for m, y in zip(means, Y, strict=True)])
    same(lemer.guidance_loss(padded(G).values, H.mask, torch.from_numpy(Y)), expected)


def test_eq_2_over_the_utterances_own_tokens():
    own = torch.zeros_like(H_T.mask)
    own[0, 1:3], own[1, 0] = True, True  # the third has no word of its own
    same(lemer.guidance_logits(padded(G_T).values, own), [(G_T[0][1] + G_T[0][2]) / 2, G_T[1][0], np.zeros(C)])


def test_eq_7_softmax_over_real_frames():
    A_r = lemer.token_frame_attention(H_T.values, torch.from_numpy(W), H_S.values, PAIRS)
    same(A_r, as_padded(A_R))
    same(A_r.sum(dim=2), H_T.mask.double())  # rows of real tokens sum to 1, those of padding to 0


def test_eq_8_aligned_and_joined():
    H_m = lemer.align(H_T.values, as_padded(A_R), H_S.values)
    expected = [[[*t[i], *sum(a[i, j] * s[j] for j in range(len(s)))] for i in range(len(t))]
                for t, s, a in zip(TEXT, SPEECH, A_R, strict=True)]
    same(H_m, padded([np.array(e) for e in expected]).values)


def test_eq_9_guided():
    same(lemer.guided_attention(padded(G_T).values, padded(G_S).values), as_padded(A_L))


def test_eq_10_raw_is_the_mean_squared_error_of_an_utterances_pairs():
    expected = np.mean([np.mean([(a - r) ** 2 for a, r in zip(a_l.ravel(), a_r.ravel(), strict=True)])
                        for a_l, a_r in zip(A_L, A_R, strict=True)])
    same(lemer.constraint_loss(as_padded(A_L), as_padded(A_R), PAIRS, "raw"), expected)


def test_eq_10_guided_sums_over_frames_and_averages_over_tokens():
    expected = np.mean([np.mean([sum((softmax(a) - r) ** 2) for a, r in zip(a_l, a_r, strict=True)])
                        for a_l, a_r in zip(A_L, A_R, strict=True)])
    same(lemer.constraint_loss(as_padded(A_L), as_padded(A_R), PAIRS, "guided"), expected)
    rows = masked_softmax(as_padded(A_L), PAIRS)
    same(lemer.constraint_loss(as_padded(A_L), rows, PAIRS, "guided"), 0.0)


@pytest.mark.parametrize("constraint", lemer.CONSTRAINTS)
def test_eq_10_ignores_what_stands_in_the_padding(constraint):
    dirty_l, dirty_r = as_padded(A_L) + 9.0 * ~PAIRS, as_padded(A_R) - 4.0 * ~PAIRS
    same(lemer.constraint_loss(dirty_l, dirty_r, PAIRS, constraint),
         lemer.constraint_loss(as_padded(A_L), as_padded(A_R), PAIRS, constraint))


@pytest.mark.parametrize(("fusion", "by_hand"), [("C1", A_R), ("C4", A_R), ("C3", A_L),
                                                 ("C2", [a + r for a, r in zip(A_L, A_R, strict=True)])])
def test_table_3(fusion, by_hand):
    same(lemer.fuse(as_padded(A_R), as_padded(A_L), fusion), as_padded(by_hand))


def test_eq_11_maximum_over_real_tokens():
    negative = [-abs(t) for t in TEXT]  # padding's zeros would be the largest
    same(lemer.pool(padded(negative).values, H_T.mask), [[max(t[:, j]) for j in range(D_T)] for t in negative])


def test_eq_12_weighs_each_term_by_its_symbol():
    terms = {s: torch.tensor(v) for s, v in (("L_g_s", 1000.0), ("L_m", 1.0), ("L_c", 10.0), ("L_g_t", 100.0))}
    assert lemer.total_loss(terms, (1.0, 0.5, 0.2, 0.3)).item() == pytest.approx(1 + 5 + 20 + 300)
    del terms["L_c"]  # C2 to C4
    assert lemer.total_loss(terms, (1.0, 0.5, 0.2, 0.3)).item() == pytest.approx(1 + 20 + 300)


def test_the_papers_weights():
    assert lemer.PRESETS["paper"].mu == (1.0, 0.5, 0.2, 0.2)
    assert lemer.PRESETS["paper"].constraint == "raw"


def test_score_fusion_adds_logits():
    same(lemer.score_fusion(torch.tensor([[1.0, 2.0]]), torch.tensor([[0.5, -2.0]])), [[1.5, 0.0]])


def test_masked_softmax_of_nothing_is_zero_and_has_a_gradient():
    scores = torch.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    weights = masked_softmax(scores, torch.tensor([[True, False], [False, False]]))
    assert weights.tolist() == [[1, 0], [0, 0]]
    (weights**2).sum().backward()
    assert scores.grad.isfinite().all()


def output_of_the_example() -> ModelOutput:
    return ModelOutput(torch.zeros(3, C), masks={"tokens": H_T.mask, "frames": H_S.mask},
                       attention={"label_token": padded(G_T).values, "label_frame": padded(G_S).values,
                                  "token_frame": as_padded(A_R)})


def test_the_raw_constraint_pulls_at_G_and_the_guided_one_does_not():
    norms = lemer.gradients_of_constraint(output_of_the_example())
    assert norms["guided"]["G"] == 0 and norms["guided"]["A_r"] > 0
    assert norms["raw"]["G"] > 0 and norms["raw"]["A_r"] > 0


def test_gradients_of_the_constraint_by_finite_differences():
    norms, step = lemer.gradients_of_constraint(output_of_the_example()), 1e-6

    def raw(G_t):
        return lemer.constraint_loss(lemer.guided_attention(G_t, G_s), as_padded(A_R), PAIRS, "raw").item()

    G_t, G_s, squares = padded(G_T).values, padded(G_S).values, 0.0
    for index in np.ndindex(*G_t.shape):
        up, down = G_t.clone(), G_t.clone()
        up[index] += step
        down[index] -= step
        squares += ((raw(up) - raw(down)) / (2 * step)) ** 2
    for index in np.ndindex(*G_s.shape):
        kept = G_s[index].item()
        values = []
        for change in (step, -step):
            G_s[index] = kept + change
            values.append(raw(G_t))
        G_s[index] = kept
        squares += ((values[0] - values[1]) / (2 * step)) ** 2
    assert norms["raw"]["G"] == pytest.approx(squares**0.5, rel=1e-4)
