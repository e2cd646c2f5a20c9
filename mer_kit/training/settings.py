"""Settings of an experiment by name, as a command line gives them: `lsgmer.beta=0.1`, `encoders.text_dim=64`.

A name is GROUP.FIELD. A group is a config that the experiment's model reads (its paper's own; `encoders`; `guidance`,
where label embeddings start from words and sounds), or `train`, which stands for `Experiment.changes`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from mer_kit.errors import BadInput, pick, unknown
from mer_kit.guidance.label_embeddings import GuidanceConfig
from mer_kit.models import jfm, lsgmer
from mer_kit.training.config import TrainConfig
from mer_kit.training.experiments import OWN, Experiment
from mer_kit.training.presets import SETTINGS_OF

WITHOUT = MappingProxyType({  # model -> what its paper's ablations leave out -> its settings
    "lsgmer": lsgmer.WITHOUT, "jfm": jfm.WITHOUT})


def parsed(pairs: Iterable[str]) -> dict[str, str]:
    """{"lsgmer.beta": "0.1"} from ["lsgmer.beta=0.1"]."""
    split = {name: value for name, _, value in (pair.partition("=") for pair in pairs)}
    if bare := [name for name, value in split.items() if not value or "." not in name]:
        raise BadInput(f"got the setting {bare[0]!r}; expected GROUP.FIELD=VALUE, such as lsgmer.beta=0.1")
    return split


def left_out(model: str, parts: Iterable[str]) -> dict[str, Any]:
    """The settings of a model without parts of it, by the names of its paper's ablations."""
    if parts and model not in WITHOUT:
        raise BadInput(f"the model {model!r} has no parts to leave out by name; "
                       f"expected one of: {', '.join(WITHOUT)}")
    return {f"{SETTINGS_OF[model]}.{name}": value for part in parts
            for name, value in pick(f"part of {model}", part, WITHOUT[model]).items()}


def asked(model: str, without: Iterable[str] = (), settings: Mapping[str, Any] = MappingProxyType({}),
          **fields: Any) -> Experiment:
    """The experiment of a model with fields of Experiment, parts left out, and settings, which count most.

    The seed is also that of label embeddings which start random.
    """
    usual = Experiment(model, guidance=GuidanceConfig(seed=fields.get("seed", 0)), **fields)
    return configured(usual, left_out(model, without) | settings)


def configured(experiment: Experiment, settings: Mapping[str, Any]) -> Experiment:
    """The experiment with settings changed, each a value of its field's type, or a text that says one: "0.1", "[1, 2]".

    >>> configured(Experiment("lsgmer"), {"lsgmer.beta": "0.1"}).lsgmer.beta
    0.1
    """
    changed: dict[str, dict[str, Any]] = {}
    for name, value in settings.items():
        group, _, setting = name.partition(".")
        hints = _fields(experiment, name, group)
        changed.setdefault(group, {})[setting] = _typed(name, value, pick(f"setting of {group}", setting, hints))
    new = {group: replace(getattr(experiment, group), **values) for group, values in changed.items()
           if group != "train"}
    return replace(experiment, **new, changes={**experiment.changes, **changed.get("train", {})})


def _fields(experiment: Experiment, name: str, group: str) -> dict[str, Any]:
    """The types of a group's fields; refuses a group that the experiment's model does not read."""
    read = (SETTINGS_OF[experiment.model], *["guidance"] * experiment.guided, "encoders", "train")
    if group not in (known := {*SETTINGS_OF.values(), "guidance", "encoders", "train"}):
        raise unknown("group of settings", group, sorted(known))
    if group not in read:
        labels = "; with labels it reads guidance too" if experiment.model in ("text", "speech") else ""
        raise BadInput(f"the model {experiment.model!r} does not read {name}; it has settings of: {', '.join(read)}"
                       f"{labels if group == 'guidance' else ''}")
    if group == "train":
        return {field: hint for field, hint in get_type_hints(TrainConfig).items() if field in OWN}
    return get_type_hints(type(getattr(experiment, group)))


def _typed(name: str, value: Any, hint: Any) -> Any:
    """The value as the field's type; what is no such value as it stands may be one as JSON: null, [1, 0.5]."""
    adapter = TypeAdapter(hint, config=ConfigDict(allow_inf_nan=False))
    try:
        return adapter.validate_python(value)
    except ValidationError:
        try:
            return adapter.validate_json(value)
        except ValidationError:
            kind = str(getattr(hint, "__name__", hint)).replace("None", "null")
            raise BadInput(f"got {name}={value!r}; expected a value of the type {kind}") from None
