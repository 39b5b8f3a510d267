"""Files and directories appear whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from results.atomic_file import make_directory, new_directory, replacing, write_atomically


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "it"


def test_a_file_is_replaced_when_it_is_whole(path: Path) -> None:
    write_atomically(path, "old")
    with replacing(path) as stream:
        stream.write(b"new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


def test_a_file_stays_where_writing_failed(path: Path) -> None:
    write_atomically(path, b"old")

    def fail() -> None:
        with replacing(path) as stream:
            stream.write(b"half")
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fail()
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


def test_a_directory_in_place_of_a_file_is_named_and_not_the_temporary_file(path: Path) -> None:
    path.mkdir()
    with pytest.raises(IsADirectoryError) as caught:
        write_atomically(path, "new")
    assert caught.value.filename == str(path)
    assert str(caught.value).endswith(f"'{path}'")
    with pytest.raises(FileNotFoundError) as missing:
        write_atomically(path / "absent" / "file", "new")
    assert missing.value.filename == str(path / "absent" / "file")
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("below", ["", "a", "a/b"])
def test_a_file_in_place_of_a_directory_is_named(path: Path, below: str) -> None:
    path.write_text("mine")
    with pytest.raises(NotADirectoryError, match=r"got .*it.*, but .*it is a file; expected a directory or a new path"):
        make_directory(path / below)
    assert path.read_text() == "mine"


def test_a_directory_is_made_with_its_parents_once(path: Path) -> None:
    for _ in range(2):
        make_directory(path / "a" / "b")
    assert (path / "a" / "b").is_dir()


def test_a_directory_appears_with_all_that_is_in_it(path: Path) -> None:
    with new_directory(path) as directory:
        (directory / "a").write_text("1")
        assert not path.exists()
    assert (path / "a").read_text() == "1"
    assert list(path.parent.iterdir()) == [path]


def test_nothing_remains_of_a_directory_that_failed(path: Path) -> None:
    def fail() -> None:
        with new_directory(path) as directory:
            (directory / "a").write_text("1")
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fail()
    assert not list(path.parent.iterdir())


@pytest.mark.parametrize("other", ["file", "directory"])
def test_what_came_into_the_place_of_a_directory_meanwhile_stays(path: Path, other: str) -> None:
    theirs = path / "theirs" if other == "directory" else path

    def late() -> None:
        with new_directory(path) as directory:
            (directory / "a").write_text("1")
            theirs.parent.mkdir(exist_ok=True)
            theirs.write_text("theirs")

    with pytest.raises(OSError, match="it"):
        late()
    assert theirs.read_text() == "theirs"
    assert list(path.parent.iterdir()) == [path]
