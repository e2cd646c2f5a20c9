"""Clips to listen to, with their words; nothing of a licensed corpus is embedded unless asked for."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping
from html import escape

import numpy as np
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
    rows = ((u.label, u.speaker, u.text or "", _clip(u)) for u in map(corpus.__getitem__, utterances))
    return _page(corpus, embed_media, ("label", "speaker", "words", "sound"), rows)


def sounds(corpus: Corpus, waveforms: Mapping[str, np.ndarray], sample_rate: int = 16_000,
           embed_media: bool = False) -> HTML:
    """A table of sounds made of a corpus, samples (n,) by label: label, seconds, player; or why it is not shown."""
    rows = ((label, f"{len(samples) / sample_rate:.1f}",
             _player(f"sounds of {label}", source_from(samples, sample_rate, "ogg", "OPUS")))
            for label, samples in waveforms.items())
    return _page(corpus, embed_media, ("label", "seconds", "sound"), rows)


def _page(corpus: Corpus, embed_media: bool, heads: Iterable[str], rows: Iterable[tuple[str | None, ...]]) -> HTML:
    """Rows begin with a label (None: a turn of history) and end with a player; none is made where none may be shown."""
    if not media_allowed(corpus, embed_media):
        return HTML(f"<p><em>Sound and transcripts of {escape(corpus.name)} are not embedded. {escape(corpus.licence)} "
                    "Set EMBED_MEDIA = True to embed them in this copy, and do not share it.</em></p>")
    banner = "" if corpus.embeddable else ("<p><strong>This copy holds sound and transcripts of a licensed corpus "
                                           f"({escape(corpus.name)}). Do not share it.</strong></p>")
    head = "".join(f"<th>{name}</th>" for name in heads)
    return HTML(f'{banner}<table aria-label="clips of {escape(corpus.name)}"><tr>{head}</tr>'
                f"{''.join(_row(*row) for row in rows)}</table>")


def _row(label: str | None, *told: str) -> str:
    tint = colour(label) if label else "#ccc"
    mark = f'<span style="border-left: 0.6em solid {tint}">&nbsp;</span>'
    cells = (mark + escape(label or "history"), *map(escape, told[:-1]), told[-1])
    return "<tr>" + "".join(f'<td style="text-align: left">{cell}</td>' for cell in cells) + "</tr>"


def _clip(utterance: Utterance) -> str:
    return "no sound" if utterance.audio is None else _player(utterance.id, source_of(utterance))


def source_of(utterance: Utterance) -> str:
    """An utterance's sound as a data URI, for the source of a player."""
    if utterance.audio.suffix == ".ogg" and not utterance.segment:
        return _uri("ogg", utterance.audio.read_bytes())
    return source_from(AudioReader()(utterance))


def source_from(samples: np.ndarray, sample_rate: int = AudioReader.sample_rate, kind: str = "wav",
                subtype: str | None = None) -> str:
    """Samples (n,) as a data URI; kind and subtype: as soundfile names them."""
    file = io.BytesIO()
    sf.write(file, samples, sample_rate, format=kind, subtype=subtype)
    return _uri(kind, file.getvalue())


def _uri(kind: str, data: bytes) -> str:
    return f"data:audio/{kind};base64,{base64.b64encode(data).decode()}"


def _player(name: str, source: str) -> str:
    return f'<audio controls preload="metadata" aria-label="{escape(name)}" src="{source}"></audio>'
