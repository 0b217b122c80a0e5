"""Whatever stands in a wrapper's fields, a wrapper gives a record or a reject: nothing vanishes, nothing is raised."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import imported, rows

from auditlens.formats.registry import SAMPLES

from .helpers import SHARED, facts, read_all

GONE = object()
INSTEAD: tuple[Any, ...] = (None, "", 7, [], {}, ["x"], "nonsense", GONE)


def documents(source: bytes) -> Iterator[Any]:
    """The JSON documents of a sample: the whole of it, or each line of it."""
    for text in [source, *source.split(b"\n")]:
        try:
            value = json.loads(text)
        except ValueError:
            continue
        if isinstance(value, (dict, list)):
            yield value
            if text is source:
                return


def mutants(value: Any) -> Iterator[Any]:
    """The document with one field, at any depth and also inside JSON that is text, replaced or removed."""
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            inner = json.loads(value)
        except ValueError:
            return
        yield from (json.dumps(mutant, separators=(",", ":")) for mutant in mutants(inner))
    elif isinstance(value, (dict, list)):
        for key in value if isinstance(value, dict) else range(len(value)):
            for other in [*INSTEAD, *mutants(value[key])]:
                copy: Any = value.copy()
                if other is GONE:
                    del copy[key]
                else:
                    copy[key] = other
                yield copy


CASES = [
    pytest.param(document, name, id=f"{name}-{n}")
    for name, samples in SAMPLES.items()
    for n, document in enumerate(document for sample in samples for document in documents(sample.source))
    if not (isinstance(document, dict) and document.get("messageType") == "CONTROL_MESSAGE")  # a health check holds nothing
]


def written(mutant: Any) -> Iterator[bytes]:
    yield json.dumps(mutant, separators=(",", ":")).encode() + b"\n"
    yield json.dumps(mutant, indent=1).encode() + b"\n"


@pytest.mark.parametrize(("document", "form"), CASES)
def test_a_wrapper_without_what_it_should_hold_is_a_reject_not_nothing(document: Any, form: str) -> None:
    whole = len(read_all(next(written(document)))[1])
    for mutant in mutants(document):
        if mutant in ({}, []):
            continue
        for source in written(mutant):
            found = read_all(source)[1]
            assert found, source
            assert all(facts(record) for record in found)
            # one value of another kind: every element is still told, but for pages of which nobody knows that they are one
            same = all(json.dumps(mutant).count(bracket) == json.dumps(document).count(bracket) for bracket in "{[")
            if same and form not in ("generic", "jsonlog"):
                assert len(found) >= whole, source


def test_an_import_of_them_all_is_accounted_for(tmp_path: Path) -> None:
    """As one file: what one of them leaves open must not swallow the next."""
    lines = [next(written(mutant)) for case in CASES for mutant in mutants(case.values[0]) if mutant not in ({}, [])]
    source = tmp_path / "all.jsonl"
    source.write_bytes(b"".join(lines))
    (report,) = imported(tmp_path / "lake", source).sources
    assert report.lines == len(lines)
    assert sum(report.rows.values()) > 0
    assert report.rejects > len(INSTEAD)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared field cases are not here")
@pytest.mark.parametrize("name", ["a", "b", "c", "d"])
def test_the_smallest_ones_that_vanished(name: str, tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    (report,) = imported(lake, SHARED / "field" / "18-gke-bigquery" / "min" / f"{name}.jsonl").sources
    assert (report.records, report.rejects) == (1, 1)
    assert rows(lake, "select reason from rejects")[0][0]
