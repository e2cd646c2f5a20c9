"""How experiments are made unless they say otherwise: with offline encoders on two cores, or as each paper says.

"offline" trains small encoders from scratch. "paper" has each paper's encoders and settings. Where they are silent, or
what they used is not to be had:

LE-MER (arXiv 2309.02106, 3.2): BERT-base, up to ten turns of history in 150 tokens, Adam, 8,000 warm-up steps, 1e-6 for
wav2vec2 and 5e-6 for BERT, batches of 16, (10) as printed.
    speech encoder    its wav2vec2-conformer-BASE is not public; facebook/wav2vec2-conformer-rel-pos-large, pretrained
                      on the same 960 h of LibriSpeech, is the nearest that is
    2nd stage         `pretrain.second_stage` continues wav2vec2's objective; its steps and rate are not given
    rate of the rest  1e-4, of W, label embeddings and classifier
    epochs            60, or 10 without a better dev score; after 8,000 steps (39 epochs of a fold of IEMOCAP with a dev
                      session) the rate stays
    precision, clips  bf16; 20 s at most

LSGMER (V.B): roberta-base and wavlm-large, frozen, utterances without history, AdamW at 5e-4, 50 epochs; β of (19) is
0.05, and 0.1 on MELD: "paper-meld", which "paper" stands for where the corpus is meld.
    batches, decay    32 utterances; AdamW's usual 0.01
    AlexNet           with its ImageNet weights, frozen like the others

JFM + ICL (3.2): RoBERTa's 12th layer (768 wide, so roberta-base's), N = 2, |v_j| = 4, Adam at 1e-4, batches of 32.
    RoBERTa           frozen ("to derive features"); the large one's: encoders.text=roberta-large, text_layer=12
    LTrans, VTrans    the first layers of bert-base-uncased and google/vit-base-patch16-224-in21k (its [3] and [4])
    loss, epochs      weight of (7) 0.1, temperature 0.1; 30 epochs, or 10 without a better dev score; bf16
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from mer_kit.errors import pick
from mer_kit.models import jfm, lemer, lsgmer
from mer_kit.training.config import TrainConfig
from mer_kit.training.stage import Encoders

MODELS = MappingProxyType({"text": ("text",), "speech": ("speech",), "lemer": ("text", "speech"),
                           "lsgmer": ("text", "speech"), "jfm": ("text", "speech"), "jfm-text": ("text",),
                           "jfm-speech": ("speech",)})
SETTINGS_OF = MappingProxyType({"text": "lemer", "speech": "lemer", "lemer": "lemer", "lsgmer": "lsgmer"}  # its config
                               | dict.fromkeys(("jfm", "jfm-text", "jfm-speech"), "jfm"))
FROZEN = frozenset({"lsgmer"})  # models whose encoders are not trained along; their states are computed once
_SHARED = {"batch_size": 32, "weight_decay": 0.01, "warmup": 0.1, "schedule": "linear"}
OFFLINE = MappingProxyType({  # what two cores train in about two minutes a fold
    "text": TrainConfig(epochs=12, rates={"rest": 1e-3}, **_SHARED),
    "speech": TrainConfig(epochs=28, rates={"rest": 2e-3}, **_SHARED),
    "lemer": TrainConfig(epochs=6, rates={"text_encoder": 1e-4, "speech_encoder": 3e-4, "rest": 1e-3}, **_SHARED),
    "lsgmer": TrainConfig(epochs=20, rates={"rest": 5e-4}, **_SHARED),
    "jfm": TrainConfig(epochs=5, rates={"text_encoder": 1e-4, "speech_encoder": 5e-4, "rest": 1e-3}, **_SHARED),
    "jfm-text": TrainConfig(epochs=5, rates={"text_encoder": 1e-4, "rest": 1e-3}, **_SHARED),
    "jfm-speech": TrainConfig(epochs=28, rates={"rest": 2e-3}, **_SHARED),
})
FINE_TUNED = MappingProxyType({"text": 5e-5, "speech": 1e-5, "vision": 5e-5})  # of encoders from the hub in "offline"
_STATED = {"batch_size": 16, "optimizer": "Adam", "warmup": 8000, "epochs": 60, "patience": 10, "precision": "bf16"}
PAPER = MappingProxyType({
    "text": TrainConfig(rates={"text_encoder": 5e-6, "rest": 1e-4}, **_STATED),
    "speech": TrainConfig(rates={"speech_encoder": 1e-6, "rest": 1e-4}, **_STATED),
    "lemer": TrainConfig(rates={"text_encoder": 5e-6, "speech_encoder": 1e-6, "rest": 1e-4}, **_STATED),
    "lsgmer": TrainConfig(epochs=50, rates={"rest": 5e-4}, batch_size=32, weight_decay=0.01, precision="bf16"),
    **dict.fromkeys(("jfm", "jfm-text", "jfm-speech"), TrainConfig(
        epochs=30, patience=10, rates={"rest": 1e-4}, batch_size=32, optimizer="Adam", precision="bf16")),
})
_BERT = Encoders("bert-base-uncased", "facebook/wav2vec2-conformer-rel-pos-large", max_seconds=20.0)
_ROBERTA = Encoders("roberta-base", "microsoft/wavlm-large", "imagenet", frozen=True, history_turns=0, max_seconds=20.0)
_VIT = Encoders("roberta-base", vision="google/vit-base-patch16-224-in21k", language="bert-base-uncased", frozen=True,
                history_turns=0, max_seconds=20.0)


@dataclass(frozen=True)
class Preset:
    """What an experiment takes where it says nothing itself."""

    encoders: Encoders
    train: TrainConfig
    lemer: lemer.LEMERConfig
    lsgmer: lsgmer.LSGMERConfig
    jfm: jfm.JFMConfig


def _presets(train: Mapping[str, TrainConfig], encoders: Mapping[str, Encoders], le_mer: lemer.LEMERConfig,
             lsgmer_like: str) -> dict[str, Preset]:
    """encoders: by the name of a paper's settings."""
    like = "offline" if lsgmer_like == "offline" else "paper"
    return {model: Preset(encoders[SETTINGS_OF[model]], train[model], le_mer, lsgmer.PRESETS[lsgmer_like],
                          jfm.PRESETS[like]) for model in MODELS}


_SMALL = {"lemer": Encoders(), "lsgmer": Encoders(history_turns=0), "jfm": Encoders()}
_LARGE = {"lemer": _BERT, "lsgmer": _ROBERTA, "jfm": _VIT}
PRESETS = MappingProxyType({
    "offline": _presets(OFFLINE, _SMALL, lemer.LEMERConfig(dropout=0.3), "offline"),
    **{name: _presets(PAPER, _LARGE, lemer.PRESETS["paper"], name) for name in ("paper", "paper-meld")},
})


def preset_of(name: str, model: str, corpus: str = "") -> Preset:
    """A model's preset; where a paper has settings of their own for a corpus, those."""
    own = f"{name}-{corpus}"
    return pick("model", model, pick("preset", own if own in PRESETS else name, PRESETS))


def training_of(preset: str, model: str, encoders: Encoders) -> TrainConfig:
    """A preset's training of a model; the rates of "offline" are for offline encoders, so others get FINE_TUNED's."""
    usual = preset_of(preset, model).train
    if preset != "offline" or model in FROZEN:
        return usual
    tuned = {f"{m}_encoder": FINE_TUNED[m] for m in MODELS[model] if encoders.pretrained(m)}
    if SETTINGS_OF[model] == "jfm" and "speech" in MODELS[model] and encoders.pretrained("vision"):
        tuned |= dict.fromkeys(("speech_encoder", *["fusion"] * (model == "jfm")), FINE_TUNED["vision"])
    return replace(usual, rates={**usual.rates, **tuned})
