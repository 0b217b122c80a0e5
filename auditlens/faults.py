"""What an error of an engine says, without the values it quotes: of its text only words of the engines' own are kept.

DuckDB, Arrow, Polars, YAML and Python quote in their errors what they failed at, which may be a value that is kept nowhere.
Where such a quote ends cannot be told from the text, so that what is known stays, and all else goes.
"""

from __future__ import annotations

import re
import sys
import threading
import traceback
from typing import Any, Final

from auditlens.errors import AuditlensError

_MOST: Final = 300  # characters
_GAP: Final = "…"
# From the first quote to the last one of the line, for what stands between may hold quotes; an apostrophe is none.
_QUOTED: Final = re.compile(r"""(?:(?<![A-Za-z])'|["`]).*(?:["'`]|$)""")
_PATH: Final = re.compile(r"""["'](/[^"'\n]*)["']""")
_TOKEN: Final = re.compile(r"(\W*)(.*?)(\W*)", re.DOTALL)
_SIZE: Final = re.compile(r"\d+(?:\.\d+)?(?:bytes|[KMGT]?i?B)")
_UNIT: Final = re.compile(r"(?<=\d) (?=bytes\b|[KMGT]i?B\b)")
_PARTS: Final = re.compile("[-/]")
_NUMBER: Final = re.compile(r"-?\d{1,12}")
# The word before a number that counts or places.
_COUNTED: Final = frozenset({"at", "byte", "bytes", "line", "column", "columns", "char", "position", "row", "offset", "size", "code", "errno",
                             "error", "expected", "got", "status", "version", "least", "most", "than", "depth", "length", "of"})  # fmt: skip
_SAID: Final = """
a able abort aborted access accept actually after again all allocate allocated allocation allowed already alias an and
annotation any are arguments arithmetic array arrow as assertion at attempt attempted attribute available bad base64 be
because before between big binder bit bits blob block body boolean both broken buffer build building but by byte bytes cache
call called can can't cannot case cast casting catalog change changed character characters check checksum child chunk close
closed codec codepoint collection column columns command commit compressed compression computed config connection constraint
constructor contain contained contains content context conversion convert converted copy corrupt corrupted could couldn't
count create csv current damaged data database date decimal decode decoded decoding decompress decompressing decompression
deep default deleted delta denied depth dereference descriptor destination determine device dictionary did didn't different
digit directory disk divide document does doesn't double duplicate early element empty encode encoding encountered end ended
entry enum eof equal error errors escape evaluate exceed exceeded exceeds exception excess execute exist exists expected
expecting expression extra fail failed fails failure fatal field fields file files fill flag float flow flush for format
forbidden found frame from full function given group gzip handle has hash have header here hex host i ignored illegal
implemented in incompatible incomplete incorrect index indicator inflate initialize input insert instance int integer internal
interrupted into invalid invalidated io is iso isoformat it item json key keys large leaf leading length less level limit line
link list literal load lock long magic malformed map mapping mappings match matching maximum maybe member memory merge
metadata method minimum mismatch missing mode module more move multiple must name names nan near nearby negative nested
newline next no non nonexistent not null number numerical object objects of offset on only open operation option or other out
output over overflow packed page pages parameter parquet parse parsed parser parsing part partition path pattern payload
permission pipe pointer position possible premature process protocol query quoted quoting range read reading reason recursion
reference referenced refused regular remove repeated replace required requires reserve resource result results row rows scalar
scan scanning schema segment sequence serialize set shape signature simple single size snapshot source space specified stack
start state statement statistics status stopped storage stored stream string struct structure such support supported surrogate
surrogates syntax system table tag temporary text than that the there these this thread time timed timeout timestamp to token
too trailing transaction transport tried truncated try trying tuple type types unable unclosed undefined unexpected unhandled
unicode unimplemented union unique unknown unpack unreadable unrecognized unsupported unterminated up use used utf uuid valid
validation value values varchar vector version was were when where which while whole width will with within without wrapped
write writing wrong xml year you zero zip zlib zone zstd int8 int16 int32 int64 int128 uint8 uint16 uint32 uint64 float16
float32 float64 utf8 8 bigint hugeint tinyint smallint string
"""
_WORDS: Final = frozenset(_SAID.split())


def said(error: BaseException) -> str:
    """What an error says, as far as it is known to be no value: ours whole, the system's reason and file, of an engine's its words."""
    if isinstance(error, AuditlensError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    if isinstance(error, UnicodeError):
        reason, start = getattr(error, "reason", ""), getattr(error, "start", None)
        return words(reason) if start is None else f"{words(reason)} at byte {start}"
    text = str(error)
    if type(error).__name__ == "IOException" and (file := _PATH.search(_line(text))):  # DuckDB's, about files of the lake
        return f"{words(text)} ({file[1]})"
    return words(text)


def words(text: str) -> str:
    """The words of engines in the first line of an error's text; `…` for everything else."""
    kept: list[str] = []
    for token in _UNIT.sub("", _QUOTED.sub(f" {_GAP} ", _line(text))).split():
        found = _TOKEN.fullmatch(token)
        assert found
        core = found[2]
        known = all(part.lower() in _WORDS or _SIZE.fullmatch(part) for part in _PARTS.split(core)) or (
            _NUMBER.fullmatch(core) and kept and _bare(kept[-1]) in _COUNTED
        )
        if known and len(found[1]) < 3 and len(found[3]) < 4:
            kept.append(token)
        elif not kept or kept[-1] != _GAP:
            kept.append(_GAP)
    return " ".join(kept)


def _line(text: str) -> str:
    return text.strip().partition("\n")[0][:_MOST]


def _bare(word: str) -> str:
    return word.strip("(:,").lower()


def trace(error: BaseException) -> str:
    """A traceback whose errors say no more than said() lets them."""
    parts: list[str] = []
    seen: set[int] = set()
    at: BaseException | None = error
    while at is not None and id(at) not in seen:
        seen.add(id(at))
        frames = "".join(traceback.format_tb(at.__traceback__))
        parts.append(f"Traceback (most recent call last):\n{frames}{type(at).__name__}: {said(at)}\n")
        at = at.__cause__ or (None if at.__suppress_context__ else at.__context__)
    return "\nThe above came before:\n\n".join(reversed(parts))


def hook() -> None:
    """From now on, an error that nobody caught is written to stderr as trace() writes it, in any thread."""

    def uncaught(kind: type[BaseException], error: BaseException, tb: Any) -> None:
        if issubclass(kind, (KeyboardInterrupt, SystemExit)):
            sys.__excepthook__(kind, error, tb)
        else:
            sys.stderr.write(trace(error))

    def in_thread(found: threading.ExceptHookArgs) -> None:
        if found.exc_value is not None and not issubclass(found.exc_type, SystemExit):
            sys.stderr.write(trace(found.exc_value))

    sys.excepthook, threading.excepthook = uncaught, in_thread
