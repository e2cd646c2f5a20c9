"""Tonal labels of LE-MER (Wang et al., Interspeech 2023, arXiv 2309.02106), section 2.2: the sounds key to a class.

"The quantizer module of the pre-trained wav2vec2.0 discretizes the output of the CNN feature encoder ... In the same
way, the TF-IDF is adopted to select the Top-K emotion-relevant frames under the same class." A frame's code is a word,
a class's training utterances are one document, and codes are ranked as keywords are, tf · log(n / df).

The paper does not say when a code is in a document. Words are seldom in every class; codes of sound nearly always are:
of 500 clusters on half of `duet`, 465 stand three times or more in all four classes, weigh log(4 / 4) = 0, and leave
the rarest codes as "key". So df counts the classes in which a code is more frequent than over all classes
(`common="above average"`); the literal count of classes that hold it at all is the option `common="present"`. K counts
codes: 100 of wav2vec2's 320² pairs are few, 100 of 500 clusters mark some 40 % of a class's frames.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
import torch
from threadpoolctl import threadpool_limits
from torch import nn

from mer_kit.errors import BadInput, pick
from mer_kit.guidance.keywords import require_classes, tf_idf

TOP_K = 100  # codes a class, as in the paper's Figure 3
COMMON = {
    "above average": lambda counts: counts / counts.sum(axis=1, keepdims=True) > counts.sum(axis=0) / counts.sum(),
    "present": lambda counts: counts > 0,
}
FRAMES_A_CLUSTER = 10  # fewer than this teach k-means nothing of a cluster


def wav2vec2_codes(model: nn.Module, waveforms: Iterable[np.ndarray]) -> list[np.ndarray]:
    """The code of each 20-ms frame by wav2vec2's own quantizer, one array (frames,) an utterance.

    model: a Wav2Vec2ForPreTraining or Wav2Vec2ConformerForPreTraining. waveforms: samples (n,) at 16 kHz, normalised as
    the model expects. One by one, so that no padding enters. The choices in the G groups of V entries are one token, a
    number below V^G: 320 · (code of group 1) + code of group 2 in the published models.
    """
    quantizer, encoder = model.quantizer, model.base_model
    device, groups, codes = quantizer.codevectors.device, quantizer.num_groups, []
    places = quantizer.num_vars ** torch.arange(groups - 1, -1, -1, device=device)
    with torch.inference_mode():  # nothing on this way has dropout, so that the mode does not matter
        for samples in waveforms:
            waves = torch.as_tensor(samples, dtype=torch.float32, device=device)[None]
            features = encoder.feature_extractor(waves).transpose(1, 2)
            features = encoder.feature_projection(features)[1]  # layer-normed, as the quantizer gets them
            choices = quantizer.weight_proj(features).unflatten(-1, (groups, quantizer.num_vars)).argmax(dim=-1)
            codes.append((choices * places).sum(dim=-1)[0].cpu().numpy())
    return codes


class KMeansCodes:
    """Codes for encoders without a quantizer: the nearest of `clusters` means, over standardised frames.

    Codes of `FrameEncoder.convolved` tell what sounds at a place, codes of its states which class the utterance seems
    to be, wherever they stand: notebook 02 shows both.

    Fitted on training frames alone, at most `max_frames` of them, drawn evenly. `notes` says where there were too few
    frames for `clusters`, and how many were taken.
    """

    def __init__(self, clusters: int = 500, seed: int = 0, max_frames: int = 200_000) -> None:
        self.clusters, self.seed, self.max_frames, self.notes = clusters, seed, max_frames, ()

    def fit(self, frames: Sequence[np.ndarray]) -> KMeansCodes:
        """frames: one array (frames, d) a training utterance."""
        from sklearn.cluster import MiniBatchKMeans
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        total = sum(len(f) for f in frames)
        if not total:
            raise BadInput(f"got {len(frames)} utterances without a single frame; k-means needs frames")
        step = max(1, -(-total // self.max_frames))
        seen = np.concatenate(frames)[::step].astype(np.float32)
        clusters = min(self.clusters, max(1, len(seen) // FRAMES_A_CLUSTER))
        if clusters < self.clusters:
            self.notes = (f"{clusters} clusters instead of {self.clusters}: only {len(seen)} training frames, and a "
                          f"cluster needs {FRAMES_A_CLUSTER}",)
        means = MiniBatchKMeans(clusters, batch_size=4096, n_init=1, random_state=self.seed)
        with threadpool_limits(1):  # threads that wait for one another on busy cores take ten times as long
            self.model = make_pipeline(StandardScaler(), means).fit(seen)
        return self

    @property
    def vectors(self) -> torch.Tensor:
        """(clusters, d): the mean of each code, in standardised units."""
        return torch.from_numpy(self.model[-1].cluster_centers_)

    def __call__(self, frames: Iterable[np.ndarray]) -> list[np.ndarray]:
        """The code (frames,) of every frame of each utterance (frames, d)."""
        with threadpool_limits(1):
            return [self.model.predict(np.asarray(f, dtype=np.float32)).astype(np.int64) for f in frames]


def key_codes(codes: Sequence[np.ndarray], labels: Sequence[str], classes: Sequence[str], top_k: int | None = TOP_K,
              idf: str = "log", common: str = "above average", min_count: int = 3) -> pd.DataFrame:
    """The `top_k` codes of each class by tf · idf; codes and labels of the training part alone.

    common: when df counts a class, see above. min_count: and from how many frames with the code in it.
    Returns columns class, rank (1 ..), code, count, df, tfidf. A class without a key code is refused.
    """
    require_classes("sound", labels, classes)
    terms, where = np.unique(np.concatenate(codes), return_inverse=True)
    owner = np.repeat([list(classes).index(label) for label in labels], [len(c) for c in codes])
    counts = np.zeros((len(classes), len(terms)), dtype=int)
    np.add.at(counts, (owner, where), 1)
    counted = pick("common", common, COMMON)(counts) & (counts >= min_count)
    table = tf_idf(counts, counted, terms, classes, top_k, idf, column="code")
    if keyless := [c for c in classes if c not in set(table["class"])]:
        raise BadInput(f"class {keyless[0]!r} has no key code: all its codes are common to every class, or stand in it "
                       f"fewer than {min_count} times; lower min_count, take more clusters, or common='above average'")
    return table


def key_frames(codes: Sequence[np.ndarray], labels: Sequence[str], table: pd.DataFrame) -> list[np.ndarray]:
    """Which frames of each utterance carry a key code of its own class: one boolean array (frames,) an utterance."""
    keys = {c: group["code"].to_numpy() for c, group in table.groupby("class", observed=False)}
    return [np.isin(c, keys[label]) for c, label in zip(codes, labels, strict=True)]


def key_shares(codes: Sequence[np.ndarray], labels: Sequence[str], table: pd.DataFrame) -> pd.DataFrame:
    """(C, C): of all frames of the utterances of a class (rows), the share with a key code of a class (columns)."""
    keys = {c: group["code"].to_numpy() for c, group in table.groupby("class", observed=False)}
    frames = {c: np.concatenate([own for own, label in zip(codes, labels, strict=True) if label == c]) for c in keys}
    return pd.DataFrame([[np.isin(frames[a], keys[b]).mean() for b in keys] for a in keys], list(keys), list(keys))


def key_waveform(label: str, waveforms: Sequence[np.ndarray], labels: Sequence[str], marks: Sequence[np.ndarray],
                 sample_rate: int = 16_000, max_seconds: float = 10.0, crossfade_ms: float = 5.0) -> np.ndarray:
    """The key frames of a class joined into sound (samples,) float32, at most `max_seconds` long (Figure 1).

    waveforms: samples of each utterance at `sample_rate` Hz; marks: of `key_frames`. Neighbouring key frames are one
    piece. The longest pieces are taken first, then stand in the order of the corpus, overlapping by `crossfade_ms`.
    """
    pieces = [(i, *piece) for i, own in enumerate(labels) if own == label for piece in _runs(marks[i])]
    if not pieces:
        raise BadInput(f"no key frame of class {label!r} among {len(labels)} utterances; expected at least one")
    samples_of = {i: len(waveforms[i]) / len(marks[i]) for i, *_ in pieces}  # samples a frame
    fade, room = round(crossfade_ms / 1000 * sample_rate), round(max_seconds * sample_rate)
    kept = []
    for i, start, end in sorted(pieces, key=lambda p: (p[1] - p[2], p)):
        if room <= fade:
            break
        first = round(start * samples_of[i])
        last = min(round(end * samples_of[i]), first + room)
        kept.append((i, first, last))
        room -= last - first - fade
    return _joined([np.asarray(waveforms[i][a:b], dtype=np.float32) for i, a, b in sorted(kept)], fade)


def _runs(marks: np.ndarray) -> list[tuple[int, int]]:
    """Where the runs of True begin and end: [False, True, True] has [(1, 3)]."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], marks, [False]]).astype(int)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def _joined(pieces: Sequence[np.ndarray], fade: int) -> np.ndarray:
    """Pieces one after another, each overlapping the one before by `fade` samples (fewer where one is shorter)."""
    sound = pieces[0]
    for piece in pieces[1:]:
        n = min(fade, len(sound), len(piece))
        rise = np.linspace(0, 1, n, endpoint=False, dtype=np.float32)
        mixed = sound[len(sound) - n :] * (1 - rise) + piece[:n] * rise
        sound = np.concatenate([sound[: len(sound) - n], mixed, piece[n:]])
    return sound
