"""Protocols: which utterances train, choose the epoch and test, in folds under a name that stands on every result.

    session-out        one fold a session; dev is the next session, cyclically
    speaker-out-k      k folds over the sorted speakers; dev is one training speaker
    official           the corpus's own split
    random-k           k folds of utterances, whoever says them (for teaching)

`…/as-published` has no dev set: its utterances train (official: stay unused, as in LSGMER), the last epoch counts.
`…/dev=test` chooses the epoch on the test set (for teaching). `session-out/shared-speakers` allows speakers who stand
in several sessions. Folds hold labelled utterances only and never depend on the order of rows or folders. Where they
could not be honest they are refused: the error says why, and what to ask for instead.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from mer_kit.corpora.corpus import Corpus
from mer_kit.errors import BadInput, unknown
from mer_kit.labels import LABEL_SETS

PARTS = ("train", "dev", "test")
SCHEMES = ("session-out", "session-out/shared-speakers", "speaker-out-5", "official", "random-5",
           "session-out/as-published", "session-out/dev=test")
_GRAMMAR = re.compile(r"(?:(?P<folds>speaker-out|random)-(?P<k>[2-9]|[1-9]\d+)|"
                      r"(?P<whole>session-out(?:/shared-speakers)?|official))(?P<dev>/as-published|/dev=test)?")
_SELECTION = MappingProxyType({"": "dev", "/as-published": "last epoch", "/dev=test": "test"})
_USUAL = MappingProxyType({"duet": "session-out", "iemocap": "session-out"})


@dataclass(frozen=True)
class Fold:
    """Ids of labelled utterances, in table order."""

    name: str  # the session tested, or "fold-1", "fold-2" ..., or "official"
    train: tuple[str, ...]
    dev: tuple[str, ...]
    test: tuple[str, ...]


@dataclass(frozen=True)
class Protocol:
    """Folds under a name; results join only where the names are equal."""

    name: str  # "iemocap-4/session-out"
    folds: tuple[Fold, ...]
    selection: str  # the epoch is chosen on "dev" or on "test", or is the "last epoch"
    teaching: bool = False  # True: flawed on purpose; its numbers are marked wherever they appear
    note: str = ""

    @property
    def title(self) -> str:
        """The name as it stands beside numbers: 'duet-4/random-5 (teaching only: …)'."""
        return f"{self.name} (teaching only: {self.note})" if self.teaching else self.name

    def table(self, corpus: Corpus) -> pd.DataFrame:
        """Utterances by (fold, part) in the rows and class in the columns."""
        label_of = corpus.targets.set_index("id")["label"]
        counts = {(fold.name, part): label_of.loc[list(getattr(fold, part))].value_counts()
                  for fold in self.folds for part in PARTS}
        table = pd.DataFrame(counts, index=list(corpus.label_set.classes)).T.fillna(0).astype(int)
        return table.rename_axis(index=["fold", "part"], columns="class")

    def roles(self, corpus: Corpus, by: str) -> pd.DataFrame:
        """What each session, speaker or split (column `by`) does in each fold.

        Rows folds, columns groups, cells "train", "dev", "test", "mixed" or "unused".
        """
        group_of = corpus.table.set_index("id")[by].fillna("none")
        groups = sorted(group_of.loc[corpus.targets["id"]].unique())
        roles = pd.DataFrame("unused", [fold.name for fold in self.folds], pd.Index(groups, name=by))
        for fold in self.folds:
            for part in PARTS:
                for group in group_of.loc[list(getattr(fold, part))].unique():
                    roles.loc[fold.name, group] = part if roles.loc[fold.name, group] == "unused" else "mixed"
        return roles


def usual_scheme(corpus: Corpus) -> str:
    """The scheme under which a corpus is usually scored: its official split, or what leaves whole speakers out."""
    if "split" in corpus.targets and corpus.targets["split"].notna().all():
        return "official"
    return _USUAL.get(corpus.name, "speaker-out-5")


def is_under(title: str, scheme: str, corpus: str, classes: int | None = None) -> bool:
    """Does a protocol's title stand for this scheme and so many classes; without: for what is usual for this corpus?

    >>> is_under("duet-4/session-out/as-published", "", "duet")
    False
    """
    labels, _, said = title.partition("/")
    usual = next((name for name in LABEL_SETS if name.startswith(f"{corpus}-")), labels)
    return (said.partition(" (")[0] in ((scheme,) if scheme else ("official", _USUAL.get(corpus, "speaker-out-5")))
            and labels == (f"{corpus}-{classes}" if classes else usual))


def make_protocol(corpus: Corpus, scheme: str = "session-out", seed: int = 0) -> Protocol:
    """The protocol of a corpus under a scheme of this module's list; `seed` moves random-k only.

    >>> make_protocol(load_corpus("duet"), "session-out").name              # doctest: +SKIP
    'duet-4/session-out'
    """
    found = _GRAMMAR.fullmatch(scheme)
    if not found:
        raise unknown("protocol", scheme, SCHEMES)
    base, k, dev = found["folds"] or found["whole"], int(found["k"] or 0), found["dev"] or ""
    if base == "official":
        folds, units = _official(corpus), "an official split"
    else:
        cut = _cut(corpus, base, k, seed)
        folds, units = _rotate(corpus.targets["id"].to_numpy(), cut, with_dev=not dev), cut.units
    if dev:
        folds = [replace(fold, dev=fold.test if dev == "/dev=test" else ()) for fold in folds]
    name = f"{corpus.label_set.name}/{scheme}" + (f"/seed-{seed}" if base == "random" and seed else "")
    _refuse_unfit(corpus, name, folds, units, PARTS if dev != "/as-published" else ("train", "test"))
    flaws = ["speakers and dialogues stand in both training and test"] * (base == "random")
    flaws += ["the epoch is chosen on the test set"] * (dev == "/dev=test")
    return Protocol(name, tuple(folds), _SELECTION[dev], bool(flaws), "; ".join(flaws))


def _official(corpus: Corpus) -> list[Fold]:
    targets = corpus.targets
    if "split" not in targets or targets["split"].isna().any():
        lacking = targets["id"] if "split" not in targets else targets["id"][targets["split"].isna()]
        raise BadInput(f"corpus {corpus.name!r} has no official split for {len(lacking)} of {len(targets)} labelled "
                       f"utterances (first: {lacking.iloc[0]}); fill its column split, or ask for session-out")
    return [Fold("official", *(tuple(targets["id"][targets["split"] == part]) for part in PARTS))]


@dataclass(frozen=True)
class _Cut:
    """Labelled utterances, each with the fold that tests it."""

    names: list[str]  # of the folds
    fold: np.ndarray  # (utterances,) number of the fold that tests it
    may_be_dev: np.ndarray  # (utterances,) does it belong to the dev part of the fold before?
    units: str  # what was cut, for errors: "5 sessions"


def _cut(corpus: Corpus, base: str, k: int, seed: int) -> _Cut:
    match base:
        case "speaker-out":
            return _by_speaker(corpus, k)
        case "random":
            return _by_chance(corpus, k, seed)
    return _by_session(corpus, ("dialogue",) if base.endswith("shared-speakers") else ("dialogue", "speaker"))


def _by_session(corpus: Corpus, whole: tuple[str, ...]) -> _Cut:
    """`whole`: the columns whose values must not stand in two sessions."""
    for column in whole:
        sessions = corpus.table.groupby(column)["session"].unique()
        if len(twice := sessions[sessions.map(len) > 1]):
            raise BadInput(f"corpus {corpus.name!r}: {column} {twice.index[0]!r} stands in sessions "
                           f"{', '.join(sorted(twice.iloc[0]))}, so session-out would train on what it tests; ask for "
                           "speaker-out-k" + ", or by name for session-out/shared-speakers" * (column == "speaker"))
    names, fold = np.unique(corpus.targets["session"].to_numpy(str), return_inverse=True)
    return _Cut(names.tolist(), fold, np.full(len(fold), True), f"sessions: {len(names)}")


def _by_speaker(corpus: Corpus, k: int) -> _Cut:
    """Units are speakers joined by the dialogues they share, in the order of their first names; dev is one unit."""
    table = corpus.table
    speakers, speaker = np.unique(table["speaker"].to_numpy(str), return_inverse=True)
    dialogues, dialogue = np.unique(table["dialogue"].to_numpy(str), return_inverse=True)
    size = len(speakers) + len(dialogues)
    shares = coo_array((np.ones(len(table)), (speaker, len(speakers) + dialogue)), shape=(size, size))
    component = pd.Series(connected_components(shares, directed=False)[1][speaker])
    first = pd.Series(speaker).groupby(component).transform("min").to_numpy()
    _, unit = np.unique(first[table["label"].notna()], return_inverse=True)
    fold, start = _in_parts(corpus, f"speaker-out-{k}", unit, k, "groups of speakers who share dialogues")
    return _Cut([f"fold-{i + 1}" for i in range(k)], fold[unit], start[unit], f"groups of speakers: {len(fold)}")


def _by_chance(corpus: Corpus, k: int, seed: int) -> _Cut:
    rank = corpus.targets["id"].to_numpy(str).argsort().argsort()  # the same for any order of rows
    unit = np.random.default_rng(seed).permutation(len(rank))[rank]
    fold, _ = _in_parts(corpus, f"random-{k}", unit, k, "labelled utterances")
    return _Cut([f"fold-{i + 1}" for i in range(k)], fold[unit], np.full(len(unit), True), f"utterances: {len(unit)}")


def _in_parts(corpus: Corpus, scheme: str, unit: np.ndarray, k: int, what: str) -> tuple[np.ndarray, np.ndarray]:
    """Units 0 .. n - 1 in k runs of near equal length: each unit's run, and whether it begins one."""
    units = unit.max(initial=-1) + 1
    if units < k:
        raise BadInput(f"corpus {corpus.name!r} has {units} {what}, {scheme} expects at least {k}; ask for fewer "
                       "folds, for session-out or official, or give the corpus more speakers")
    run = np.repeat(np.arange(k), [len(part) for part in np.array_split(np.arange(units), k)])
    return run, np.diff(run, prepend=-1) > 0


def _rotate(ids: np.ndarray, cut: _Cut, with_dev: bool) -> list[Fold]:
    folds = []
    for i, name in enumerate(cut.names):
        test = cut.fold == i
        dev = (cut.fold == (i + 1) % len(cut.names)) & cut.may_be_dev & ~test & with_dev
        folds.append(Fold(name, *(tuple(ids[part].tolist()) for part in (~test & ~dev, dev, test))))
    return folds


def _refuse_unfit(corpus: Corpus, name: str, folds: list[Fold], units: str, needed: tuple[str, ...]) -> None:
    """Refuse an empty part, and a class absent from a training part."""
    label_of = corpus.targets.set_index("id")["label"]
    for fold in folds:
        if empty := [part for part in needed if not getattr(fold, part)]:
            raise BadInput(f"{name}: fold {fold.name!r} has no {empty[0]} utterance ({units}); expected some in "
                           f"each of {', '.join(needed)}; ask for another scheme"
                           + " (…/as-published has no dev part)" * ("dev" in needed)
                           + ", or give the corpus more sessions and speakers")
        absent = [c for c in corpus.label_set.classes if c not in set(label_of.loc[list(fold.train)])]
        if absent:
            raise BadInput(f"{name}: class {absent[0]!r} is absent from the training part of fold {fold.name!r} "
                           f"({len(fold.train)} utterances); expected every class in each; ask for more folds, another "
                           "scheme or a label set without it")
