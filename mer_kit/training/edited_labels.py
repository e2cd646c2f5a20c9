"""A trained LE-MER whose labels are made of other keywords: what it attends to and says then.

    L_t' = L_t + E(new keywords) - E(old keywords)

with L_t as it was learnt and E the embedding of a class's keywords (`semantic_embeddings`), read by the trained text
encoder, whose states G_t compares with the labels. What encoders say of an utterance does not depend on labels: it is
computed once, and only what depends on labels anew.

L_t' moves G_t, A_l and the classes that (2) tells from the words alone. It moves the classifier where A_l fuses (C2,
C3); C1 fuses by A_r, which labels teach and do not enter: there the head has to be trained again, encoders and labels
held fixed, on the constraint of the new A_l.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mer_kit.errors import BadInput, unknown
from mer_kit.features.batching import Batches
from mer_kit.features.inputs import FrozenStates, Passed, collate
from mer_kit.guidance.controls import synonyms
from mer_kit.guidance.keywords import keywords
from mer_kit.guidance.label_embeddings import GuidanceConfig, semantic_embeddings
from mer_kit.models.lemer import LEMER, guidance_logits, guidance_mask
from mer_kit.training.attention import attention_samples, word_attention
from mer_kit.training.fit import fit
from mer_kit.training.restore import Trained

HEAD_EPOCHS = 1  # of training the head again
Words = Mapping[str, Sequence[str]]  # class -> its keywords


@dataclass(frozen=True)
class EditedLabels:
    """A trained LE-MER over the states of its encoders, asked with keywords of one's choice.

    >>> edited = EditedLabels(restored(Experiment(), ledger))                          # doctest: +SKIP
    >>> model = edited.model(edited.words | {"sad": ("tears", "alone")})               # doctest: +SKIP
    >>> edited.said(model)[["id", "predicted", "by_words"]]                            # doctest: +SKIP
    """

    trained: Trained

    def __post_init__(self) -> None:
        experiment = self.trained.experiment
        if experiment.model != "lemer":
            raise BadInput(f"got the model {experiment.model!r}; expected 'lemer', whose labels are made of keywords")
        told = experiment.guidance
        if told.semantic == "random" or told.control not in ("none", "synonyms"):
            raise BadInput(f"got labels that start from semantic={told.semantic!r}, control={told.control!r}; expected "
                           "a run whose labels start from words: semantic='tf-idf' or 'label words', control='none'")

    @cached_property
    def words(self) -> dict[str, tuple[str, ...]]:
        """The keywords of each class that the run's labels started from."""
        trained, told = self.trained, self.trained.experiment.guidance
        train, classes = trained.stage.rows.loc[list(trained.fold.train)], self.classes
        if told.semantic == "label words":
            words = {c: [c] for c in classes}
        else:
            table = keywords(train["text"], train["label"], classes, top_k=told.top_words)
            words = {c: list(table["word"][table["class"] == c]) for c in classes}
        words = synonyms(words) if told.control == "synonyms" else words
        return {c: tuple(own) for c, own in words.items()}

    @property
    def classes(self) -> tuple[str, ...]:
        return self.trained.stage.corpus.label_set.classes

    def embedded(self, words: Words) -> Tensor:
        """E (C, d_t) of the keywords of every class."""
        self._check(words)
        rows = [(c, rank, word) for c in self.classes for rank, word in enumerate(words[c], 1)]
        told = GuidanceConfig(top_words=len(rows))
        tokenizer = self.trained.stage.text(self.trained.fold)[0]
        return semantic_embeddings(told, self.trained.model.text_encoder, tokenizer, self.classes,
                                   pd.DataFrame(rows, columns=["class", "rank", "word"]))

    def moved(self, words: Words) -> Tensor:
        """L_t' (C, d_t)."""
        L_t = self.trained.model.L_t.detach().cpu()
        return L_t + self.embedded(words) - self._embedded

    @cached_property
    def _embedded(self) -> Tensor:
        return self.embedded(self.words)

    def model(self, words: Words, retrain: bool = False) -> LEMER:
        """The trained model with L_t', over states instead of inputs; retrain: its head trained again, see above."""
        whole = self.trained.model
        model = LEMER(*(Passed(e.dim, getattr(e, "frame_rate", None)) for e in (
            whole.text_encoder, whole.speech_encoder)), self.moved(words), whole.L_s.cpu(), whole.config)
        head = {n: w for n, w in whole.state_dict().items() if n != "L_t" and "_encoder." not in n}
        model.load_state_dict(head, strict=False)
        for label in (model.L_t, model.L_s):
            label.requires_grad_(False)
        if retrain:
            told = self.trained.experiment.train
            told = replace(told, epochs=HEAD_EPOCHS, selection="last epoch", rates={"rest": told.rates["rest"]})
            fit(model, self._batches(self.trained.fold.train, told.batch_size, told.seed), told, self.classes,
                device="cpu", progress=False)
        return model.eval()

    @torch.no_grad()
    def said(self, model: LEMER) -> pd.DataFrame:
        """Of the test part: id, truth, predicted, by_words (the class that (2) tells by the words), p_<class>."""
        classes, tables = np.array(self.classes), []
        for batch in self._test:
            output = model(batch)
            own = guidance_mask(output.masks["tokens"], batch, model.config)
            by_words = guidance_logits(output.attention["label_token"], own).argmax(dim=1)
            p = output.logits.softmax(dim=1).numpy()
            told = {"id": batch.ids, "truth": classes[batch.labels], "predicted": classes[p.argmax(axis=1)],
                    "by_words": classes[by_words]}
            tables.append(pd.DataFrame(told | {f"p_{c}": p[:, i] for i, c in enumerate(classes)}))
        return pd.concat(tables, ignore_index=True)

    def looks(self, model: LEMER, utterance: str) -> np.ndarray:
        """G_t on the words of an utterance, (words, C)."""
        text = self.trained.stage.text(self.trained.fold)[1]
        samples = attention_samples(model, self._batches([utterance], 1), text.words, maps=0)
        return word_attention(samples, utterance, self.trained.stage.corpus[utterance].text or "")

    @cached_property
    def _test(self) -> list:
        return list(self._batches(self.trained.fold.test, 64))

    @cached_property
    def _states(self) -> dict[str, FrozenStates]:
        stage, model = self.trained.stage, self.trained.model
        given = {"text": stage.text(self.trained.fold)[1], "speech": stage.speech}
        return {m: FrozenStates(getattr(model, f"{m}_encoder"), inputs) for m, inputs in given.items()}

    def _batches(self, utterances: Iterable[str], size: int, seed: int | None = None) -> Batches:
        ids, stage = list(utterances), self.trained.stage
        text, speech = (self._states[m].fill(ids, progress=False) for m in ("text", "speech"))
        return Batches(ids, [len(speech(u)) for u in ids], size,
                       lambda chosen: collate(chosen, text, speech, stage.numbers), seed)

    def _check(self, words: Words) -> None:
        """Refuse what cannot be embedded: a class unknown or without a keyword, a word that no token stands for."""
        if strangers := [c for c in words if c not in self.classes]:
            raise unknown("class", strangers[0], self.classes)
        if bare := [c for c in self.classes if not words.get(c)]:
            raise BadInput(f"class {bare[0]!r} has no keyword; expected one or more for every class")
        tokenizer = self.trained.stage.text(self.trained.fold)[0]
        for word in {w for own in words.values() for w in own}:
            if set(tokenizer(word, add_special_tokens=False)["input_ids"]) <= {tokenizer.unk_token_id}:
                raise BadInput(f"the text encoder has no token for the keyword {word!r}; expected words in the "
                               "letters that it was trained on")
