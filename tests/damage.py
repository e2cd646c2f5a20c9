"""What a disk, an editor or a broken transfer does to a file: random edits of its bytes and lines, for fuzzing."""

from __future__ import annotations

from hypothesis import strategies as st

NASTY = (b"", b"\n", b"\r", b",", b"\t", b";", b'"', b'""', b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\x92", b"\xe2\x80",
         b"9" * 400, b"9" * 5_000, b"-1", b"nan", b"inf", b"1e999", b"joy", b"anger", b"neutral", b"ang", b"neu",
         b"Emotion", b"label", b"../../etc/passwd", b"/dev/zero", b"x" * 300, "٣".encode(), "\u202e".encode(), b"{{")
EDIT = st.tuples(st.sampled_from(("flip", "cut", "insert", "replace", "end", "repeat line", "drop line", "swap lines")),
                 st.integers(0, 2**16), st.integers(1, 40), st.sampled_from(NASTY) | st.binary(max_size=16))
EDITS = st.lists(EDIT, min_size=1, max_size=4)


def damaged(content: bytes, edits: list[tuple[str, int, int, bytes]]) -> bytes:
    """The content after some edits, each (kind, place, how many, bytes to put)."""
    for kind, place, count, put in edits:
        at = place % (len(content) + 1)
        if kind == "flip":
            content = content[:at] + bytes(b ^ (1 << count % 8) for b in content[at : at + 1]) + content[at + 1 :]
        elif kind == "end":
            content = content[:at]
        elif kind.split()[-1].startswith("line"):
            content = _lines(content, kind.split()[0], place, count)
        else:
            cut = {"cut": count, "insert": 0, "replace": len(put)}[kind]
            content = content[:at] + (b"" if kind == "cut" else put) + content[at + cut :]
    return content


def _lines(content: bytes, how: str, place: int, count: int) -> bytes:
    lines = content.splitlines(keepends=True) or [b""]
    one, other = place % len(lines), (place + count) % len(lines)
    if how == "swap":
        lines[one], lines[other] = lines[other], lines[one]
    else:
        lines[one] = lines[one] * (2 if how == "repeat" else 0)
    return b"".join(lines)
