"""LE-MER: Leveraging Label Information for Multimodal Emotion Recognition (Wang et al., Interspeech 2023).

arXiv 2309.02106. Symbols: H_t (batch, tokens, d_t), H_s (batch, frames, d_s) states of text and speech; L_t (C, d_t),
L_s (C, d_s) label embeddings; G_t (batch, tokens, C), G_s (batch, frames, C) how near each is to each label; A_r, A_l
(batch, tokens, frames) what tokens take from frames, by content and by emotion. Losses are means over the batch.

    equation     function                  what it gives
    (1) (4)      label_attention           G_t, G_s
    (2) (5)      guidance_logits           the logits of p_g, before the softmax that is part of the cross-entropy
    (3) (6)      guidance_loss             L_g^t, L_g^s
    (7)          token_frame_attention     A_r
    (8)          align                     H_m = [H_t ; A H_s]
    (9)          guided_attention          A_l
    Table 3      fuse                      A of (8): C1 and C4 A_r, C2 A_r + A_l, C3 A_l
    (10)         constraint_loss           L_c
    (11)         pool, then `LEMER.classify` and cross-entropy: v, logits, L_m
    (12)         total_loss                L
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mer_kit.batch import Batch, ModelOutput, Padded, masked_mean
from mer_kit.errors import BadInput, Missing, unknown
from mer_kit.models import encode
from mer_kit.models.attention import masked_softmax

FUSIONS = MappingProxyType({  # Table 3
    "C1": "A_r, constrained by A_l",
    "C2": "A_r + A_l",
    "C3": "only A_l",
    "C4": "only A_r",
})
CONSTRAINTS = ("guided", "raw")
GUIDANCE_TOKENS = ("current", "all")
PARTS = MappingProxyType({"text": ("L_g_t", "label_token", "tokens"), "speech": ("L_g_s", "label_frame", "frames")})


@dataclass(frozen=True)
class LEMERConfig:
    """The choices of LE-MER. mu weighs L_m, L_c, L_g_t and L_g_s; a zero turns that part of the guidance off.

    constraint: "raw" is (10) as printed; "guided" mends it, see `constraint_loss`. guidance_tokens: the tokens that the
    mean of (2) runs over, those of the utterance itself ("current") or those of history and marks too ("all").
    """

    fusion: str = "C1"
    constraint: str = "guided"
    mu: tuple[float, float, float, float] = (1.0, 0.5, 0.2, 0.2)
    guidance_tokens: str = "current"
    dropout: float = 0.1  # of v, before the classifier

    def __post_init__(self) -> None:
        for kind, valid in (("fusion", FUSIONS), ("constraint", CONSTRAINTS), ("guidance_tokens", GUIDANCE_TOKENS)):
            if getattr(self, kind) not in valid:
                raise unknown(kind, getattr(self, kind), valid)


PRESETS = MappingProxyType({
    "paper": LEMERConfig(constraint="raw", dropout=0.0),  # the paper states no dropout of its own
    "offline": LEMERConfig(),
})


@dataclass(frozen=True)
class UnimodalConfig:
    """One encoder, with or without labels (Table 1): L = L_m + mu · L_g; the paper states no other mu than (12)'s."""

    modality: str  # "text" or "speech"
    mu: float = 0.2
    guidance_tokens: str = "current"
    dropout: float = 0.1

    def __post_init__(self) -> None:
        for kind, valid in (("modality", PARTS), ("guidance_tokens", GUIDANCE_TOKENS)):
            if getattr(self, kind) not in valid:
                raise unknown(kind, getattr(self, kind), valid)


def label_attention(H: Tensor, L: Tensor) -> Tensor:  # Eq. 1, 4
    """G (batch, length, C): cosine of each state in H (batch, length, d) with each label in L (C, d); 0 at padding."""
    return F.normalize(H, dim=-1) @ F.normalize(L, dim=-1).T


def guidance_logits(G: Tensor, mask: Tensor) -> Tensor:  # Eq. 2, 5
    """Mean of G (batch, length, C) where `mask` (batch, length) is True: (batch, C)."""
    return masked_mean(G, mask)


def guidance_loss(G: Tensor, mask: Tensor, y: Tensor) -> Tensor:  # Eq. 3, 6
    """L_g: cross-entropy of the classes y (batch,) under the softmax of the means of G."""
    return F.cross_entropy(guidance_logits(G, mask), y)


def token_frame_attention(H_t: Tensor, W: Tensor, H_s: Tensor, pairs: Tensor) -> Tensor:  # Eq. 7
    """A_r (batch, tokens, frames): softmax over the real frames of H_t W H_sᵀ, W (d_t, d_s); 0 at padding.

    The paper prints H_t H_sᵀ W with W (d_s, d_t), whose shapes do not meet; W between the two is the usual form.
    pairs (batch, tokens, frames): True where both token and frame are real.
    """
    return masked_softmax(H_t @ W @ H_s.transpose(1, 2), pairs)


def align(H_t: Tensor, A: Tensor, H_s: Tensor) -> Tensor:  # Eq. 8
    """H_m = [H_t ; A H_s] (batch, tokens, d_t + d_s): each token beside the frames that it attends to."""
    return torch.cat([H_t, A @ H_s], dim=-1)


def guided_attention(G_t: Tensor, G_s: Tensor) -> Tensor:  # Eq. 9
    """A_l = G_t G_sᵀ (batch, tokens, frames): how far a token and a frame agree on the emotion, within ±C."""
    return G_t @ G_s.transpose(1, 2)


def fuse(A_r: Tensor | None, A_l: Tensor, fusion: str) -> Tensor:  # Table 3
    """The attention of (8); A_l is given row-softmaxed, so that both weigh frames on one scale. C3 takes no A_r."""
    if fusion == "C2":
        return A_r + A_l
    return A_l if fusion == "C3" else A_r


def constraint_loss(A_l: Tensor, A_r: Tensor, pairs: Tensor, constraint: str = "guided") -> Tensor:  # Eq. 10
    """L_c: how far A_r is from A_l (not softmaxed), a mean over utterances so that none depends on its neighbours.

    "raw": the mean squared error over an utterance's pairs, as printed. A_l reaches ±C where A_r is about 1/frames, so
    that the loss shrinks G towards 0 instead of guiding A_r (`gradients_of_constraint` measures it).
    "guided": A_l is softmaxed over frames and detached, squared differences are summed over frames, averaged over
    tokens: both are distributions, and A_r alone is taught.
    """
    if constraint == "raw":
        return (((A_l - A_r) ** 2 * pairs).sum(dim=(1, 2)) / pairs.sum(dim=(1, 2))).mean()
    squared = (masked_softmax(A_l, pairs).detach() - A_r) ** 2 * pairs
    return (squared.sum(dim=(1, 2)) / pairs.any(dim=2).sum(dim=1)).mean()


def pool(H_m: Tensor, tokens: Tensor) -> Tensor:  # Eq. 11
    """v (batch, d): maximum of H_m (batch, length, d) over the real tokens, history's and marks among them."""
    return Padded(H_m, tokens).max()


def total_loss(terms: dict[str, Tensor], mu: tuple[float, ...]) -> Tensor:  # Eq. 12
    """L = μ₁ L_m + μ₂ L_c + μ₃ L_g_t + μ₄ L_g_s; a term that a variant does not have is left out."""
    weights = dict(zip(("L_m", "L_c", "L_g_t", "L_g_s"), mu, strict=True))
    return sum(weights[symbol] * term for symbol, term in terms.items())


def score_fusion(logits_t: Tensor, logits_s: Tensor) -> Tensor:  # Table 2
    """The sum of the logits of a text and a speech model, each (batch, C) and trained alone."""
    return logits_t + logits_s


def gradients_of_constraint(output: ModelOutput) -> dict[str, dict[str, float]]:
    """Norms of L_c's gradient on G (G_t and G_s together) and on A_r, under each reading of (10).

    output: of a LEMER that has A_r (not C3). Returns {"guided": {"G": 0.0, "A_r": ...}, "raw": {...}}.
    """
    G_t, G_s, A_r = (output.attention[name].detach().float().requires_grad_()
                     for name in ("label_token", "label_frame", "token_frame"))
    pairs = output.masks["tokens"][:, :, None] & output.masks["frames"][:, None, :]
    norms = {}
    for constraint in CONSTRAINTS:
        L_c = constraint_loss(guided_attention(G_t, G_s), A_r, pairs, constraint)
        *to_G, to_A_r = torch.autograd.grad(L_c, (G_t, G_s, A_r), materialize_grads=True)
        norms[constraint] = {"G": torch.cat([g.flatten() for g in to_G]).norm().item(), "A_r": to_A_r.norm().item()}
    return norms


class LEMER(nn.Module):
    """Encode, compare with the labels, fuse under their guidance, classify (the paper's Figure 2)."""

    def __init__(self, text_encoder: nn.Module, speech_encoder: nn.Module, label_t: Tensor, label_s: Tensor,
                 config: LEMERConfig = PRESETS["offline"]) -> None:
        """label_t (C, d_t), label_s (C, d_s): where the label embeddings start; they are learnt from there.

        W starts normal with variance 1 / (d_t d_s), so that layer-normed states score about ±1 and A_r starts soft.
        """
        super().__init__()
        self.config = config
        self.text_encoder, self.speech_encoder = text_encoder, speech_encoder
        d_t, d_s = text_encoder.dim, speech_encoder.dim
        self.L_t, self.L_s = label_parameter(label_t, d_t), label_parameter(label_s, d_s)
        if len(label_t) != len(label_s):
            raise BadInput(f"got {len(label_t)} semantic and {len(label_s)} tonal label embeddings; expected one of "
                           "each for every class")
        self.W = None if config.fusion == "C3" else nn.Parameter(torch.randn(d_t, d_s) * (d_t * d_s) ** -0.5)
        self.classify = nn.Sequential(nn.Dropout(config.dropout), nn.Linear(d_t + d_s, len(label_t)))

    def forward(self, batch: Batch) -> ModelOutput:
        H_t, H_s = encode(self, batch, "text"), encode(self, batch, "speech")
        pairs = H_t.mask[:, :, None] & H_s.mask[:, None, :]
        G_t, G_s = label_attention(H_t.values, self.L_t), label_attention(H_s.values, self.L_s)
        A_l = guided_attention(G_t, G_s)
        attention = {"label_token": G_t, "label_frame": G_s, "guided": masked_softmax(A_l, pairs)}
        if self.W is not None:
            attention["token_frame"] = token_frame_attention(H_t.values, self.W, H_s.values, pairs)
        A = fuse(attention.get("token_frame"), attention["guided"], self.config.fusion)
        v = pool(align(H_t.values, A, H_s.values), H_t.mask)
        output = ModelOutput(self.classify(v), attention=attention, features=v,
                             masks={"tokens": H_t.mask, "frames": H_s.mask})
        if (y := batch.labels) is not None:
            output.terms = {"L_m": F.cross_entropy(output.logits, y),
                            "L_g_t": guidance_loss(G_t, guidance_mask(H_t.mask, batch, self.config), y),
                            "L_g_s": guidance_loss(G_s, H_s.mask, y)}
            if self.config.fusion == "C1":
                output.terms["L_c"] = constraint_loss(A_l, attention["token_frame"], pairs, self.config.constraint)
            output.loss = total_loss(output.terms, self.config.mu)
        return output


class UnimodalModel(nn.Module):
    """One encoder, masked max-pooling, one linear layer; with labels, guided by (1)-(3) or (4)-(6) (Table 1)."""

    def __init__(self, encoder: nn.Module, classes: int, config: UnimodalConfig, label: Tensor | None = None) -> None:
        """label (C, d): where the label embeddings start (A3-A5, B3-B5); None: no label guidance (A1, A2, B1, B2)."""
        super().__init__()
        self.config = config
        self.add_module(f"{config.modality}_encoder", encoder)
        self.L = None if label is None else label_parameter(label, encoder.dim, classes)
        self.classify = nn.Sequential(nn.Dropout(config.dropout), nn.Linear(encoder.dim, classes))

    def forward(self, batch: Batch) -> ModelOutput:
        H = encode(self, batch, self.config.modality)
        L_g, label_map, part = PARTS[self.config.modality]
        v = pool(H.values, H.mask)
        output = ModelOutput(self.classify(v), features=v, masks={part: H.mask})
        if self.L is not None:
            output.attention[label_map] = label_attention(H.values, self.L)
        if (y := batch.labels) is not None:
            output.loss = output.terms["L_m"] = F.cross_entropy(output.logits, y)
            if self.L is not None:
                mask = guidance_mask(H.mask, batch, self.config) if part == "tokens" else H.mask
                output.terms[L_g] = guidance_loss(output.attention[label_map], mask, y)
                output.loss = output.terms["L_m"] + self.config.mu * output.terms[L_g]
        return output


def guidance_mask(tokens: Tensor, batch: Batch, config: LEMERConfig | UnimodalConfig) -> Tensor:
    """The tokens (batch, tokens) that the mean of (2) runs over."""
    if config.guidance_tokens == "all":
        return tokens
    if batch.current is None:
        raise Missing("the batch does not say which tokens are the utterance's own (Batch.current); give it, or let "
                      "the mean of (2) run over all tokens: guidance_tokens='all'")
    return tokens & batch.current


def label_parameter(label: Tensor, dim: int, classes: int | None = None) -> nn.Parameter:
    """The start (C, d) of label embeddings as a parameter of its own."""
    if label.ndim != 2 or label.shape[1] != dim or classes not in (None, len(label)):
        raise BadInput(f"got label embeddings of shape {tuple(label.shape)}; expected ({classes or 'C'}, {dim}): one "
                       "row a class, as wide as the encoder's states")
    return nn.Parameter(label.detach().clone().float())
