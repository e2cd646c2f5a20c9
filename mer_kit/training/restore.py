"""A finished run made ready to be asked: any utterances of its corpus, as they are or damaged on purpose."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from mer_kit.batch import Batch, ModelOutput
from mer_kit.corpora.protocols import Fold
from mer_kit.features.batching import length_buckets
from mer_kit.features.inputs import SpeechInputs, TextInputs, collate
from mer_kit.guidance.label_embeddings import GuidanceConfig
from mer_kit.training.attention import samples_of
from mer_kit.training.building import build, encoders_of
from mer_kit.training.experiments import Experiment, run, stage_of
from mer_kit.training.fit import find_device
from mer_kit.training.presets import MODELS
from mer_kit.training.runs import Run
from mer_kit.training.stage import Stage

Words = Callable[[str, str], str]  # utterance, text -> text
Sound = Callable[[str, np.ndarray], np.ndarray]  # utterance, samples (n,) -> samples


@dataclass(frozen=True)
class Trained:
    """A model with its encoders whole, in evaluation mode, and where its inputs come from."""

    experiment: Experiment
    stage: Stage
    fold: Fold
    model: nn.Module

    @torch.no_grad()
    def outputs(self, utterances: Iterable[str], words: Words | None = None, sound: Sound | None = None,
                history_turns: int | None = None, size: int = 64) -> Iterator[tuple[Batch, ModelOutput]]:
        """Batches of like length and what the model says of them.

        words, sound: what is done to each utterance's text and samples before the model reads them; the words
        of earlier turns come with the same damage. history_turns: other than in training.
        """
        utterances, stage = list(utterances), self.stage
        modalities = MODELS[self.experiment.model]
        text = self._text(utterances, words, history_turns) if "text" in modalities else None
        speech = self._speech(stage.speech, sound) if "speech" in modalities else None
        picture = None
        if hasattr(self.model, "spectrogram_encoder"):
            picture = speech if stage.frames is stage.speech else self._speech(stage.frames, sound)
        lengths = [len(speech(u)) if speech else len(text(u)[0]) for u in utterances]
        device = next(self.model.parameters()).device
        for chosen in length_buckets(lengths, size):
            batch = collate([utterances[i] for i in chosen], text, speech, stage.numbers,
                            picture and (lambda u: stage.bands(picture(u))))
            yield batch, self.model(batch.to(device))

    def samples(self, utterances: Iterable[str], maps: int = 6) -> dict[str, Tensor]:
        """What the model attends to in each utterance, as `attention.samples_of` gives it, with its words."""
        words = self.stage.text(self.fold)[1].words if "text" in MODELS[self.experiment.model] else None
        return samples_of(self.model, self.outputs(utterances), words, maps)

    def predict(self, utterances: Iterable[str], **damage) -> pd.DataFrame:
        """Columns id, truth, predicted, p_<class>, and gate_audio, gate_text of a model with a gate.

        damage: `words`, `sound`, `history_turns` of `outputs`.
        """
        classes, tables = np.array(self.stage.corpus.label_set.classes), []
        for batch, output in self.outputs(utterances, **damage):
            p = output.logits.softmax(dim=1).cpu().numpy()
            said = {"id": batch.ids, "truth": classes[batch.labels], "predicted": classes[p.argmax(axis=1)]}
            table = pd.DataFrame(said | {f"p_{c}": p[:, i] for i, c in enumerate(classes)})
            if "gate" in output.attention:
                table[["gate_audio", "gate_text"]] = output.attention["gate"].cpu().numpy()
            tables.append(table)
        return pd.concat(tables, ignore_index=True)

    def _text(self, asked: list[str], words: Words | None, history_turns: int | None) -> TextInputs:
        tokenizer, usual = self.stage.text(self.fold)
        if words is None and history_turns is None:
            return usual
        table = self.stage.corpus.table
        table = table[table["dialogue"].isin(set(self.stage.rows.loc[asked, "dialogue"]))]
        texts = table["text"].fillna("")
        if words is not None:
            texts = [words(u, text) for u, text in zip(table["id"], texts, strict=True)]
        changed = replace(self.stage.corpus, table=table.assign(text=texts))
        turns = usual.history_turns if history_turns is None else history_turns
        return TextInputs(changed, tokenizer, turns, usual.max_tokens)

    def _speech(self, usual: SpeechInputs, sound: Sound | None) -> SpeechInputs:
        return usual if sound is None else _damaged(usual, self.stage.encoders.max_seconds, sound)


@lru_cache(maxsize=8)  # `robustness.damages` asks one model after the other under several
def _damaged(usual: SpeechInputs, max_seconds: float, sound: Sound) -> SpeechInputs:
    """Inputs with the same damage (by equality of `sound`), made once for all models that share the usual ones."""
    return SpeechInputs(usual.corpus, usual.kind, max_seconds, damage=sound)


def restored(experiment: Experiment, ledger: Path | str, progress: bool = True, device: str = "auto") -> Trained:
    """The finished run of an experiment, trained now where the ledger lacks it."""
    finished = run(experiment, ledger, progress, device)
    starts = {m: run(start, ledger, progress, device) for m, start in experiment.starts_from.items()
              if experiment.frozen}
    return loaded(experiment, finished, starts, device)


def loaded(experiment: Experiment, finished: Run, starts: Mapping[str, Run], device: str = "auto") -> Trained:
    """The model of a finished run. starts: the runs that its frozen encoders come from."""
    stage = stage_of(experiment)
    fold = stage.protocol.folds[experiment.fold]
    anyhow = replace(experiment, guidance=GuidanceConfig("random", "random"))  # weights come from the run
    model = build(anyhow, stage, fold, {})
    model.load_state_dict(finished.weights)
    if experiment.frozen:
        encoders = encoders_of(experiment, stage, fold, starts)
        for modality in experiment.frozen:
            setattr(model, f"{modality}_encoder", encoders[modality])
    return Trained(experiment, stage, fold, model.to(find_device(device)).eval())
