"""Lakes of the shared captures, and the truth they are compared with."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from capture import captures

from auditlens.importing.files.run import import_files
from auditlens.lake import Lake
from auditlens.lake.maintenance import compact
from auditlens.redact import Redactor

HERE = Path(__file__).resolve()
SHARED = next((p for p in (HERE.parents[2] / "shared", HERE.parents[3] / "shared") if p.is_dir()), HERE.parents[3] / "shared")
CAPTURES = captures()
KEY = b"a key that only these tests know"
needs_captures = pytest.mark.skipif(not (SHARED / "captures").is_dir(), reason="the shared captures are not here")


@pytest.fixture(scope="session")
def redactor() -> Redactor:
    return Redactor(KEY)


@pytest.fixture(scope="session")
def make_lake(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Lake]:
    """Import files, or lines, with the key of these tests."""

    def make(*inputs: Path | list[bytes], name: str = "lake") -> Lake:
        folder = tmp_path_factory.mktemp(name)
        (folder / "key").write_bytes(KEY)
        for i, given in enumerate(inputs):
            path = given
            if isinstance(given, list):
                path = folder / f"audit-{i}.log"
                path.write_bytes(b"".join(given))
            import_files([path], folder / "lake", redact_key=folder / "key")
        return Lake(folder / "lake")

    return make


def log(capture: str) -> Path:
    """The audit log of a capture; `full` is in every clone."""
    path = CAPTURES / capture / "audit.log.gz"
    if not path.exists():
        pytest.skip(f"the capture {capture} is not here")
    return path


def lines(capture: str) -> list[bytes]:
    with gzip.open(log(capture)) as f:
        return f.readlines()


def dump(capture: str, redactor: Redactor) -> tuple[str, dict[tuple[str, str | None, str], dict[str, Any]]]:
    """When the final state was taken, and its objects, redacted, without managedFields."""
    with gzip.open(log(capture).with_name("final-state.json.gz")) as f:
        items = json.load(f)["items"]
    found = {}
    for item in items:
        resource = item.pop("_resource").partition(".")[0]
        item = plain(json.loads(redactor.body(json.dumps(item).encode())))
        found[(resource, item["metadata"].get("namespace"), item["metadata"]["name"])] = item
    return (CAPTURES / capture / "final-state.time").read_text().strip(), found


def plain(body: dict[str, Any] | None) -> dict[str, Any] | None:
    """A copy without managedFields."""
    if body is None:
        return None
    out = json.loads(json.dumps(body))
    out["metadata"].pop("managedFields", None)
    return out


@pytest.fixture(scope="session")
def full(make_lake: Callable[..., Lake]) -> Lake:
    return make_lake(log("full"), name="full")


@pytest.fixture(scope="session")
def everything(make_lake: Callable[..., Lake]) -> Lake:
    return make_lake(log("everything"), name="everything")


@pytest.fixture(scope="session")
def shuffled(make_lake: Callable[..., Lake]) -> Lake:
    """The full capture in three files, in another order, with many events twice, then compacted."""
    mixed = lines("full")
    random.Random(7).shuffle(mixed)
    third = len(mixed) // 3
    lake = make_lake(
        mixed[2 * third :], mixed[:third] + mixed[2 * third : 2 * third + 500], mixed[third : 2 * third + 100], name="shuffled"
    )
    compact(lake)
    return lake


@pytest.fixture(scope="session")
def truth() -> dict[str, dict[str, Any]]:
    """The scenarios of the full capture by id."""
    scenarios = json.loads((CAPTURES / "full" / "truth.json").read_text())["scenarios"]
    return {s["id"]: s for s in scenarios}


def asked(scenario: dict[str, Any], *words: str, who: str | None = None) -> str:
    """The audit id of the first request of the step whose command has all the words."""
    for step in scenario["steps"]:
        text = step.get("cmd") or step.get("raw") or ""
        if all(w in text for w in words) and (who is None or step["who"] == who):
            for request in reversed(step["requests"]):
                if request["method"] != "GET" and request.get("auditID"):
                    return str(request["auditID"])
    raise LookupError(f"{scenario['id']}: no step with {words}")
