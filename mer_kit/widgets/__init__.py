"""What is looked at, heard and answered in a notebook, each with a static twin for reports."""

from mer_kit.widgets.attention_explorer import attention_explorer
from mer_kit.widgets.clips import clips, media_allowed, sounds
from mer_kit.widgets.damage_explorer import damage_explorer
from mer_kit.widgets.embedding_explorer import Space, embedding_explorer
from mer_kit.widgets.keyword_editor import keyword_editor
from mer_kit.widgets.lookup import Lookup
from mer_kit.widgets.own_voice import own_voice
from mer_kit.widgets.protocol_switch import protocol_switch
from mer_kit.widgets.questions import Question

__all__ = ["Lookup", "Question", "Space", "attention_explorer", "clips", "damage_explorer", "embedding_explorer",
           "keyword_editor", "media_allowed", "own_voice", "protocol_switch", "sounds"]
