"""`auditlens curl` and `auditlens trace` as a user runs them."""

from __future__ import annotations

import datetime as dt
import gzip
import itertools
import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from auditlens import face
from auditlens.output import time_text
from tests.conftest import CAPTURES, auditlens, event, imported, needs_captures, text, write

DATA = Path(__file__).parent / "data"
HOSTILE = "eve\n$(touch /tmp/owned) `id` \x1b]0;owned\x07 'quoted' \u202e"

# stands in for curl: shows each of its arguments, and what comes on its stdin
CURL = """curl() { for a in "$@"; do printf '%s\\0' "$a"; done; case "$*" in *@-*) cat;; esac; }
CACERT=ca.crt TOKEN=t0ken APISERVER=192.0.2.1:6443
"""


def run(script: str) -> list[list[str]]:
    """The arguments of each curl that a shell makes of the text."""
    commands = [c for c in script.split("\n\n") if c.strip()]
    found = []
    for command in commands:
        done = subprocess.run(["bash", "-u"], input=CURL.encode() + command.encode(), capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, b""), done.stderr
        found.append(done.stdout.decode("utf-8", "replace").split("\0"))
    return found


def shown(*args: object) -> str:
    done = auditlens(*args)
    assert (done.returncode, done.stderr) == (0, b""), done.stderr
    return done.stdout.decode()


def refused(*args: object) -> str:
    done = auditlens(*args)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.count(b"\n") == 1
    return done.stderr.decode()


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("commands")
    own = {"requestReceivedTimestamp": "2026-11-23T12:00:00.000000Z", "stageTimestamp": "2026-11-23T12:00:00.003000Z"}
    events = text(
        event(auditID="plain", verb="create", requestURI="/api/v1/namespaces/a/configmaps", requestObject={"kind": "ConfigMap"}, **own),
        event(auditID="bare", verb="create", level="Metadata", requestURI="/api/v1/namespaces/a/pods", **own),
        event(auditID="as", verb="patch", requestURI="/apis/x.example.com/v1/x/{y}?a=[1]", requestObject=[{"op": "remove", "path": "/a"}],
              impersonatedUser={"username": "bob", "groups": ["ops", "dev", "system:authenticated"],
                                "extra": {"example.com/Team": ["red", "blue"], "note": ["a b"]}}, **own),
        event(auditID="hostile", user={"username": HOSTILE}, verb="update", requestURI=f"/api/v1/x?a={HOSTILE}",
              requestObject={"a": HOSTILE}, **own),
    )  # fmt: skip
    trace = (
        'I1123 12:00:02.000000       1 trace.go:236] Trace[77]: "Up\x1b[2Jdate" audit-id:slow,url:/x\u202e,verb:PUT (23-Nov-2026 12:00:00.000) '
        "(total time: 2000ms):\n"
        'Trace[77]: ["GuaranteedUpdate etcd3" key:/x 1500ms (12:00:00.200)\n'
        'Trace[77]:  ---"Txn\x1b]0;x\x07 call completed" 1400ms (12:00:01.700)]\n'
        "Trace[77]: [2s] [2s] END\n"
    )
    lake = folder / "lake"
    imported(lake, write(folder / "audit.log", events), write(folder / "apiserver.log", trace.encode()))
    return lake


def test_both_are_commands() -> None:
    help_text = auditlens("--help").stdout.decode()
    assert re.search(r"^\s+curl\s", help_text, re.MULTILINE) and re.search(r"^\s+trace\s", help_text, re.MULTILINE)


def test_curl_of_an_event(lake: Path) -> None:
    ((*args, _),) = run(shown("curl", "plain", "--lake", lake))
    assert args == [
        "-X", "POST", "--cacert", "ca.crt", "-H", "Authorization: Bearer t0ken", "-H", "Accept: application/json",
        "-H", "Content-Type: application/json", "-d", '{"kind":"ConfigMap"}',
        "--url", "https://192.0.2.1:6443/api/v1/namespaces/a/configmaps",
    ]  # fmt: skip


def test_curl_says_what_is_missing(lake: Path, tmp_path: Path) -> None:
    assert "# the audit level has no body: it must be added" in shown("curl", "bare", "--lake", lake)
    line = b"I0803 10:00:00.000000       1 round_trippers.go:1] PATCH https://192.0.2.1/api/v1/x 200 OK in 1 milliseconds\n"
    assert "# the client did not print the body: repeat it with -v=8" in shown("curl", write(tmp_path / "k.log", line))


def test_curl_of_an_impersonated_patch(lake: Path) -> None:
    ((*args, _),) = run(shown("curl", "as", "--lake", lake))
    headers = [b for a, b in itertools.pairwise(args) if a == "-H"]
    assert {
        "Impersonate-User: bob",
        "Impersonate-Group: ops",
        "Impersonate-Group: dev",
        "Impersonate-Extra-example.com%2FTeam: red",
        "Impersonate-Extra-example.com%2FTeam: blue",
        "Impersonate-Extra-note: a b",
        "Content-Type: application/json-patch+json",
    } <= set(headers)
    assert "Impersonate-Group: system:authenticated" not in headers
    assert "--globoff" in args and args[-1].endswith("/x/{y}?a=[1]")


def test_curl_of_hostile_text(lake: Path, tmp_path: Path) -> None:
    script = shown("curl", "hostile", "--lake", lake)
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f\u202e]", script)
    assert script.splitlines()[0].startswith("# rebuilt from the audit event of eve\\n$(touch")
    ((*args, _),) = run(script)
    assert args[-1] == f"https://192.0.2.1:6443/api/v1/x?a={HOSTILE}"
    lines = (
        'I0803 10:00:00.000000       1 round_trippers.go:1] "Request" verb="GET" url="-o/tmp/owned" headers=<\n\t@/etc/passwd: x\n\tAccept: a\'b\n >\n'
        'I0803 10:00:00.100000       1 round_trippers.go:1] "Response" status="200 OK" headers=<\n\tA: b\n > milliseconds=1\n'
    )
    ((*args, _),) = run(shown("curl", write(tmp_path / "k.log", lines.encode())))
    assert args[-2:] == ["--url", "-o/tmp/owned"]
    assert [b for a, b in itertools.pairwise(args) if a == "-H"] == ["Authorization: Bearer t0ken", "Accept: a'b"]


def test_curl_of_a_compressed_file(tmp_path: Path) -> None:
    packed = tmp_path / "kubectl.log.gz"
    packed.write_bytes(gzip.compress((DATA / "kubectl-new.log").read_bytes()))
    assert shown("curl", packed) == shown("curl", DATA / "kubectl-new.log")


def test_curl_of_what_is_not_there(lake: Path, tmp_path: Path) -> None:
    assert "no such audit id" in refused("curl", "nothing", "--lake", lake)
    assert "no lake at" in refused("curl", "nothing", "--lake", tmp_path / "none")
    assert "holds no requests" in refused("curl", write(tmp_path / "words.txt", b"hello\n"))


def test_trace_of_a_request(lake: Path) -> None:
    tree = shown("trace", "slow", "--lake", lake)
    assert tree == shown("trace", "77", "--lake", lake)
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f\u202e]", tree)
    lines = tree.splitlines()
    assert lines[0] == "Trace 77 Up\\x1b[2Jdate PUT /x\\u202e"
    assert re.fullmatch(r"  ▾ Up\S+ +2,000\.0 ms █{30} 100%", lines[2])
    assert re.fullmatch(r"    ▾ GuaranteedUpdate etcd3 +1,500\.0 ms    █{22}▌ 75%", lines[3])
    assert re.fullmatch(r"      · Txn\\x1b\]0;x\\x07 call completed +1,400\.0 ms     █{21} 70%", lines[4])


def test_trace_of_what_has_none(lake: Path, tmp_path: Path) -> None:
    assert "no trace of it; the apiserver logs one" in refused("trace", "nothing", "--lake", lake)
    assert "the request took 3.0 ms" in refused("trace", "plain", "--lake", lake)
    assert "there is no lake" in refused("trace", "77", "--lake", tmp_path / "none")


def test_every_format_holds_the_same_steps(lake: Path) -> None:
    """The tree nests what the rows tell by depth, and each step leads to its line."""
    answer = face.trace(str(lake), "slow")
    assert json.loads(shown("trace", "77", "--lake", lake, "-o", "json")) == json.loads(json.dumps(answer.tree, default=_time))
    rows = [json.loads(line) for line in shown("trace", "77", "--lake", lake, "-o", "jsonl").splitlines()]
    assert [(r["depth"], r["step_ms"]) for r in rows] == [(0, 2000.0), (1, 1500.0), (2, 1400.0)]
    (block,) = answer.tree
    (span,) = block["steps"]
    (step,) = span["steps"]
    assert (block["total_ms"], span["step_ms"], step["step_ms"]) == (2000.0, 1500.0, 1400.0)
    assert "steps" not in step and answer.limits == []
    assert (span["fields"], step["fields"]) == ({"key": "/x"}, None)
    assert answer.evidence["line"].to_list() == [1] and answer.evidence["audit_id"].to_list() == ["slow"]


def test_a_block_that_was_not_logged_whole_says_so(tmp_path: Path) -> None:
    log = 'I1123 12:00:02.000000       1 trace.go:236] Trace[5]: "Get" url:/x (23-Nov-2026 12:00:00.000) (total time: 600ms):\n' \
          'Trace[5]: ---"About to write a response" 600ms (12:00:00.600)\n'  # fmt: skip
    imported(tmp_path / "lake", write(tmp_path / "apiserver.log", log.encode()))
    answer = face.trace(str(tmp_path / "lake"), "5")
    assert answer.limits == ["the end of trace 5 was not logged"]
    assert answer.text.endswith("its END was not logged\n")


def test_a_request_to_repeat_leads_to_its_event(lake: Path) -> None:
    (row,) = json.loads(shown_apart("curl", "bare", "--lake", lake, "-o", "json"))
    assert (row["method"], row["url"], row["line"]) == ("POST", "https://${APISERVER}/api/v1/namespaces/a/pods", 2)
    assert row["command"] + "\n" == shown("curl", "bare", "--lake", lake)
    answer = face.curl("bare", str(lake))
    assert answer.limits == ["the audit level has no body: it must be added"]
    assert answer.evidence.rows() == [("bare", row["source"], 2)]


def shown_apart(*args: object) -> str:
    """What stands on stdout, whatever is said beside it."""
    done = auditlens(*args)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode()


def _time(value: object) -> str:
    assert isinstance(value, dt.datetime)
    return time_text(value)


@needs_captures
@pytest.mark.parametrize("path", sorted((CAPTURES / "kubectl").glob("*-v10-*.stderr")), ids=lambda p: p.stem)
def test_curl_of_the_captured_clients(path: Path) -> None:
    """Each request that had a curl line comes out with the same method, URL and headers, and with its body."""
    printed = re.findall(r"curl -v -X([A-Z]+)  (.*) '([^']+)'", path.read_text())
    commands = face.curl(str(path), "no lake").frame["command"].to_list()
    assert len(commands) == len(printed) > 0
    told = sorted((method, url, *_headers(shlex.split(head.replace("\\n", " ")))) for method, head, url in printed)
    mine = []
    for command in commands:
        args = shlex.split(command.replace("\\\n", " "), comments=True)
        args = args[args.index("curl") :]
        mine.append((args[2], args[-1], *_headers(args)))
        body = args[2] in ("POST", "PATCH", "PUT", "DELETE")
        assert body == ("-d" in args or "--data-binary" in args), command[:300]
    assert sorted(mine) == told


def _headers(words: list[str]) -> list[str]:
    found = [b for a, b in itertools.pairwise(words) if a == "-H"]
    return sorted(h for h in found if not h.startswith("Authorization"))
