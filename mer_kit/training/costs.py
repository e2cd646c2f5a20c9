"""What training LE-MER takes with each preset: an estimate made beforehand, without a network, and no measurement.

Parameters are counted on models of the true size that hold no weights (torch's "meta" device). Memory is 4 bytes each
for weights, gradients and Adam's two moments, plus what one forward of the encoders over the largest batch, every text
and clip at its cap, keeps for its backward, at 2 bytes a number under bf16. Not counted are the fusion (under 1 %),
what operations need in passing, and the allocator's fragments: on a GPU, add 10 to 30 %. Time is 6 · parameters ·
positions operations for training and 2 for scoring, a position being a token or a speech state, at the speed that is
named; the strided convolutions over samples, under a tenth of wav2vec2-large's work, are left out.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import pandas as pd
import torch
from torch import Tensor, nn

from mer_kit.batch import Padded
from mer_kit.encoders.acoustics import BANDS
from mer_kit.encoders.speech import SAMPLE_RATE, FrameEncoder
from mer_kit.errors import pick
from mer_kit.training.memory import GIB, MOMENTS
from mer_kit.training.presets import MODELS, PRESETS
from mer_kit.training.stage import Encoders

SPEEDS = MappingProxyType({  # operations a second that last, not the maker's peak
    "two CPU cores": 5e10,
    "A100, a fifth of its bf16 peak": 0.2 * 312e12,
    "H100, a fifth of its bf16 peak": 0.2 * 989e12,
})
MACHINES = MappingProxyType({"offline": "two CPU cores", "paper": "A100, a fifth of its bf16 peak"})
CONFORMER_LARGE = MappingProxyType({  # facebook/wav2vec2-conformer-rel-pos-large, as far as sizes go
    "hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096,
    "feat_extract_norm": "layer", "conv_bias": True, "do_stable_layer_norm": True, "hidden_act": "swish",
    "position_embeddings_type": "relative", "layerdrop": 0.0, "apply_spec_augment": False})


@dataclass(frozen=True)
class Fold:
    """How much there is to train on and to score; the defaults are IEMOCAP's four classes, session out."""

    train: int = 3_300  # utterances
    scored: int = 2_200  # of dev and test together, every epoch
    tokens: int = 130  # mean of an utterance with its history
    seconds: float = 4.5  # mean


def cost_table(fold: Fold = Fold(), machines: Mapping[str, str] = MACHINES) -> pd.DataFrame:
    """A row a preset: million parameters, GiB at the largest batch (also with gradient checkpointing), epochs, machine,
    hours a fold (all epochs of LE-MER, as if none stopped early; what it starts from is not counted).

    machines: preset -> a name in SPEEDS.
    """
    return pd.DataFrame({name: _costs(name, fold, machines[name]) for name in machines}).T.rename_axis("preset")


def _costs(name: str, fold: Fold, machine: str) -> dict[str, object]:
    preset = PRESETS[name]["lemer"]
    config, encoders = preset.train, preset.encoders
    count, work, kept = 0, 0.0, {False: 0, True: 0}
    for modality in MODELS["lemer"]:
        model, largest = skeleton(modality, encoders, config.batch_size)
        size, rate = sum(p.numel() for p in model.parameters()), 50 if encoders.pretrained("speech") else 25
        positions = fold.tokens if modality == "text" else fold.seconds * rate
        count, work = count + size, work + size * positions * (6 * fold.train + 2 * fold.scored)
        for checkpointed in kept:
            kept[checkpointed] += kept_for_backward(model, largest, config.precision, checkpointed)
    always = 4 * (2 + MOMENTS) * count
    return {"million parameters": count / 1e6, "GiB": (always + kept[False]) / GIB,
            "GiB, checkpointed": (always + kept[True]) / GIB, "epochs": config.epochs, "machine": machine,
            "hours a fold": config.epochs * work / pick("machine", machine, SPEEDS) / 3600}


def skeleton(modality: str, encoders: Encoders, batch_size: int) -> tuple[nn.Module, Tensor | Padded]:
    """An encoder of a preset without weights, and the largest batch that it may be given."""
    from transformers import BertConfig, BertModel, Wav2Vec2ConformerConfig, Wav2Vec2ConformerModel

    offline = not encoders.pretrained(modality)
    with torch.device("meta"):
        if modality == "text":
            sizes = {"vocab_size": encoders.vocabulary, "hidden_size": encoders.text_dim, "num_attention_heads": 4,
                     "num_hidden_layers": encoders.text_layers, "intermediate_size": 4 * encoders.text_dim,
                     "max_position_embeddings": encoders.max_tokens + 10} if offline else {}
            tokens = torch.zeros(batch_size, encoders.max_tokens, dtype=torch.long)
            return BertModel(BertConfig(**sizes, use_cache=False), add_pooling_layer=False), tokens
        if offline:
            frames = torch.zeros(batch_size, int(encoders.max_seconds * 100), BANDS)
            model = FrameEncoder(dim=encoders.speech_dim, layers=encoders.speech_layers, dropout=encoders.dropout)
            return model, Padded(frames, torch.ones(frames.shape[:2], dtype=torch.bool))
        samples = torch.zeros(batch_size, int(encoders.max_seconds * SAMPLE_RATE))
        return Wav2Vec2ConformerModel(Wav2Vec2ConformerConfig(**CONFORMER_LARGE)), samples


def kept_for_backward(model: nn.Module, largest: Tensor | Padded, precision: str, checkpointed: bool = False) -> int:
    """Bytes that one forward in training mode keeps, parameters not counted; nothing is computed on "meta"."""
    if precision == "bf16":
        model = model.bfloat16()
        largest = largest.bfloat16() if largest.is_floating_point() else largest
    if checkpointed and hasattr(model, "gradient_checkpointing_enable"):
        with warnings.catch_warnings(action="ignore", category=FutureWarning):  # transformers 6 has another name for it
            model.gradient_checkpointing_enable({"use_reentrant": False})
    known, kept = {t.untyped_storage()._cdata for t in (*model.parameters(), *model.buffers())}, {}

    def keep(tensor: Tensor) -> Tensor:
        if (storage := tensor.untyped_storage())._cdata not in known:
            kept[storage._cdata] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = model.train()(largest)  # held until all is counted: no storage is used twice meanwhile
    del output
    return sum(kept.values())
