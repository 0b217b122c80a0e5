"""Any text in: no exception, every line accounted for, and the fast path reads what the exact one reads."""

from __future__ import annotations

from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from .helpers import exact_path, read, without_year
from .test_values import block, quoted

_PIECES = [
    line + b"\n" for path in sorted((Path(__file__).parent / "data").glob("*.log")) for line in path.read_bytes().split(b"\n")
] + [
    b"I0101 00:00:00.000000       1 healthz.go:311] etcd check failed: readyz\n", b"I0101 00:00:00.000000       1 a.go:1] failed to renew lease x\n",
    b"I0101 00:00:00.000000       1 a.go:1] v1.x failed with: failing or missing response from y\n",
    b"I0101 00:00:00.000000       1 a.go:1] mentions Trace[5]: inside\n", b'I0101 00:00:00.000000       1 a.go:1] "mentions" a="Trace[5]: x"\n',
    b"\n", b"   \n", b"\t\n", b"\ttext\n", b" >\n", b"[-]etcd failed: reason\n", b"[+]ping ok\n", b"goroutine 1 [running]:\n", b"{\n", b"}\n",
    b"Trace[5]: [1s] [1s] END\n", b"Trace[99]: \n", b'"a" [1ms] [1ms] END\n', b"\xff\xfe\n", b"I0101 00:00:00.000000       1 a.go:1] \n",
    b"I1301 99:99:99.999999       1 a.go:1] no such time\n", b'I0229 00:00:00.000000       1 a.go:1] "leap" a=1 a=2 b="x"\n',
    b'W0101 00:00:00.000000 1 a.go:1] "narrow pid"\n', b'I0101 00:00:00.000000       1 a.go:1] "torn" a="\n', b"I0101 00:00:00.000000       1 a.go:1]",
    b'2026-11-23T04:59:00.285177551Z AUDIT: id="q" stage="ResponseComplete" ip="192.0.2.10" method="get" user="a" groups="<none>" as="<self>" '
    b'asgroups="<lookup>" namespace="d" uri="/api/v1/x" response="200"\n',
    b"2016-10-06T00:17:09.669794202Z stderr F I1006 00:17:09.000001       1 a.go:1] in a container\n",
    b'2016-10-06T00:17:10.669794202Z stderr P I1006 00:17:10.000001       1 a.go:1] "in pieces" a="\n',
    b'2016-10-06T00:17:10.669794202Z stderr F b"\n',
    b'{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"a","stage":"ResponseComplete","requestURI":"/x","verb":"get",'
    b'"user":{"username":"u"},"requestReceivedTimestamp":"2026-11-23T04:00:00.000000Z","stageTimestamp":"2026-11-23T04:00:00.000000Z"}\n',
]  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(_PIECES), max_size=30).map(b"".join))
@example(b"I0101 00:00:00.000000       1 a.go:1] " + b"x" * 100 + b"\n" + b"E0101 00:00:00.000000       1 a.go:1] y\n" * 3)
@example(b"\xff\n" + b"I0101 00:00:00.000000       1 a.go:1] y\n" * 3)
def test_lines_in_any_order(data: bytes) -> None:
    fast = read(data)
    fast.accounted()
    small = read(data, chunk=200)
    small.accounted()
    with exact_path():
        exact = read(data)
    assert (fast.counts, fast.events, len(fast.rejects)) == (exact.counts, exact.events, len(exact.rejects))
    assert without_year(fast.rows) == without_year(exact.rows)
    assert fast.counts == small.counts


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=2000) | st.text(max_size=1000).map(lambda t: t.encode("utf-8", "surrogatepass")))
def test_any_bytes(data: bytes) -> None:
    read(data).accounted()
    read(b"I0101 00:00:00.000000       1 a.go:1] x\n" * 5 + data).accounted()
    read(data, format="kubectl").accounted()


_KEYS = st.from_regex(r"[A-Za-z][A-Za-z0-9_./-]{0,12}", fullmatch=True).filter(lambda k: k != "logger")
_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


def _told(text: str) -> str:
    """A multi-line value without the newline at its end, which blocks do not show, and with its blank lines empty."""
    if "\n" not in text:
        return text
    return "\n".join(line if line.strip() else "" for line in text.removesuffix("\n").split("\n"))


@settings(max_examples=300, deadline=None)
@given(_TEXTS.map(lambda t: f"m{t}"), st.dictionaries(_KEYS, _TEXTS, max_size=5), st.booleans())
@example("m", {"a": "x=y", "b": ' c="d"', "e": "<", "f": "{", "g": ""}, False)
@example("m", {"a": "one\n\ttwo\n >\n", "b": "\n\n"}, True)
def test_what_klog_writes_is_read_back(message: str, fields: dict[str, str], blocks: bool) -> None:
    """To 1.23 all strings are quoted; since 1.24 those of several lines are blocks."""
    if blocks:  # the source's own carriage returns and separators would be taken for ends of lines
        fields = {k: "".join(c for c in v if c == "\n" or c.isprintable()) for k, v in fields.items()}
    written = {k: block(v) if blocks and "\n" in v else quoted(v) for k, v in fields.items()}
    line = f"I0803 10:00:00.000000       1 a.go:1] {quoted(message)}" + "".join(f" {k}={v}" for k, v in written.items())
    other = "I0803 10:00:01.000000       1 a.go:2] next\n"
    expected = {k: _told(v) if blocks else v for k, v in fields.items()} or None
    found = read((line + "\n" + other).encode(), redact=False).rows["klog"]
    with exact_path():
        exact = read((line + "\n" + other).encode(), redact=False).rows["klog"]
    for rows in (found, exact):
        assert [(r["message"], r["fields"]) for r in rows] == [(message, expected), ("next", None)]
