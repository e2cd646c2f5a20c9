"""What is looked at, heard and answered in a notebook, each with a static twin for reports."""

from mer_kit.widgets.clips import clips, media_allowed, sounds
from mer_kit.widgets.questions import Question

__all__ = ["Question", "clips", "media_allowed", "sounds"]
