"""LE-MER's tables, its parameter studies, and the controls that it leaves out, as experiments.

The paper's rows from B2 on add a second stage of pretraining, which continues wav2vec2's own objective; offline
encoders have none, so B3-B5 stand here without it (`training/pretrain.py` holds it, for those who have wav2vec2).
"""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

from mer_kit.guidance.label_embeddings import GuidanceConfig
from mer_kit.training.experiments import Encoders, Experiment
from mer_kit.training.studies import Study

LEMER = Experiment("lemer")
TEXT, SPEECH = Experiment("text"), Experiment("speech")
OTHERS = ("Chen et al. [7] (KS-Transformer)", "Chen et al. [28]", "Hou et al. [29]", "Wu et al. [26]",
          "Santoso et al. [30]", "Li et al. [6]")
MU = LEMER.lemer.mu


def _labels(base: Experiment, **guidance) -> Experiment:
    return replace(base, labels=True, guidance=GuidanceConfig(**guidance))


def _lemer(**changed) -> Experiment:
    return replace(LEMER, lemer=replace(LEMER.lemer, **changed))


def _guided(**guidance) -> Experiment:
    return replace(LEMER, guidance=GuidanceConfig(**guidance))


TEXT_LABELS, SPEECH_LABELS = _labels(TEXT), _labels(SPEECH)  # A5, B5

TABLE_1 = Study("Does one modality alone gain from labels, and from where they start?", {
    "A1 BERT": replace(TEXT, encoders=Encoders(history_turns=0)),
    "A2 + historical utterances": TEXT,
    "A3 + historical utterances + LE (random init)": _labels(TEXT, semantic="random"),
    "A4 + historical utterances + LE (label words init)": _labels(TEXT, semantic="label words"),
    "A5 + historical utterances + LE (TF-IDF init)": TEXT_LABELS,
    "B1 wav2vec2.0": SPEECH,
    "B3 + 2nd stage + LE (random init)": _labels(SPEECH, tonal="random"),
    "B4 + 2nd stage + LE (BERT embedding init)": _labels(SPEECH, tonal="text"),
    "B5 + 2nd stage + LE (codebook init)": SPEECH_LABELS,
}, reference="A2 + historical utterances", paper="LE-MER", table="Table 1",
    reasons={"B2 + 2nd stage": "the offline encoder has no objective of its own to continue"})

UNTAUGHT = replace(LEMER.lemer, mu=(*MU[:2], 0.0, 0.0))  # labels stand there and teach nothing

TRAINED_ON = Study("Is it the labels that help one modality, or the second training that comes with them?", {
    "A2": TEXT,
    "A2, trained on as long": replace(TEXT_LABELS, lemer=UNTAUGHT),
    "A5": TEXT_LABELS,
    "B1": SPEECH,
    "B1, trained on as long": replace(SPEECH_LABELS, lemer=UNTAUGHT),
    "B5": SPEECH_LABELS,
}, reference="A2, trained on as long")

TABLE_2 = Study("Is it better to fuse states than scores?", {
    "LE-MER score fusion": (TEXT_LABELS, SPEECH_LABELS),
    "LE-MER": LEMER,
}, reference="LE-MER", paper="LE-MER", table="Table 2", reasons=dict.fromkeys(OTHERS, "a system of another paper"))

TABLE_3 = Study("Which attention should fuse?", {
    "C1 attention constraint": LEMER,
    "C2 A_r + A_l": _lemer(fusion="C2"),
    "C3 only A_l": _lemer(fusion="C3"),
    "C4 only A_r": _lemer(fusion="C4"),
}, reference="C1 attention constraint", paper="LE-MER", table="Table 3")

ABLATIONS = Study("What of the guidance matters: where labels start, what they mean, how they teach?", {
    "C1, labels from keywords and key frames": LEMER,
    "L_t from label words": _guided(semantic="label words"),
    "L_t random": _guided(semantic="random"),
    "L_s from the text embedding": _guided(tonal="text"),
    "L_s random": _guided(tonal="random"),
    "labels shuffled": _guided(control="shuffled"),
    "labels random": _guided(control="random"),
    "labels one-hot": _guided(control="one-hot"),
    "labels from synonyms": _guided(control="synonyms"),
    "constraint as printed (raw)": _lemer(constraint="raw"),
    "labels not taught (mu3 = mu4 = 0)": replace(LEMER, lemer=UNTAUGHT),
    "no guidance at all (C4, mu3 = mu4 = 0)": _lemer(fusion="C4", mu=(*MU[:2], 0.0, 0.0)),
    "L_s from codebook vectors": _guided(tonal="codebook vectors"),
    "mean of (2) over all tokens": _lemer(guidance_tokens="all"),
}, reference="C1, labels from keywords and key frames")

FIGURE_3 = Study("How many key codes should a tonal label be made of?", {
    f"K = {k}": _labels(SPEECH, top_codes=k) for k in (10, 50, 100, 200, 400)}, reference="K = 100")

KEYWORDS = Study("How many keywords should a semantic label be made of?", {
    f"K = {k}": _labels(TEXT, top_words=k) for k in (1, 3, 9, 20, 50)}, reference="K = 9")

CONSTRAINT = Study("How strongly should A_l constrain A_r?", {
    f"mu2 = {mu2:g}": _lemer(mu=(MU[0], mu2, *MU[2:])) for mu2 in (0.0, 0.1, 0.5, 1.0, 2.0)}, reference="mu2 = 0.5")

STUDIES = MappingProxyType({
    "le-mer/table-1": TABLE_1, "le-mer/trained-on": TRAINED_ON, "le-mer/table-2": TABLE_2, "le-mer/table-3": TABLE_3,
    "le-mer/ablations": ABLATIONS, "le-mer/figure-3": FIGURE_3, "le-mer/keywords": KEYWORDS,
    "le-mer/constraint": CONSTRAINT,
})
