"""Folds that keep speakers and dialogues apart, whatever the corpus, and refusals where they cannot."""

from __future__ import annotations

import random
from dataclasses import replace
from types import MappingProxyType

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mer_kit.corpora import load_corpus, make_table
from mer_kit.corpora.corpus import Corpus
from mer_kit.corpora.protocols import PARTS, Fold, Protocol, is_under, make_protocol, usual_scheme
from mer_kit.errors import BadInput
from mer_kit.labels import LabelSet

LABELS = LabelSet("toy-2", ("joy", "anger"), MappingProxyType({"joy": "joy", "anger": "anger"}))


def row(uid: str, session: str, dialogue: str, speaker: str, label: str, **more) -> dict:
    return {"id": uid, "session": session, "dialogue": dialogue, "speaker": speaker, "raw_label": label,
            "text": uid, "audio": None, "start": None, "end": None, "line": uid, **more}


def corpus_of(rows: list[dict]) -> Corpus:
    return Corpus("toy", LABELS, make_table(rows, LABELS, order="line"), "none")


def dyads(sessions: int, turns: int = 8) -> list[dict]:
    """Per session one dialogue of two speakers of its own; both classes everywhere, every eighth turn history only."""
    return [row(f"s{s}t{t}", f"S{s}", f"d{s}", f"S{s}{'FM'[t % 2]}", ("joy", "anger")[t // 2 % 2] if t < 7 else "other",
                split=PARTS[s % 3]) for s in range(sessions) for t in range(turns)]


def whose(corpus: Corpus, ids: tuple[str, ...], column: str) -> set[str]:
    return set(corpus.table.set_index("id", drop=False)[column].loc[list(ids)])


def test_session_out_rotates_test_and_dev():
    corpus = corpus_of(dyads(5))
    protocol = make_protocol(corpus)
    assert (protocol.name, protocol.selection, protocol.teaching) == ("toy-2/session-out", "dev", False)
    assert protocol.title == protocol.name
    assert [f.name for f in protocol.folds] == ["S0", "S1", "S2", "S3", "S4"]
    assert [whose(corpus, f.dev, "session") for f in protocol.folds] == [{"S1"}, {"S2"}, {"S3"}, {"S4"}, {"S0"}]
    assert protocol.folds[0].test == ("s0t0", "s0t1", "s0t2", "s0t3", "s0t4", "s0t5", "s0t6")  # t7 is history
    assert len(protocol.folds[0].train) == 3 * 7


def test_as_published_has_no_dev_and_dev_equal_test_is_marked():
    corpus = corpus_of(dyads(5))
    published = make_protocol(corpus, "session-out/as-published")
    assert (published.selection, published.teaching) == ("last epoch", False)
    assert all(f.dev == () and len(f.train) == 28 and len(f.test) == 7 for f in published.folds)
    cheating = make_protocol(corpus, "session-out/dev=test")
    assert all(f.dev == f.test and len(f.train) == 28 for f in cheating.folds)
    assert (cheating.selection, cheating.teaching) == ("test", True)
    assert cheating.title == "toy-2/session-out/dev=test (teaching only: the epoch is chosen on the test set)"


def test_official_takes_the_split_column_and_as_published_leaves_dev_unused():
    corpus = corpus_of(dyads(3))
    (fold,) = make_protocol(corpus, "official").folds
    assert [whose(corpus, getattr(fold, p), "session") for p in PARTS] == [{"S0"}, {"S1"}, {"S2"}]
    (published,) = make_protocol(corpus, "official/as-published").folds
    assert (published.train, published.dev, published.test) == (fold.train, (), fold.test)


def test_speaker_out_tests_runs_of_units_and_takes_one_unit_as_dev():
    corpus = corpus_of(dyads(7))
    protocol = make_protocol(corpus, "speaker-out-3")  # 7 units in runs of 3, 2, 2
    assert [f.name for f in protocol.folds] == ["fold-1", "fold-2", "fold-3"]
    assert [whose(corpus, f.test, "session") for f in protocol.folds] == [
        {"S0", "S1", "S2"}, {"S3", "S4"}, {"S5", "S6"}]
    assert [whose(corpus, f.dev, "speaker") for f in protocol.folds] == [
        {"S3F", "S3M"}, {"S5F", "S5M"}, {"S0F", "S0M"}]


def test_speakers_chained_by_dialogues_are_one_unit():
    chain = [row(f"c{i}{s}", "S", f"c{i}", s, ("joy", "anger")[i % 2]) for i, (a, b) in enumerate(["ab", "bc", "cd"])
             for s in (a, b)]
    alone = [row(f"{s}{i}", "S", f"{s}{i}", s, ("joy", "anger")[i % 2]) for s in "xyz" for i in range(2)]
    corpus = corpus_of(chain + alone)
    tested = [whose(corpus, f.test, "speaker") for f in make_protocol(corpus, "speaker-out-4").folds]
    assert tested == [{"a", "b", "c", "d"}, {"x"}, {"y"}, {"z"}]
    with pytest.raises(BadInput, match=r"has 4 groups of speakers .*, speaker-out-5 expects at least 5; ask"):
        make_protocol(corpus, "speaker-out-5")


def test_random_is_marked_as_teaching_and_named_by_its_seed():
    corpus = corpus_of(dyads(5))
    protocol = make_protocol(corpus, "random-5")
    assert protocol.teaching and protocol.title.startswith("toy-2/random-5 (teaching only: speakers and dialogues")
    other = make_protocol(corpus, "random-5", seed=1)
    assert other.name == "toy-2/random-5/seed-1" and other.folds != protocol.folds
    assert sorted(len(f.test) for f in protocol.folds) == [7] * 5
    assert make_protocol(corpus, seed=1) == make_protocol(corpus, seed=0)


def test_table_counts_every_fold_part_and_class():
    corpus = corpus_of(dyads(3))
    table = make_protocol(corpus).table(corpus)
    assert table.loc[("S0", "train")].to_dict() == {"joy": 4, "anger": 3}
    assert table.shape == (9, 2) and table.to_numpy().sum() == 3 * 21
    empty = make_protocol(corpus, "session-out/as-published").table(corpus)
    assert empty.loc[("S1", "dev")].tolist() == [0, 0]


def test_speakers_in_two_sessions_are_refused_unless_asked_for():
    rows = dyads(3)
    rows[0]["speaker"] = "S1F"
    corpus = corpus_of(rows)
    with pytest.raises(BadInput, match=r"speaker 'S1F' stands in sessions S0, S1, .*session-out/shared-speakers"):
        make_protocol(corpus)
    assert len(make_protocol(corpus, "session-out/shared-speakers").folds) == 3
    assert make_protocol(corpus, "session-out/shared-speakers/as-published").folds[0].dev == ()
    rows[0]["dialogue"] = "d1"
    for scheme in ("session-out", "session-out/shared-speakers"):
        with pytest.raises(BadInput, match=r"dialogue 'd1' stands in sessions S0, S1, .*ask for speaker-out-k$"):
            make_protocol(corpus_of(rows), scheme)


@pytest.mark.parametrize(("sessions", "scheme", "words"), [
    (1, "session-out", r"fold 'S0' has no train utterance \(sessions: 1\); expected some in each of train, dev, test"),
    (1, "session-out/as-published", r"no train utterance .* each of train, test; ask for another scheme,"),
    (2, "session-out", r"no train utterance \(sessions: 2\).*as-published has no dev"),
    (2, "speaker-out-2", r"no train utterance \(groups of speakers: 2\)"),
    (1, "speaker-out-5", "has 1 groups of speakers .*expects at least 5.*give the corpus more speakers"),
    (1, "random-9", "has 7 labelled utterances, random-9 expects at least 9"),
    (1, "official", r"no dev utterance \(an official split\)"),
])
def test_too_small_corpora_are_refused_with_the_reason(sessions, scheme, words):
    with pytest.raises(BadInput, match=words):
        make_protocol(corpus_of(dyads(sessions)), scheme)


@pytest.mark.parametrize("scheme", ["session-out", "speaker-out-2", "random-2", "session-out/as-published", "official"])
def test_one_utterance_is_refused(scheme):
    with pytest.raises(BadInput):
        make_protocol(corpus_of(dyads(1, turns=1)), scheme)


def test_two_sessions_suffice_without_dev():
    assert len(make_protocol(corpus_of(dyads(2)), "session-out/as-published").folds) == 2


def test_a_class_absent_from_a_training_fold_is_refused_by_fold_and_class():
    rows = [r | {"raw_label": "joy"} if r["session"] == "S0" else r for r in dyads(4)]
    assert len(make_protocol(corpus_of(rows)).folds) == 4
    rows = [r | {"raw_label": "joy"} if r["session"] != "S2" else r for r in dyads(4)]
    with pytest.raises(BadInput, match=r"class 'anger' is absent from the training part of fold 'S1' \(16 utt"):
        make_protocol(corpus_of(rows))


def test_an_official_split_with_holes_is_refused():
    rows = dyads(3)
    rows[2]["split"] = None
    with pytest.raises(BadInput, match=r"no official split for 1 of 21 labelled utterances \(first: s0t2\)"):
        make_protocol(corpus_of(rows), "official")
    without = corpus_of([{k: v for k, v in r.items() if k != "split"} for r in rows])
    with pytest.raises(BadInput, match="no official split for 21 of 21"):
        make_protocol(without, "official")


@pytest.mark.parametrize("scheme", ["sesion-out", "speaker-out", "speaker-out-1", "speaker-out-0", "session-out-5",
                                    "random", "official/shared-speakers", "session-out/", "", "session-out/dev=train"])
def test_unknown_schemes_list_the_valid_ones(scheme):
    with pytest.raises(BadInput, match=r"unknown protocol .*expected one of: session-out, .*speaker-out-5"):
        make_protocol(corpus_of(dyads(5)), scheme)


def test_a_wrong_scheme_names_the_nearest():
    with pytest.raises(BadInput, match="did you mean 'speaker-out-5'"):
        make_protocol(corpus_of(dyads(5)), "speaker-out")


def test_the_protocol_is_a_value():
    fold = Fold("a", ("1",), (), ("2",))
    assert Protocol("p", (fold,), "dev") == Protocol("p", (Fold("a", ("1",), (), ("2",)),), "dev")
    assert hash(Protocol("p", (fold,), "dev"))


@st.composite
def corpora(draw) -> list[dict]:
    """Rows of a random corpus: each session has its own speakers; dialogues of one to three of them; history turns."""
    rows = []
    for d in range(draw(st.integers(3, 14))):
        session = draw(st.integers(0, 4))
        speakers = draw(st.lists(st.integers(0, 4), min_size=1, max_size=3, unique=True))
        for t in range(draw(st.integers(1, 6))):
            label = draw(st.sampled_from(["joy", "anger", "anger", "other"]))
            rows.append(row(f"d{d}t{t}", f"S{session}", f"d{d}", f"S{session}p{speakers[t % len(speakers)]}", label))
    return rows


def protocol_or_reject(rows: list[dict], scheme: str) -> tuple[Corpus, Protocol]:
    corpus = corpus_of(rows)
    try:
        return corpus, make_protocol(corpus, scheme)
    except BadInput:
        assume(False)


SCHEMES = st.sampled_from(["session-out", "session-out/as-published", "speaker-out-2", "speaker-out-3",
                           "speaker-out-4", "speaker-out-3/as-published", "session-out/dev=test"])


@settings(max_examples=50, deadline=None)
@given(corpora(), SCHEMES)
def test_no_speaker_and_no_dialogue_stands_in_training_and_test(rows, scheme):
    corpus, protocol = protocol_or_reject(rows, scheme)
    for fold in protocol.folds:
        parts = [fold.train, fold.test] if scheme.endswith("dev=test") else [fold.train, fold.dev, fold.test]
        for column in ("id", "dialogue", "speaker"):
            values = [whose(corpus, part, column) for part in parts if part]
            assert sum(map(len, values)) == len(set().union(*values))


@settings(max_examples=50, deadline=None)
@given(corpora(), SCHEMES | st.sampled_from(["random-3", "random-4"]))
def test_every_labelled_utterance_is_used_in_each_fold_and_tested_once(rows, scheme):
    corpus, protocol = protocol_or_reject(rows, scheme)
    order = {uid: i for i, uid in enumerate(corpus.targets["id"])}
    for fold in protocol.folds:
        assert {*fold.train, *fold.dev, *fold.test} == set(order)
        for part in PARTS:
            places = [order[uid] for uid in getattr(fold, part)]
            assert places == sorted(places)
    assert sorted(uid for fold in protocol.folds for uid in fold.test) == sorted(order)


@settings(max_examples=35, deadline=None)
@given(corpora(), SCHEMES | st.sampled_from(["random-3"]), st.randoms(use_true_random=False))
def test_folds_do_not_depend_on_the_order_of_rows(rows, scheme, rng: random.Random):
    _, protocol = protocol_or_reject(rows, scheme)
    shuffled = rng.sample(rows, len(rows))
    assert make_protocol(corpus_of(shuffled), scheme) == protocol
    corpus = corpus_of(rows)
    table = corpus.table.sample(frac=1, random_state=rng.randrange(2**31))
    moved = make_protocol(Corpus("toy", LABELS, table, "none"), scheme)
    assert [{p: set(getattr(f, p)) for p in PARTS} for f in moved.folds] == [
        {p: set(getattr(f, p)) for p in PARTS} for f in protocol.folds]


def test_each_corpus_is_usually_scored_with_speakers_left_out_or_by_its_split():
    duet = load_corpus("duet")
    assert usual_scheme(duet) == "session-out"
    assert usual_scheme(replace(duet, name="mine")) == "speaker-out-5"
    assert usual_scheme(replace(duet, table=duet.table.assign(split="train"))) == "official"
    half = duet.table.assign(split=["train"] * 900 + [None] * (len(duet) - 900))
    assert usual_scheme(replace(duet, table=half)) == "session-out"


@pytest.mark.parametrize(("title", "scheme", "corpus", "is_it"), [
    ("duet-4/session-out", "", "duet", True), ("duet-4/session-out", "session-out", "duet", True),
    ("duet-4/session-out/as-published", "", "duet", False), ("duet-4/speaker-out-5", "", "duet", False),
    ("duet-4/session-out/as-published", "session-out", "duet", False), ("meld-7/official", "", "meld", True),
    ("meld-7/official/as-published", "official/as-published", "meld", True), ("nemo-4/speaker-out-5", "", "nemo", True),
    ("duet-7/session-out", "", "duet", False),
    ("my (own)-2/random-5 (teaching only: why)", "random-5", "my (own)", True)])
def test_a_title_stands_for_its_scheme_or_for_the_usual_one(title, scheme, corpus, is_it):
    assert is_under(title, scheme, corpus) == is_it


def test_a_title_stands_for_so_many_classes():
    assert is_under("duet-7/session-out", "", "duet", 7) and is_under("nemo-4/speaker-out-5", "", "nemo", 4)
    assert not is_under("duet-7/session-out", "", "duet", 4)


def test_every_title_stands_for_the_scheme_that_made_it(shared):
    for corpus, schemes in ((load_corpus("duet"), ("session-out", "random-5", "session-out/dev=test")),
                            (load_corpus("meld", shared / "data/meld"), ("official", "official/as-published"))):
        for scheme in schemes:
            title = make_protocol(corpus, scheme).title
            assert is_under(title, scheme, corpus.name)
            assert is_under(title, "", corpus.name) == (scheme == usual_scheme(corpus))
