"""The journal: what is on disk after each way in which a writer can die."""

import errno
import json
import math
import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from results import journal

FIRST, SECOND, THIRD = [[0, 0, 0], 1.5, None], {"a": "é\n", "b": [True]}, [[0, 0, 1]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.json"


def test_a_missing_and_an_empty_journal_have_no_lines(path: Path) -> None:
    assert journal.read(path) == []
    path.touch()
    assert journal.read(path) == []


def test_every_record_is_one_line_of_plain_json(path: Path) -> None:
    journal.append(path, FIRST)
    journal.append(path, SECOND)
    lines = path.read_text().split("\n")
    assert lines[-1] == ""
    assert [json.loads(line) for line in lines[:-1]] == [FIRST, SECOND]
    assert journal.read(path) == [FIRST, SECOND]


@pytest.mark.parametrize("keep", range(1, len(json.dumps(SECOND))))
def test_a_line_torn_anywhere_is_ignored_and_then_cut_off(path: Path, keep: int) -> None:
    journal.append(path, FIRST)
    whole = path.read_bytes()
    path.write_bytes(whole + json.dumps(SECOND).encode()[:keep])
    assert journal.read(path) == [FIRST]
    journal.append(path, THIRD)
    assert path.read_bytes() == whole + json.dumps(THIRD).encode() + b"\n"


def test_a_whole_line_that_lacks_only_its_line_break_counts_and_is_completed(path: Path) -> None:
    path.write_text(json.dumps(FIRST) + "\n" + json.dumps(SECOND))
    assert journal.read(path) == [FIRST, SECOND]
    journal.append(path, THIRD)
    assert path.read_text().splitlines() == [json.dumps(FIRST), json.dumps(SECOND), json.dumps(THIRD)]


def test_a_torn_first_line_leaves_an_empty_journal(path: Path) -> None:
    path.write_bytes(b'[[0, 0, 0], {"loss": 0.')
    assert journal.read(path) == []
    journal.append(path, FIRST)
    assert journal.read(path) == [FIRST]


@pytest.mark.parametrize("length", [4095, 4096, 4097, 20_000])
def test_a_torn_line_longer_than_a_block_is_cut_off_at_the_line_break_before_it(path: Path, length: int) -> None:
    journal.append(path, FIRST)
    whole = path.read_bytes()
    path.write_bytes(whole + b'["' + b"x" * length)
    journal.append(path, SECOND)
    assert path.read_bytes() == whole + json.dumps(SECOND).encode() + b"\n"


def test_bytes_before_the_last_line_break_are_never_changed(path: Path) -> None:
    path.write_bytes(b"damaged\n[1]\n")
    journal.append(path, FIRST)
    assert path.read_bytes().startswith(b"damaged\n[1]\n[[0, 0, 0]")


def test_damage_before_the_last_line_is_reported_with_its_line(path: Path) -> None:
    path.write_text("[1]\n[2, \n[3]\n")
    with pytest.raises(journal.JournalError, match=r"line 2: got b'\[2, '"):
        journal.read(path)


@pytest.mark.parametrize(
    ("obj", "offence"),
    [
        ([1, {"loss": math.nan}], r"nan at \[1\]\['loss'\]"),
        ({"a": (0.0, -math.inf)}, r"-inf at \['a'\]\[1\]"),
        ({"a": np.float32(1)}, "float32"),
        ({"a": {1, 2}}, r"\(set\) at \['a'\]"),
        ("text", "expected a list, tuple or mapping"),
    ],
)
def test_what_strict_json_cannot_hold_is_refused_and_nothing_is_written(path: Path, obj: object, offence: str) -> None:
    journal.append(path, FIRST)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=offence):
        journal.append(path, obj)  # type: ignore[arg-type]  # that is the point
    assert path.read_bytes() == before


def test_a_full_disk_leaves_the_journal_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal.append(path, FIRST)
    before = path.read_bytes()
    real_pwrite = os.pwrite

    def full(descriptor: int, data: bytes, offset: int) -> int:
        if offset > len(before):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real_pwrite(descriptor, data[:5], offset)

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        journal.append(path, SECOND)
    assert path.read_bytes() == before


def test_short_writes_are_continued(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real_pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda descriptor, data, offset: real_pwrite(descriptor, data[:3], offset))
    journal.append(path, FIRST)
    journal.append(path, SECOND)
    assert journal.read(path) == [FIRST, SECOND]


def test_several_lines_are_appended_together(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[bytes] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(path.read_bytes()))
    journal.append(path, FIRST, SECOND, THIRD)
    assert journal.read(path) == [FIRST, SECOND, THIRD]
    assert path.read_bytes() in synced
    with pytest.raises(ValueError, match="expected a list"):
        journal.append(path, FIRST, "no object")  # type: ignore[arg-type]  # that is the point
    assert journal.read(path) == [FIRST, SECOND, THIRD]


def test_the_line_is_synced_before_append_returns(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[bytes] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(path.read_bytes()))
    journal.append(path, FIRST)
    assert json.dumps(FIRST).encode() + b"\n" in synced


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=8,
)


@given(records=st.lists(st.lists(json_values, max_size=3), min_size=1, max_size=4), data=st.data())
def test_cut_anywhere_a_journal_reads_as_a_prefix_and_goes_on(
    tmp_path_factory: pytest.TempPathFactory, records: list[list[object]], data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("journal") / "journal.json"
    for record in records:
        journal.append(path, record)
    content = path.read_bytes()
    cut = data.draw(st.integers(0, len(content)))
    path.write_bytes(content[:cut])
    survivors = journal.read(path)
    assert survivors == records[: len(survivors)]
    assert len(survivors) in (content[:cut].count(b"\n"), content[:cut].count(b"\n") + 1)
    journal.append(path, FIRST)
    assert journal.read(path) == [*survivors, FIRST]
    assert path.read_bytes().endswith(b"\n")


def test_a_shared_journal_is_plain_json_lines(path: Path) -> None:
    journal.append_shared(path, FIRST)
    journal.append_shared(path, SECOND, THIRD)
    assert path.read_text() == "".join(f"{json.dumps(record)}\n" for record in (FIRST, SECOND, THIRD))
    assert journal.read_shared(path).records == [FIRST, SECOND, THIRD]


def test_a_missing_shared_journal_has_no_lines(path: Path) -> None:
    assert journal.read_shared(path) == journal.SharedLines(records=[], n_torn=0, end=0)


@pytest.mark.parametrize("keep", range(1, len(json.dumps(SECOND))))
def test_a_torn_line_of_a_shared_journal_stays_and_is_left_out(path: Path, keep: int) -> None:
    journal.append_shared(path, FIRST)
    torn = path.read_bytes() + json.dumps(SECOND).encode()[:keep]
    path.write_bytes(torn)
    assert journal.read_shared(path).records == [FIRST]  # it may still be being written
    journal.append_shared(path, THIRD)
    assert path.read_bytes().startswith(torn)
    lines = journal.read_shared(path)
    assert (lines.records, lines.n_torn) == ([FIRST, THIRD], 1)
    assert path.read_bytes() == torn + b"\n" + json.dumps(THIRD).encode() + b"\n"


def test_a_blank_line_of_a_shared_journal_is_no_torn_one(path: Path) -> None:
    """Two processes that ended the same torn line have left it."""
    path.write_text("[1\n[2]\n\n[3]\n")
    lines = journal.read_shared(path)
    assert (lines.records, lines.n_torn) == ([[2], [3]], 1)


def test_a_shared_journal_is_read_on_from_where_it_ended(path: Path) -> None:
    journal.append_shared(path, FIRST)
    end = journal.read_shared(path).end
    assert journal.read_shared(path, end).records == []
    journal.append_shared(path, SECOND)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])  # its line break is still missing
    unfinished = journal.read_shared(path, end)
    assert unfinished.records == []
    path.write_bytes(whole)
    assert journal.read_shared(path, unfinished.end).records == [SECOND]


def _append_many(path: Path, writer: int) -> None:
    for number in range(200):
        journal.append_shared(path, {"writer": writer, "number": number, "text": "x" * 3000})


def test_lines_of_several_processes_do_not_mix(path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_append_many, args=(path, writer)) for writer in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 3
    lines = journal.read_shared(path)
    assert lines.n_torn == 0
    for writer in range(3):
        assert [record["number"] for record in lines.records if record["writer"] == writer] == list(range(200))


def test_a_full_disk_tears_one_line_of_a_shared_journal(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal.append_shared(path, FIRST)
    real_write = os.write
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", lambda descriptor, data: real_write(descriptor, data[:7]))
        with pytest.raises(OSError, match=r"7 of \d+ bytes were written"):
            journal.append_shared(path, SECOND)
    journal.append_shared(path, THIRD)
    lines = journal.read_shared(path)
    assert (lines.records, lines.n_torn) == ([FIRST, THIRD], 1)
