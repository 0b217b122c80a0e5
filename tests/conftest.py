"""Events to make logs of, imports that check their accounting, lakes to compare, and the command line as a process."""

from __future__ import annotations

import datetime as dt
import gzip
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import watchdog
from hypothesis import Phase, settings

from auditlens import ask as answer
from auditlens import engine
from auditlens.importing.files.run import ImportReport, import_files
from auditlens.lake import Lake
from auditlens.tables import PUBLIC

SHARED = Path(__file__).resolve().parents[2] / "shared"
CAPTURES = SHARED / "captures"
DATA = Path(__file__).parent / "data"
needs_captures = pytest.mark.skipif(not CAPTURES.is_dir(), reason="the shared captures are not here")

# Explaining a failure traces every line of all that runs, before Python 3.12 in Python: minutes for a test of seconds.
settings.register_profile("plain", phases=[p for p in Phase if p is not Phase.explain], deadline=None)
settings.load_profile("plain")

_WATCHDOG = pytest.StashKey[subprocess.Popen[bytes]]()

START = dt.datetime(2026, 11, 23, 12, tzinfo=dt.UTC)
# What two imports of the same thing may differ in.
MADE_BY_THE_IMPORT = frozenset({"imported_at", "batch_id", "version"})
# What differs when another copy of the same event is the one that is kept.
EVIDENCE = frozenset({"import_id", "source", "line", "item", "instance"})


def pytest_configure(config: pytest.Config) -> None:
    """In each process that runs tests: what it starts from now on ends with it."""
    config.stash[_WATCHDOG] = watchdog.start()


def pytest_unconfigure(config: pytest.Config) -> None:
    """The tests are over: what they forgot to end is ended."""
    if dog := config.stash.get(_WATCHDOG, None):
        dog.communicate()


@pytest.fixture(scope="session", autouse=True)
def _no_configuration_of_ones_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The redaction key that imports make for themselves belongs to the test run, not to the user's home."""
    before = os.environ.get("XDG_CONFIG_HOME")
    os.environ["XDG_CONFIG_HOME"] = str(tmp_path_factory.mktemp("config"))
    yield
    if before is None:
        del os.environ["XDG_CONFIG_HOME"]
    else:
        os.environ["XDG_CONFIG_HOME"] = before


def when(seconds: float) -> str:
    """A time as the apiserver writes it, so long after START."""
    return (START + dt.timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def event(n: int = 0, /, **fields: Any) -> dict[str, Any]:
    """An audit event as the log backend writes it; `fields` replace or add wire fields, None leaves one out."""
    made = {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": "RequestResponse",
        "auditID": f"00000000-0000-4000-a000-{n:012d}",
        "stage": "ResponseComplete",
        "requestURI": f"/api/v1/namespaces/shop/configmaps/settings-{n}",
        "verb": "get",
        "user": {"username": "alice", "groups": ["dev", "system:authenticated"]},
        "sourceIPs": ["192.0.2.7"],
        "userAgent": "kubectl/v1.36.2 (linux/amd64) kubernetes/98b3519",
        "objectRef": {"resource": "configmaps", "namespace": "shop", "name": f"settings-{n}", "apiVersion": "v1"},
        "responseStatus": {"metadata": {}, "code": 200},
        "requestReceivedTimestamp": when(n),
        "stageTimestamp": when(n + 0.002),
        "annotations": {
            "authorization.k8s.io/decision": "allow",
            "authorization.k8s.io/reason": 'RBAC: allowed by RoleBinding "devs/shop" of ClusterRole "edit" to Group "dev"',
        },
    } | fields
    return {k: v for k, v in made.items() if v is not None}


def text(*events: dict[str, Any]) -> bytes:
    """Events as lines, the way Go writes them."""
    lines = (json.dumps(e, ensure_ascii=False, separators=(",", ":")) for e in events)
    return "".join(f"{line}\n" for line in lines).translate({0x3C: "\\u003c", 0x3E: "\\u003e", 0x26: "\\u0026"}).encode()


def day(count: int, *, first: int = 0) -> Iterator[dict[str, Any]]:
    """Events of a small cluster: reads, writes, refusals, both stages, Secrets, collections, two dates."""
    meta = {"name": "web", "namespace": "shop", "uid": "u", "resourceVersion": "7"}
    pod = {"kind": "Pod", "apiVersion": "v1", "metadata": meta}
    for n in range(first, first + count):
        match n % 8:
            case 0:
                ref = {"resource": "secrets", "namespace": "shop", "name": f"s-{n}", "apiVersion": "v1"}
                body = {"kind": "Secret", "apiVersion": "v1", "data": {"k": "aHVudGVyMi1odW50ZXIy"}}
                yield event(n, verb="create", objectRef=ref, requestObject=body, responseStatus={"code": 201})
            case 1:
                listed = [{"metadata": {"name": f"p-{n}-{i}", "namespace": "pay", "uid": f"uid-{n}-{i}"}} for i in range(3)]
                ref = {"resource": "pods", "namespace": "pay", "apiVersion": "v1"}
                body = {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": listed}
                yield event(n, verb="deletecollection", objectRef=ref, responseObject=body, user={"username": "bob"})
            case 2:
                status = {"metadata": {}, "status": "Failure", "message": "pods is forbidden", "reason": "Forbidden", "code": 403}
                yield event(n, responseStatus=status, annotations={"authorization.k8s.io/decision": "forbid"})
            case 3:
                yield event(n, stage="RequestReceived", responseStatus=None, annotations=None, stageTimestamp=when(n))
            case 4:
                owner = [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-1", "uid": "r", "controller": True}]
                body = pod | {"metadata": meta | {"name": f"web-{n}", "ownerReferences": owner}}
                ref = {"resource": "pods", "namespace": "shop", "apiVersion": "v1"}
                yield event(n, verb="create", objectRef=ref, responseObject=body)
            case 5:
                yield event(n, level="Metadata", user={"username": "system:node:n1", "groups": ["system:nodes"]}, verb="patch",
                            requestObject={"spec": {"weight": 1.5}}, requestReceivedTimestamp=when(n + 43_000),
                            stageTimestamp=when(n + 43_000.001))  # fmt: skip
            case _:
                yield event(n, responseObject=pod)


def write(path: Path, content: bytes | Iterable[dict[str, Any]]) -> Path:
    """A file of bytes or events; compressed when its name ends in .gz."""
    data = content if isinstance(content, bytes) else text(*content)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data, 1) if path.suffix == ".gz" else data)
    return path


def imported(lake: Path, *paths: Path | str, **options: Any) -> ImportReport:
    """Import, and see that both identities hold for each source and in what the lake keeps of them."""
    report = import_files(paths, lake, **options)
    for s in report.sources:
        assert s.lines == s.records - s.items + s.continuations + s.blanks, s
        assert s.records == sum(s.rows.values()) + s.duplicates + s.rejects + s.dropped, s
        assert min(s.lines, s.items, s.records, s.duplicates, s.rejects, s.continuations, s.blanks, *s.rows.values(), 0) == 0, s
    accounted(lake)
    return report


def accounted(lake: Path) -> None:
    """What `imports` says was added is what the tables hold."""
    if not Lake(lake).exists():
        return
    wrong = rows(
        lake,
        "select source, lines, items, records, rows, duplicates, rejects, continuations, blanks from imports "
        "where lines <> records - items + continuations + blanks "
        "or records <> list_sum(map_values(rows)) + duplicates + rejects + coalesce(dropped, 0) or list_min(map_values(rows)) < 0",
    )
    assert not wrong, wrong
    claimed, there = rows(lake, "select (select sum(rows['audit'])::bigint from imports), (select count(*) from audit)")[0]
    assert (claimed or 0) == there
    claimed, there = rows(lake, "select (select sum(rejects)::bigint from imports), (select count(*) from rejects)")[0]
    assert (claimed or 0) == there


def rows(lake: Path, sql: str) -> list[tuple[Any, ...]]:
    """Rows of a query over the public tables."""
    con = engine.connect(Lake(lake))
    try:
        return engine.query(con, sql, {}).rows()
    finally:
        con.close()


def ask(lake: Lake | Path | str, question: str, **params: Any) -> pl.DataFrame:
    """The rows of an answer."""
    return answer(lake if isinstance(lake, Lake) else str(lake), question, **params).frame


Tables = dict[str, list[str]]


def tables(lake: Path, *, without: Iterable[str] = ()) -> Tables:
    """Every public table as sorted rows, apart from what the import made up and the columns in `without`."""
    left_out = MADE_BY_THE_IMPORT | set(without)
    con = engine.connect(Lake(lake))
    try:
        out: Tables = {}
        for name in PUBLIC:
            columns = [c for (c, *_) in con.execute(f"describe {name}").fetchall() if c not in left_out]
            out[name] = [r for (r,) in con.execute(f"select ({', '.join(columns)})::varchar from {name} order by 1").fetchall()]
        return out
    finally:
        con.close()


def assert_same(found: Tables, expected: Tables, *, only: Iterable[str] = PUBLIC) -> None:
    """Both hold the same rows as often; the first that do not are named."""
    for name in only:
        if found[name] == expected[name]:
            continue
        more = list((Counter(found[name]) - Counter(expected[name])).elements())
        less = list((Counter(expected[name]) - Counter(found[name])).elements())
        pytest.fail(
            f"{name}: {len(found[name])} rows, expected {len(expected[name])}\n"
            + "".join(f"+ {row[:600]}\n" for row in more[:3]) + "".join(f"- {row[:600]}\n" for row in less[:3])
        )  # fmt: skip


def physical_lines(data: bytes) -> int:
    """Lines as `wc -l` counts them, the last one also without its newline."""
    return data.count(b"\n") + (data != b"" and not data.endswith(b"\n"))


def content(path: Path) -> bytes:
    """What is inside a file, compressed or not."""
    data = path.read_bytes()
    return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data


def children_of(pid: int) -> list[int]:
    """The processes that a process has started."""
    tasks = list(Path(f"/proc/{pid}/task").iterdir())
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


def auditlens(*args: object, stdin: bytes | None = None, cwd: Path | None = None, env: dict[str, str] | None = None,
              ) -> subprocess.CompletedProcess[bytes]:  # fmt: skip
    """Run the command line in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "auditlens", *map(str, args)], input=stdin if stdin is not None else b"", cwd=cwd,
        env=os.environ | (env or {}), capture_output=True, check=False, timeout=120,
    )  # fmt: skip
