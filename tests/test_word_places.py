"""Which word of a text each token stands in."""

from __future__ import annotations

import pytest

from mer_kit.corpora.corpus import Corpus, make_table
from mer_kit.encoders.text import train_tokenizer
from mer_kit.features.inputs import TextInputs
from mer_kit.labels import label_set

TEXTS = ["we are unhappy, again!", "  odd\tspace \u2003 here  ", "", "😀 <b>so</b> שלום can't", "well"]


def inputs_of(texts: list[str], **options) -> TextInputs:
    rows = [{"id": f"u{i}", "dialogue": "d", "turn": i, "speaker": "A", "session": "1", "text": text, "audio": None,
             "start": None, "end": None, "raw_label": "anger"} for i, text in enumerate(texts)]
    labels = label_set("duet-4")
    corpus = Corpus("tiny", labels, make_table(rows, labels, "turn"), "none")
    return TextInputs(corpus, train_tokenizer(["we are happy again", "so we are well"], 60), **options)


@pytest.mark.parametrize("turn", range(len(TEXTS)))
def test_the_tokens_of_a_word_are_that_words_own(turn):
    inputs = inputs_of(TEXTS)
    (ids, current), places = inputs(f"u{turn}"), inputs.words(f"u{turn}")
    assert places.shape == ids.shape and places[~current].eq(-1).all()
    for i, word in enumerate(TEXTS[turn].split()):
        alone = inputs.tokenizer(word, add_special_tokens=False)["input_ids"]
        assert ids[places == i].tolist() == alone
    assert places.max() == len(TEXTS[turn].split()) - 1


def test_a_text_cut_off_has_no_tokens_of_its_last_words():
    inputs = inputs_of(["we are unhappy, again!"], max_tokens=5)
    assert inputs.words("u0").tolist() == [-1, 0, 1, 2, -1]
