"""Every format's samples yield what stands beside them."""

from __future__ import annotations

import pytest

from auditlens.formats.line import Sample
from auditlens.formats.registry import SAMPLES

from .helpers import facts, matches, read_all

CASES = [pytest.param(sample, id=f"{name}-{n}") for name, all_ in SAMPLES.items() for n, sample in enumerate(all_)]


@pytest.mark.parametrize("sample", CASES)
def test_a_sample_yields_what_it_says(sample: Sample) -> None:
    records = read_all(sample.source)[1]
    found = [facts(record) for record in records]
    assert len(found) == len(sample.yields), found
    for expected, got in zip(sample.yields, found, strict=True):
        assert matches(expected, got), (expected, got)


@pytest.mark.parametrize("sample", CASES)
def test_a_sample_reads_the_same_in_chunks_of_one_line(sample: Sample) -> None:
    assert read_all(sample.source, 1)[1] == read_all(sample.source)[1]
