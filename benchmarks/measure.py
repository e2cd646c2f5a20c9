"""What benchmarks share: utterances of IEMOCAP's lengths, ways timed in alternation, figures as JSON and as a table.

    python benchmarks/measure.py

draws the table in README.md anew from the JSON files at hand, as each benchmark does when it ends.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from mer_kit.machine import summary

HERE = Path(__file__).parent
BEGIN, END = "<!-- table: made by measure.py -->\n", "<!-- end of table -->\n"
COLUMNS = ("benchmark", "what", "figure", "goal", "command", "machine")
SHORTEST, MIDDLE, SPREAD, LONGEST = 0.6, 3.7, 0.63, 20.0  # s; lognormal around a mean of 4.5 s, as IEMOCAP's are
TOKENS, TURNS = 3.3, 35  # word pieces a second, turns a dialogue


def seconds_like_iemocap(count: int, seed: int = 0) -> np.ndarray:
    """Lengths (count,) in seconds."""
    drawn = np.random.default_rng(seed).lognormal(np.log(MIDDLE), SPREAD, count)
    return drawn.clip(SHORTEST, LONGEST)


def tokens_of(seconds: np.ndarray, most: int = 150, history: bool = False) -> np.ndarray:
    """How many tokens are said in so many seconds, (count,); with history, those of earlier turns that still fit."""
    own = (TOKENS * seconds).astype(int) + 2
    if not history:
        return own.clip(max=most)
    spliced = [np.cumsum(own[i - i % TURNS : i + 1][::-1][:11]) for i in range(len(own))]
    return np.array([max(total[total <= most], default=most) for total in spliced])


def alternately(ways: Mapping[str, Callable[[], object]], rounds: int, warm: bool = False) -> dict[str, list[float]]:
    """Seconds of each way in each round, one way after the other, every other round backwards.

    Each is called once beforehand, not counted, unless all are warm already.
    """
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(0 if warm else -1, rounds):
        for name in list(ways)[:: 1 if number % 2 else -1]:
            _finish()
            begun = time.perf_counter()
            ways[name]()
            _finish()
            if number >= 0:
                spent[name].append(time.perf_counter() - begun)
    return spent


def _finish() -> None:
    """Wait for what a GPU still has to do."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def times_as_fast(seconds: Mapping[str, Sequence[float]], way: str, baseline: str, what: str, goal: str = "",
                  work: float = 1.0) -> dict:
    """A row: how many times as fast a way is as the baseline of the same round, the median and the extremes of rounds.

    work: how much of the way's work the baseline does, where that is not the same.
    """
    ratios = [b / w / work for b, w in zip(seconds[baseline], seconds[way], strict=True)]
    ratio = {"median": statistics.median(ratios), "lowest": min(ratios), "highest": max(ratios)}
    low, high = f"{ratio['lowest']:.2f}", f"{ratio['highest']:.2f}"
    return {"what": what, "figure": f"{ratio['median']:.2f} × ({low} to {high})", "goal": goal,
            "ratio": {name: round(value, 4) for name, value in ratio.items()}}


def keep(out: Path, rows: Sequence[Mapping], **also: object) -> None:
    """Write figures to a JSON file and into the table of the README beside it; print them."""
    machine = {**summary(), "threads": torch.get_num_threads()}
    out.write_text(json.dumps({**also, "machine": machine, "rows": rows}, indent=1, ensure_ascii=False) + "\n",
                   encoding="utf-8")
    for row in rows:
        print(f"{row['what']}: {row['figure']}" + f" (goal {row.get('goal')})" * bool(row.get("goal")))
    draw_table(out.parent)


def draw_table(folder: Path) -> None:
    """Put the table of a folder's figures into its README.md, between the two marks; nothing without a README."""
    readme = folder / "README.md"
    if readme.is_file():
        before, rest = readme.read_text(encoding="utf-8").split(BEGIN)
        readme.write_text(before + BEGIN + table(folder) + END + rest.split(END)[1], encoding="utf-8")


def table(folder: Path = HERE) -> str:
    """Markdown: a row for each row of each JSON file in a folder; a file without "rows" is one row by itself."""
    lines = [COLUMNS, ["---"] * len(COLUMNS)]
    for path in sorted(folder.glob("*.json")):
        said = json.loads(path.read_text(encoding="utf-8"))
        lines += [_cells(path, {**said, **row}, number) for number, row in enumerate(said.get("rows", [said]))]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cells(path: Path, row: Mapping, number: int) -> list[str]:
    """Where a file does not say them, what and command are those of the script's docstring, the figure all numbers."""
    script = path.with_suffix(".py")
    doc = script.read_text(encoding="utf-8").split('"""')[1] if script.is_file() else ""
    command = next((line.strip() for line in doc.splitlines() if line.startswith("    python ")), "")
    numbers = ", ".join(f"{name} {value}" for name, value in row.items() if isinstance(value, int | float))
    machine = row.get("machine", "")
    if isinstance(machine, Mapping):
        parts = {"gpu": "GPU", "cores": "cores", "threads": "threads", "memory": "memory", "torch": "torch"}
        machine = ", ".join(f"{shown} {machine[part]}" for part, shown in parts.items() if part in machine)
    command = f"`{row.get('command', command)}`"
    cells = [row.get("name", path.stem), row.get("what", doc.split("\n")[0]), row.get("figure", numbers),
             row.get("goal") or "", command, machine]
    return [str(c).replace("|", "\\|").replace("\n", " ") for c in (cells if not number else
                                                                    ["", *cells[1:4], "", ""])]


if __name__ == "__main__":
    draw_table(HERE)
