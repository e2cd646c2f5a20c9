"""Clips to listen to, with their words; nothing of a licensed corpus is embedded unless asked for."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from html import escape

import soundfile as sf
from IPython.display import HTML

from mer_kit.corpora.audio import AudioReader
from mer_kit.corpora.corpus import Corpus, Utterance
from mer_kit.labels import colour


def media_allowed(corpus: Corpus, embed_media: bool) -> bool:
    """May sound and transcripts of this corpus stand in an executed notebook? Free corpora always, others if asked."""
    return corpus.embeddable or embed_media


def clips(corpus: Corpus, utterances: Iterable[str], embed_media: bool = False) -> HTML:
    """A table of utterances to play, one a row: label, speaker, words, player; or why it is not shown."""
    if not media_allowed(corpus, embed_media):
        return HTML(f"<p><em>Sound and transcripts of {escape(corpus.name)} are not embedded. {escape(corpus.licence)} "
                    "Set EMBED_MEDIA = True to embed them in this copy, and do not share it.</em></p>")
    rows = "".join(_row(corpus[u]) for u in utterances)
    banner = "" if corpus.embeddable else ("<p><strong>This copy holds sound and transcripts of a licensed corpus "
                                           f"({escape(corpus.name)}). Do not share it.</strong></p>")
    return HTML(f'{banner}<table aria-label="clips of {escape(corpus.name)}">'
                f"<tr><th>label</th><th>speaker</th><th>words</th><th>sound</th></tr>{rows}</table>")


def _row(utterance: Utterance) -> str:
    label = utterance.label or "history"
    tint = colour(label) if utterance.label else "#ccc"
    mark = f'<span style="border-left: 0.6em solid {tint}">&nbsp;</span>'
    cells = (mark + escape(label), escape(utterance.speaker), escape(utterance.text or ""), _player(utterance))
    return "<tr>" + "".join(f'<td style="text-align: left">{cell}</td>' for cell in cells) + "</tr>"


def _player(utterance: Utterance) -> str:
    if utterance.audio is None:
        return "no sound"
    if utterance.audio.suffix == ".ogg" and not utterance.segment:
        kind, data = "ogg", utterance.audio.read_bytes()
    else:
        reader, file = AudioReader(), io.BytesIO()
        sf.write(file, reader(utterance), reader.sample_rate, format="WAV")
        kind, data = "wav", file.getvalue()
    source = f"data:audio/{kind};base64,{base64.b64encode(data).decode()}"
    return f'<audio controls preload="metadata" aria-label="{escape(utterance.id)}" src="{source}"></audio>'
