"""Second-stage pretraining of LE-MER (arXiv 2309.02106, Table 1, B2): wav2vec2's own objective on the training audio.

"2nd stage pretraining is applied to the pre-trained wav2vec2.0-conformer on the training set"; its settings are not
given. These are wav2vec2's (Baevski et al., 2020): as many spans of 10 frames as would mask 65 % did none overlap,
100 distractors from the masked frames of the same utterance, and the loss, per masked frame,

    L = L_contrastive + 0.1 · L_diversity

As in its own training, utterances of a batch are cut to the shortest, at random places: no padding enters, and the
group norm over time of the base model sees sound alone. Batches hold utterances of similar length, so little is cut.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from tqdm.auto import trange

from mer_kit.batch import Padded
from mer_kit.corpora.corpus import Corpus
from mer_kit.corpora.protocols import Fold
from mer_kit.encoders.hub import from_hub
from mer_kit.encoders.speech import OFFLINE, pretraining_model, standardised
from mer_kit.errors import BadInput
from mer_kit.features.inputs import SpeechInputs

COLUMNS = ("step", "loss", "contrastive", "diversity", "perplexity", "temperature", "rate")


def second_stage(model: nn.Module, waveforms: Sequence[np.ndarray], steps: int, *, batch_size: int = 16,
                 rate: float = 1e-5, warmup: float = 0.1, mask_prob: float = 0.65, mask_length: int = 10,
                 temperature: tuple[float, float, float] = (2.0, 0.999995, 0.5), seed: int = 0) -> pd.DataFrame:
    """Continues wav2vec2's pretraining of `model` in place, for `steps` batches on the device that it is on.

    model: a Wav2Vec2ForPreTraining or its conformer kin. waveforms: samples (n,) at 16 kHz of training utterances,
    normalised as the model expects; those too short for two masked spans are left out and counted in
    `history.attrs["too short"]`. rate: of AdamW, reached after the share `warmup` of steps, then falling to 0.
    temperature: of the gumbel softmax: start, factor a step, lowest. Returns one row a step, losses per masked frame.
    """
    usable = _usable(model, waveforms, mask_length)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _slope(step, steps, warmup))
    was_training, rows = model.training, []
    model.train()
    with _seeded(seed, _device(model)) as random:
        bar = trange(steps, desc="second stage", unit="step", delay=2, leave=False)
        for step, batch in zip(bar, _batches(usable, batch_size, random), strict=False):
            degree = max(temperature[0] * temperature[1] ** step, temperature[2])
            model.set_gumbel_temperature(degree)
            losses = _losses(model, batch, mask_prob, mask_length)
            losses["loss"].backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            rows.append([step, *(v.item() for v in losses.values()), degree, schedule.get_last_lr()[0]])
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
    model.train(was_training)
    history = pd.DataFrame(rows, columns=list(COLUMNS))
    history.attrs["too short"] = len(waveforms) - len(usable)
    return history


def continue_pretraining(source: str | Path, out: Path | str, corpus: Corpus, fold: Fold, steps: int,
                         device: torch.device | str = "cpu", max_seconds: float = 20.0, **settings) -> pd.DataFrame:
    """The second stage of a checkpoint on a fold's training part alone; `out` becomes a folder that loads as it did.

    source: a Hugging Face id or folder that still has wav2vec2's quantizer. settings: of `second_stage`. Returns its
    history, which `out` keeps as second_stage.csv. Dev and test utterances are never read.
    """
    from transformers import AutoFeatureExtractor

    model = pretraining_model(source)
    if model is None:
        raise BadInput(f"{str(source)!r} has no quantizer, so wav2vec2's objective cannot be continued; expected a "
                       "pretraining checkpoint, such as facebook/wav2vec2-base (not a fine-tuned one)")
    extractor = from_hub("feature extractor", source, OFFLINE, AutoFeatureExtractor.from_pretrained)
    waves = SpeechInputs(corpus, "waves", max_seconds).fill(fold.train)
    heard = [Padded.of([waves(u)]) for u in fold.train]
    samples = [(standardised(w) if getattr(extractor, "do_normalize", True) else w.values)[0].numpy() for w in heard]
    history = second_stage(model.to(device), samples, steps, **settings)
    for part in (model, extractor):
        part.save_pretrained(out)
    history.to_csv(Path(out) / "second_stage.csv", index=False)
    return history


def _losses(model: nn.Module, batch: Tensor, mask_prob: float, mask_length: int) -> dict[str, Tensor]:
    """Masks a batch (B, samples) and reads the objective, per masked frame."""
    from transformers.models.wav2vec2.modeling_wav2vec2 import _compute_mask_indices, _sample_negative_indices

    shape = (len(batch), _frames(model, batch.shape[1]))
    masked = _compute_mask_indices(shape, mask_prob, mask_length, min_masks=2)
    negatives = _sample_negative_indices(shape, model.config.num_negatives, masked)
    device = _device(model)
    said = model(batch.to(device), mask_time_indices=torch.from_numpy(masked).to(device),
                 sampled_negative_indices=torch.from_numpy(negatives).to(device))
    count = int(masked.sum())
    return {"loss": said.loss / count, "contrastive": said.contrastive_loss / count,
            "diversity": said.diversity_loss / count, "perplexity": said.codevector_perplexity}


def _batches(waveforms: Sequence[np.ndarray], size: int, random: np.random.Generator) -> Iterator[Tensor]:
    """Batches (B, samples) without end: neighbours in length, drawn anew each round, cut to the shortest of each."""
    while True:
        order = sorted(random.permutation(len(waveforms)), key=lambda i: len(waveforms[i]))
        groups = [order[i : i + size] for i in range(0, len(order), size)]
        for group in random.permutation(len(groups)):
            chosen = [np.asarray(waveforms[i], dtype=np.float32) for i in groups[group]]
            shortest = min(map(len, chosen))
            starts = [random.integers(len(w) - shortest + 1) for w in chosen]
            yield torch.from_numpy(np.stack([w[s : s + shortest] for w, s in zip(chosen, starts, strict=True)]))


def _usable(model: nn.Module, waveforms: Sequence[np.ndarray], mask_length: int) -> list[np.ndarray]:
    usable = [w for w in waveforms if _frames(model, len(w)) >= 2 * mask_length]
    if not usable:
        longest = max(map(len, waveforms), default=0) / 16_000
        raise BadInput(f"none of {len(waveforms)} utterances (longest: {longest:.2f} s) has the {2 * mask_length} "
                       f"frames that two masked spans need; give longer ones, or lower mask_length={mask_length}")
    return usable


def _frames(model: nn.Module, samples: int) -> int:
    return max(0, int(model._get_feat_extract_output_lengths(torch.tensor(samples))))


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def _slope(step: int, steps: int, warmup: float) -> float:
    """The share of the full rate: up from 1 / (steps of warm-up), then down to 1 / (steps left)."""
    rising = max(1, round(warmup * steps))
    return (step + 1) / rising if step < rising else (steps - step) / max(1, steps - rising)


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[np.random.Generator]:
    """numpy's and torch's global draws, which the objective's helpers and gumbel noise use, seeded; then as before."""
    before = np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            np.random.seed(seed)
            yield np.random.default_rng(seed)
    finally:
        np.random.set_state(before)
