"""LSGMER's tables, its parameter studies, and the readings that its text leaves open, as experiments."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

from mer_kit.evaluation.published import published
from mer_kit.models.lsgmer import WITHOUT
from mer_kit.training.experiments import Experiment
from mer_kit.training.studies import Study

LSGMER = Experiment("lsgmer")
UNGUIDED = {**WITHOUT["LSMA"], **WITHOUT["JOO"]}


def _lsgmer(**changed) -> Experiment:
    return replace(LSGMER, lsgmer=replace(LSGMER.lsgmer, **changed))


def _table(name: str) -> Study:
    others = [system for system in published("LSGMER", name)["system"].unique() if system != "LSGMER"]
    return Study("How does LSGMER compare with what came before?", {"LSGMER": LSGMER}, reference="LSGMER",
                 paper="LSGMER", table=name, reasons=dict.fromkeys(others, "a system of another paper"))


TABLE_1, TABLE_2 = (_table(name) for name in ("Table I", "Table II"))

TABLE_3 = Study("What does each part add?", {
    "LSGMER": LSGMER,
    "w/o MA": _lsgmer(**WITHOUT["MA"]),
    "w/o JOO": _lsgmer(**WITHOUT["JOO"]),
    "w/o LSMA & JOO": _lsgmer(**UNGUIDED),
}, reference="LSGMER", paper="LSGMER", table="Table III")

INPUTS = Study("Is it better than one modality alone, by the encoders that it starts from?", {
    "LSGMER": LSGMER, **LSGMER.starts_from}, reference="LSGMER")

READINGS = Study("Does it matter how the text's gaps are read?", {
    "LSGMER": LSGMER,
    "(7): mean under the label's attention": _lsgmer(original="label attention"),
    "(10): a pair of weights for each label": _lsgmer(gate="label"),
    "(12): all C x d numbers into the MLP": _lsgmer(gate="flat"),
    "(16): divided by C once more": _lsgmer(apc_mean="literal"),
    "modality dropout 0.3": _lsgmer(modality_dropout=0.3),
}, reference="LSGMER")

WEIGHTS = Study("How strong should the consistency loss be?", {
    f"beta = {beta:g}": _lsgmer(beta=beta) for beta in (0.01, 0.05, 0.1, 0.5, 1.0)}, reference="beta = 0.05")

RATES = Study("How slowly should labels move?", {
    f"rate = {rate:g}": _lsgmer(ma_rate=rate) for rate in (0.0, 0.5, 0.9, 0.99, 0.999)}, reference="rate = 0.99")

STUDIES = MappingProxyType({
    "lsgmer/table-1": TABLE_1, "lsgmer/table-2": TABLE_2, "lsgmer/table-3": TABLE_3, "lsgmer/inputs": INPUTS,
    "lsgmer/readings": READINGS, "lsgmer/weights": WEIGHTS, "lsgmer/rates": RATES,
})
