"""Where LE-MER's label embeddings start (arXiv 2309.02106, sections 2.1 and 2.2; inits A3-A5 and B3-B5 of Table 1).

Semantic, L_t (C, d_t): "we feed these label descriptions into BERT, and obtain the semantic label embedding by
averaging the token embeddings of all label descriptions". We feed a class's K keywords, in the order of their rank and
parted by spaces, as one sequence, and average the encoder's last hidden states over its tokens, marks such as [CLS]
left out.

Tonal, L_s (C, d_s): "The embeddings of these emotion-relevant frames extracted from (codebook of) wav2vec2.0 will be
averaged". "codebook" averages the speech encoder's states at the key frames of the class's training utterances, since
G_s compares labels with such states; "codebook vectors", the other reading, averages the codebook's own vectors of the
key codes, mapped to the encoder's width by least squares over all training frames.

Every embedding is scaled to length √d, that of a layer-normed state. The cosine of (1) and (4) does not see lengths,
but Adam's steps do not grow with them: at one length all inits learn at one pace and differ in direction alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mer_kit.batch import Padded
from mer_kit.encoders.hub import in_eval_mode
from mer_kit.errors import BadInput, unknown
from mer_kit.guidance.controls import CONTROLS, synonyms
from mer_kit.guidance.tonal import key_codes, key_frames

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SEMANTIC = ("tf-idf", "label words", "random")  # A5, A4, A3
TONAL = ("codebook", "codebook vectors", "text", "random")  # B5, B5 read otherwise, B4, B3


@dataclass(frozen=True)
class GuidanceConfig:
    """What decides where label embeddings start; with a model's config it makes the hash of a run."""

    semantic: str = "tf-idf"
    tonal: str = "codebook"
    control: str = "none"  # of `controls.CONTROLS`
    top_words: int = 9  # keywords a class
    top_codes: int = 100  # key codes a class
    seed: int = 0

    def __post_init__(self) -> None:
        for kind, valid in (("semantic", SEMANTIC), ("tonal", TONAL), ("control", CONTROLS)):
            if getattr(self, kind) not in valid:
                raise unknown(kind, getattr(self, kind), valid)


def semantic_embeddings(config: GuidanceConfig, encoder: nn.Module, tokenizer: PreTrainedTokenizerBase,
                        classes: Sequence[str], table: pd.DataFrame | None = None) -> Tensor:
    """L_t (C, d_t) by `config.semantic`, before any control but synonyms.

    encoder: of text, as trained so far. table: of `keywords.keywords`, columns class, rank, word, for "tf-idf"; ranks
    past `config.top_words` are left out.
    """
    if config.semantic == "random":
        return _random(len(classes), encoder.dim, 2 * config.seed)
    words = {c: [c] if config.semantic == "label words" else _keywords(table, c, config.top_words) for c in classes}
    if config.control == "synonyms":
        words = synonyms(words)
    encoded = [tokenizer(" ".join(words[c]), return_special_tokens_mask=True) for c in classes]
    tokens = Padded.of([torch.tensor(e["input_ids"]) for e in encoded])
    content = Padded.of([torch.tensor(e["special_tokens_mask"]) == 0 for e in encoded]).values
    with torch.no_grad(), in_eval_mode(encoder):
        states = encoder(tokens.to(next(encoder.parameters()).device)).values.cpu()
    return scaled(Padded(states, content).mean())


def tonal_embeddings(config: GuidanceConfig, dim: int, classes: Sequence[str], *, semantic: Tensor | None = None,
                     states: Iterable[Tensor] = (), codes: Sequence[np.ndarray] = (), labels: Sequence[str] = (),
                     vectors: Tensor | None = None) -> Tensor:
    """L_s (C, d_s) by `config.tonal`, before any control; each init reads what it needs of the rest.

    dim: d_s. semantic: L_t before any control, for "text". For "codebook": states (frames, d_s) of the speech encoder,
    codes and label of each training utterance; states are read one by one, and one that comes at another rate than its
    codes takes those at the same share of the time. vectors (codes, d_q): what each code stands for.
    """
    if config.tonal == "random":
        return _random(len(classes), dim, 2 * config.seed + 1)
    if config.tonal == "text":
        return text_to_tonal(semantic, dim, config.seed)
    table = key_codes(codes, labels, classes, config.top_codes)
    if config.tonal == "codebook":
        return mean_key_states(states, labels, key_frames(codes, labels, table), classes)
    return codebook_embeddings(table, vectors, codes, states, classes)


def controlled(config: GuidanceConfig, embeddings: Tensor, modality: str) -> Tensor:
    """L_t ("text") or L_s ("speech") under `config.control`; the two never move alike, see `controls.shuffled`."""
    return CONTROLS[config.control](embeddings, 2 * config.seed + (modality == "speech"))


def text_to_tonal(semantic: Tensor, dim: int, seed: int = 0) -> Tensor:
    """L_s (C, d_s) from L_t (C, d_t), B4: as it is where the widths agree, else through a fixed random orthogonal map.

    The paper's encoders are both 768 wide; where widths differ it is silent. A map with orthonormal columns or rows
    keeps the angles between labels (exactly where d_s >= d_t), and no more: it aligns no space with another.
    """
    if semantic.shape[1] == dim:
        return scaled(semantic)
    onto = torch.empty(semantic.shape[1], dim)
    nn.init.orthogonal_(onto, generator=torch.Generator().manual_seed(seed))
    return scaled(semantic @ onto)


def mean_key_states(states: Iterable[Tensor], labels: Sequence[str], marks: Sequence[np.ndarray],
                    classes: Sequence[str]) -> Tensor:
    """(C, d_s): the mean of the states at each class's key frames; marks: of `tonal.key_frames`."""
    sums, counts = {}, dict.fromkeys(classes, 0)
    for H_s, label, mark in zip(states, labels, marks, strict=True):
        keys = torch.from_numpy(_at_rate(mark, len(H_s)))
        sums[label] = sums.get(label, 0) + H_s.detach().cpu().double()[keys].sum(dim=0)
        counts[label] += int(keys.sum())
    if empty := [c for c in classes if not counts[c]]:
        raise BadInput(f"class {empty[0]!r} has no key frame in {len(labels)} utterances; take more key codes (top_k)")
    return scaled(torch.stack([sums[c] / counts[c] for c in classes]).float())


def codebook_embeddings(table: pd.DataFrame, vectors: Tensor, codes: Sequence[np.ndarray], states: Iterable[Tensor],
                        classes: Sequence[str]) -> Tensor:
    """(C, d_s): the mean vector of each class's key codes, mapped to the states.

    The affine map brings the vectors of all training frames nearest to the states of the same frames.
    """
    affine = torch.cat([vectors.double(), torch.ones(len(vectors), 1)], dim=1)
    gram, cross = 0, 0
    for code, H_s in zip(codes, states, strict=True):
        q = affine[torch.from_numpy(_at_rate(code, len(H_s)))]
        gram, cross = gram + q.T @ q, cross + q.T @ H_s.detach().cpu().double()
    onto = torch.linalg.lstsq(gram, cross, driver="gelsd").solution
    means = [affine[table["code"][table["class"] == c].tolist()].mean(dim=0) for c in classes]
    return scaled((torch.stack(means) @ onto).float())


def wav2vec2_vectors(model: nn.Module) -> Tensor:
    """(V^G, d_q): the codebook vector of every code of `tonal.wav2vec2_codes`, the groups' entries side by side."""
    quantizer = model.quantizer
    entries = quantizer.codevectors.detach().cpu().view(quantizer.num_groups, quantizer.num_vars, -1)
    choices = torch.cartesian_prod(*[torch.arange(quantizer.num_vars)] * quantizer.num_groups)
    return torch.cat([entries[g][choices[:, g]] for g in range(quantizer.num_groups)], dim=1)


def scaled(embeddings: Tensor) -> Tensor:
    """The same directions (C, d), each of length √d."""
    return F.normalize(embeddings, dim=-1) * embeddings.shape[1] ** 0.5


def _random(classes: int, dim: int, seed: int) -> Tensor:
    return scaled(torch.randn(classes, dim, generator=torch.Generator().manual_seed(seed)))


def _keywords(table: pd.DataFrame, label: str, top: int) -> list[str]:
    words = table[(table["class"] == label) & (table["rank"] <= top)].sort_values("rank")["word"]
    if words.empty:
        raise BadInput(f"class {label!r} has no keywords to embed; lower min_count of `keywords`, give it more "
                       "training texts, or start from label words")
    return list(words)


def _at_rate(values: np.ndarray, frames: int) -> np.ndarray:
    """Values over time read at `frames` evenly spaced moments."""
    return values[np.arange(frames) * len(values) // frames]
