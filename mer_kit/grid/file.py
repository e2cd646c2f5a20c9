"""A grid's file: which notebooks, with which parameters, as jobs.

    notebooks: [train]
    parameters: {CORPUS: duet, EPOCHS: 1}
    grid:
      MODEL: [lemer, lsgmer, jfm]
      FOLD: [0, 1, 2, 3, 4]

It is one such entry, or a list of them. Values are texts, as after `-p` of `mer-kit run`: a parameter's own type says
how its text is read, so that YAML makes no number of `08` and nothing else than a text of `no`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, product
from math import prod
from pathlib import Path
from typing import Annotated, Any

import nbformat
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mer_kit.batch_runs import find_notebooks, plan
from mer_kit.errors import BadInput, MerKitError, unknown

MOST = 10_000  # jobs of one file


class Entry(BaseModel):
    """Notebooks, each run with every combination of the grid's values."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    notebooks: Annotated[list[str], Field(min_length=1)]
    parameters: dict[str, str] = {}
    grid: dict[str, Annotated[list[str], Field(min_length=1)]] = {}

    @property
    def size(self) -> int:
        return len(self.notebooks) * prod(map(len, self.grid.values()))


@dataclass(frozen=True)
class Job:
    """One notebook with one set of values; the name says which, and changes with the notebook's code."""

    name: str
    notebook: Path
    parameters: dict[str, Any]
    varied: dict[str, Any]  # those of the parameters that the grid names


def read_grid(path: Path | str) -> list[Job]:
    """The jobs of a file, each once, in its order, the first name under `grid` changing slowest.

    Raises BadInput with file and line for what is no such file, for notebooks, parameters and values that there are
    not, before anything is run.
    """
    path = Path(path)
    root = _composed(path)
    nodes = root.value if isinstance(root, yaml.SequenceNode) else [root]
    entries = [_entry(path, node) for node in nodes]
    if (size := sum(entry.size for entry in entries)) > MOST:
        raise BadInput(f"{path.name}: {size:,} runs; expected up to {MOST:,}; split the file")
    return list({job.name: job for pair in zip(entries, nodes, strict=True) for job in _jobs(path, *pair)}.values())


def _composed(path: Path) -> yaml.Node:
    """The file as YAML's own nodes, which know their lines; nothing is made of them but texts, lists and mappings."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        root = yaml.compose(text)  # first: it gives up at a depth that takes parsing long
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text)):
            raise BadInput(f"{path.name}: an alias (*name); write what it stands for")
    except OSError as fault:
        raise BadInput(f"{path} cannot be read ({fault.strerror}); expected a grid file, such as "
                       "notebooks/grid/models.yaml") from None
    except RecursionError:
        raise BadInput(f"{path.name} is nested too deeply; expected notebooks, parameters, grid") from None
    except (yaml.YAMLError, ValueError, OverflowError) as fault:  # undecodable bytes, characters that there are not
        mark = getattr(fault, "problem_mark", None)
        raise BadInput(f"{path.name}{f':{mark.line + 1}' if mark else ''}: no YAML: "
                       f"{getattr(fault, 'problem', None) or fault}") from None
    if root is None:
        raise BadInput(f"{path.name} is empty; expected at least: notebooks: [04, 05]")
    return root


def _entry(path: Path, node: yaml.Node) -> Entry:
    try:
        entry = Entry.model_validate(_plain(path, node))
    except ValidationError as fault:
        error = fault.errors()[0]
        where, *loc = error["loc"] or ("entry",)
        with _at(path, node, *error["loc"]):
            if error["type"] == "extra_forbidden":
                raise unknown("entry", where, Entry.model_fields) from None
            raise BadInput(f"{'.'.join(map(str, (where, *loc)))}: {error['msg']}; got {error['input']!r}; expected "
                           "notebooks: [04, 05], parameters: {EPOCHS: 1}, grid: {FOLD: [0, 1]}") from None
    with _at(path, node, "grid"):
        if twice := entry.parameters.keys() & entry.grid.keys():
            raise BadInput(f"{min(twice)} stands under parameters and under grid; leave one of them out")
    return entry


def _plain(path: Path, node: yaml.Node) -> Any:
    """A node as texts, lists and dicts."""
    if isinstance(node, yaml.SequenceNode):
        return [_plain(path, part) for part in node.value]
    if isinstance(node, yaml.ScalarNode):
        with _at(path, node):
            if not node.value.isprintable():
                raise BadInput(f"got {node.value!r}; expected a text of one line, without control characters")
        return node.value
    plain: dict[str, Any] = {}
    for key, value in node.value:
        name = _plain(path, key)
        with _at(path, key):
            if not isinstance(name, str) or name in plain:
                raise BadInput(f"{name!r} stands here twice, or is no name; expected each name once")
        plain[name] = _plain(path, value)
    return plain


def _jobs(path: Path, entry: Entry, node: yaml.Node) -> Iterator[Job]:
    with _at(path, node, "notebooks"):
        notebooks = [notebook.resolve() for notebook in find_notebooks(entry.notebooks)]
        codes = {notebook: _code(notebook) for notebook in notebooks}

    def planned(group: str, name: str, value: str) -> dict[Path, dict[str, Any]]:
        with _at(path, node, group, name):
            return plan(notebooks, {name: value})

    fixed = [planned("parameters", *pair) for pair in entry.parameters.items()]
    choices = [[planned("grid", name, value) for value in values] for name, values in entry.grid.items()]
    for notebook in notebooks:
        for chosen in product(*choices):
            varied = dict(chain.from_iterable(values[notebook].items() for values in chosen))
            given = dict(chain.from_iterable(values[notebook].items() for values in fixed)) | varied
            said = json.dumps([codes[notebook], given], sort_keys=True)
            yield Job(f"{notebook.stem}-{hashlib.sha256(said.encode()).hexdigest()[:12]}", notebook, given, varied)


def _code(notebook: Path) -> list[str]:
    return [cell.source for cell in nbformat.read(notebook, as_version=4).cells if cell.cell_type == "code"]


@contextmanager
def _at(path: Path, node: yaml.Node, *names: str | int) -> Iterator[None]:
    """Within it, errors are told with the file and the line of what the names lead to from a node."""
    try:
        yield
    except MerKitError as error:
        for name in names:
            if isinstance(node, yaml.MappingNode):
                node = next((value for key, value in node.value if key.value == name), node)
            elif isinstance(node, yaml.SequenceNode) and isinstance(name, int):
                node = node.value[name]
        raise BadInput(f"{path.name}:{node.start_mark.line + 1}: {error}") from None
