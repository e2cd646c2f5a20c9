"""One rule for what a loader cannot use: raise at once, or leave it out, counted and listed."""

from __future__ import annotations

from dataclasses import dataclass, field

import pandas as pd

from mer_kit.errors import BadInput, unknown

ON_ERROR = ("raise", "skip")


@dataclass
class Intake:
    """Collects what a loader leaves out (`skipped`) and what its user should know (`notes`)."""

    on_error: str = "raise"
    rows: list[dict] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self):
        if self.on_error not in ON_ERROR:
            raise unknown("on_error", self.on_error, ON_ERROR)

    def reject(self, where: str, value: object, reason: str, utterance: str | None = None) -> None:
        """Refuse one utterance. `where` names file and line, `reason` what was expected and how to mend it."""
        if self.on_error == "raise":
            who = f"utterance {utterance}: " if utterance else ""
            raise BadInput(f"{where}: {who}{reason}; got {value!r}. Mend it, or pass on_error='skip' to leave it out")
        self.rows.append({"where": where, "utterance": utterance, "value": str(value), "reason": reason})

    def note(self, text: str) -> None:
        """Something read otherwise than written, said once."""
        if text not in self.notes:
            self.notes.append(text)

    @property
    def skipped(self) -> pd.DataFrame:
        """What was left out: where, utterance, value, reason."""
        return pd.DataFrame(self.rows, columns=["where", "utterance", "value", "reason"])
