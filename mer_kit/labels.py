"""Emotions, their one colour everywhere, and the label sets of the corpora."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from mer_kit.errors import pick

# Okabe and Ito's palette, told apart by colour-blind readers, with a grey for the absence of emotion.
COLOURS = MappingProxyType({
    "anger": "#D55E00",
    "joy": "#E69F00",
    "neutral": "#8A8A8A",
    "sadness": "#0072B2",
    "surprise": "#56B4E9",
    "fear": "#CC79A7",
    "disgust": "#009E73",
    "excitement": "#F0E442",
    "frustration": "#5B3A1E",
})

# What corpora call the emotions above.
_EMOTION_OF = {
    "ang": "anger", "angry": "anger",
    "hap": "joy", "happy": "joy", "happiness": "joy",
    "neu": "neutral",
    "sad": "sadness",
    "sur": "surprise", "surprised": "surprise",
    "fea": "fear",
    "dis": "disgust",
    "exc": "excitement", "excited": "excitement",
    "fru": "frustration", "frustrated": "frustration",
}


def emotion_of(label: str) -> str:
    """The emotion behind a corpus's label: `emotion_of("ang")`, `("angry")` and `("anger")` are all "anger"."""
    return pick("emotion label", label, {**{e: e for e in COLOURS}, **_EMOTION_OF})


def colour(label: str) -> str:
    """The colour of a label, the same in every figure and widget (hex)."""
    return COLOURS[emotion_of(label)]


@dataclass(frozen=True)
class LabelSet:
    """The classes of a task, in order, and which raw labels of a corpus fall into each.

    Turns whose raw label is in no class keep `label = None`: they stay as history and are never scored.
    """

    name: str  # "iemocap-4": corpus and number of classes
    classes: tuple[str, ...]
    class_of: Mapping[str, str]  # raw label -> class

    def __len__(self) -> int:
        return len(self.classes)

    def index(self, label: str) -> int:
        """The class's number, 0 .. C - 1."""
        return pick("class", label, {c: i for i, c in enumerate(self.classes)})

    @property
    def palette(self) -> dict[str, str]:
        """Class -> colour, in class order."""
        return {c: colour(c) for c in self.classes}


def _label_set(name: str, **raw_to_class: str) -> LabelSet:
    return LabelSet(name, tuple(dict.fromkeys(raw_to_class.values())), raw_to_class)


def _as_they_are(name: str, labels: str) -> LabelSet:
    return _label_set(name, **{label: label for label in labels.split()})


SEVEN = "anger disgust fear joy neutral sadness surprise"

LABEL_SETS = MappingProxyType({s.name: s for s in (  # a corpus's usual one stands before its others
    _label_set("duet-4", anger="angry", joy="happy", sadness="sad", neutral="neutral"),
    _as_they_are("duet-7", SEVEN),
    _label_set("iemocap-4", ang="angry", hap="happy", exc="happy", sad="sad", neu="neutral"),
    _label_set("iemocap-6", ang="angry", hap="happy", exc="excited", sad="sad", neu="neutral", fru="frustrated"),
    _as_they_are("meld-7", SEVEN),
    _label_set("nemo-4", anger="angry", happiness="happy", sadness="sad", neutral="neutral"),
    _as_they_are("nemo-6", "anger fear happiness neutral sadness surprised"),
)})


def label_set(name: str) -> LabelSet:
    """A label set by name, such as "iemocap-4"; a wrong name lists the valid ones."""
    return pick("label set", name, LABEL_SETS)
