"""JFM + ICL's tables, its parameter studies, and the readings that its text leaves open, as experiments."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

from mer_kit.models.jfm import WITHOUT
from mer_kit.training.experiments import Experiment
from mer_kit.training.studies import Study

JFM = Experiment("jfm")


def _jfm(**changed) -> Experiment:
    return replace(JFM, jfm=replace(JFM.jfm, **changed))


TABLE_1 = Study("Are both modalities better than one?", {
    "T": Experiment("jfm-text"),
    "A": Experiment("jfm-speech"),
    "T+A": JFM,
}, reference="T+A", paper="JFM", table="Table 1",
    printed={"T": ("JFM", "text"), "A": ("JFM", "audio"), "T+A": ("JFM", "audio+text")},
    reasons=dict.fromkeys(("SCFA", "MultiEMO"), "a system of another paper"))

TABLE_2 = Study("What does each part add?", {
    "JFM": JFM, **{f"w/o {part}": _jfm(**settings) for part, settings in WITHOUT.items()}},
    reference="JFM", paper="JFM", table="Table 2")

TABLE_3 = Study("Which fusion?", {
    "JFM": JFM,
    "CFA": _jfm(fusion="cross attention"),
    "Concatenate": _jfm(fusion="concatenation"),
}, reference="JFM", paper="JFM", table="Table 3")

BLOCKS = Study("How many blocks? (Figure 3a)", {f"N = {n}": _jfm(blocks=n) for n in range(1, 6)}, reference="N = 2")

LENGTHS = Study("How many joint vectors? (Figure 3b)", {
    f"|v_j| = {n}": _jfm(joint=n) for n in (1, 2, 4, 8, 16, 24, 32)}, reference="|v_j| = 4")

READINGS = Study("Does it matter how the text's gaps are read?", {
    "JFM": JFM,
    "(1)-(4): streams swapped, as printed": replace(
        _jfm(streams="swapped"), encoders=replace(JFM.encoders, speech_dim=JFM.encoders.text_dim)),
    "(1)-(4): parallel, in the same width": replace(
        JFM, encoders=replace(JFM.encoders, speech_dim=JFM.encoders.text_dim)),
    "(3)-(4): layers not tied": _jfm(tied=False),
    "(7): not scaled to length 1": _jfm(normalise=False),
    "(7): positives in every batch": _jfm(positives=True),
    "(7): tau = 0.5": _jfm(temperature=0.5),
    "F_t: the history's tokens too": _jfm(tokens="all"),
    "F_m: convolutions before the patches": replace(JFM, encoders=replace(JFM.encoders, vision="convolutional")),
}, reference="JFM")

WEIGHTS = Study("How strong should the contrast be?", {
    f"weight = {weight:g}": _jfm(icl=weight) for weight in (0.0, 0.03, 0.1, 0.3, 1.0)}, reference="weight = 0.1")

STUDIES = MappingProxyType({
    "jfm/table-1": TABLE_1, "jfm/table-2": TABLE_2, "jfm/table-3": TABLE_3, "jfm/figure-3a": BLOCKS,
    "jfm/figure-3b": LENGTHS, "jfm/readings": READINGS, "jfm/weights": WEIGHTS,
})
