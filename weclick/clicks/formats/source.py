"""Annotation files from folders and archives. Sizes are bounded before anything is allocated."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import IO, Any

from weclick.common.bounded_json import parse_json
from weclick.common.content import read_content
from weclick.common.disk import files_below, open_plain
from weclick.common.errors import InputError, MissingFileError
from weclick.common.files import is_inside
from weclick.common.words import count_bytes
from weclick.manifest.click_file import MAX_BYTES, decoded

ENDINGS = (".xml", ".json", ".csv", ".tsv")
MOST_BYTES = 64 * 2**20
"""The longest annotation file that is read, unpacked."""

MOST_JSON_BYTES = 32 * 2**20
"""The longest JSON: its values take several times as much memory."""

ARCHIVE_BYTES = 256 * 2**20
"""What all annotation files of one archive may have together, unpacked."""

DIRECTORY_BYTES = 8 * 2**20
"""The longest list of members of an archive. Its 100,000 entries take 60 MB of memory."""

_END, _END_BYTES, _LOCATOR_64 = b"PK\x05\x06", 22, b"PK\x06\x07"


@dataclass
class AnnotationFile:
    """A file that a tool wrote.

    Attributes:
        name: how errors call it.
        path: its folders and name, below what the user named; for tools whose folders are clips.
        data: its content.
        is_named: whether the user named this very file, and no folder or archive around it.
    """

    name: str
    path: PurePosixPath
    data: bytes
    is_named: bool = True

    @property
    def ending(self) -> str:
        """In small letters, with the point."""
        return self.path.suffix.lower()

    @cached_property
    def json(self) -> Any:
        """The value of a JSON file; None of any other file.

        Raises:
            InputError: it is no JSON, or too large.
        """
        if self.ending != ".json":
            return None
        if len(self.data) > MOST_JSON_BYTES:
            raise _too_long(self.name, len(self.data), MOST_JSON_BYTES)
        try:
            return parse_json(self.data.removeprefix(b"\xef\xbb\xbf"), "export fewer images at once")
        except ValueError as error:
            raise InputError(f"{self.name}: cannot be read as JSON ({error}); export it again") from error

    @cached_property
    def table_text(self) -> str | None:
        """The text of a CSV file; None of any other file.

        Raises:
            InputError: it is no text, or too long.
        """
        if self.ending not in (".csv", ".tsv"):
            return None
        if len(self.data) > MAX_BYTES:
            raise _too_long(self.name, len(self.data), MAX_BYTES)
        return decoded(self.name, self.data)


def annotation_files(paths: Iterable[Path]) -> Iterator[AnnotationFile]:
    """The annotation files that some paths name, one by one: files, zip archives, and all such in folders.

    Raises:
        MissingFileError: there is no such path.
        InputError: a file has another ending, is too large, or an archive is damaged or dangerous.
    """
    for path in paths:
        if path.is_dir():
            found = [each for each in files_below(path) if each.suffix.lower() in (*ENDINGS, ".zip")]
            found = [each for each in found if not _is_hidden(each.relative_to(path).as_posix())]
            if not found:
                raise InputError(f"{path}: holds no file that ends in {', '.join(ENDINGS)} or .zip")
            for each in found:
                inside = PurePosixPath(path.resolve().name, each.relative_to(path).as_posix())
                yield from _read(each, inside, is_named=False)
        else:
            yield from _read(path, PurePosixPath(*path.absolute().parts[-2:]), is_named=True)


def _read(path: Path, inside: PurePosixPath, *, is_named: bool) -> Iterator[AnnotationFile]:
    if path.suffix.lower() == ".zip":
        yield from _members(path)
        return
    if path.suffix.lower() not in ENDINGS:
        raise InputError(f"{path}: ends in {path.suffix!r}, expected one of {', '.join(ENDINGS)} or .zip")
    try:
        data = read_content(path, limit_bytes=MOST_BYTES)
    except FileNotFoundError as error:
        raise MissingFileError(f"{path}: there is no such annotation file; correct the path") from error
    yield AnnotationFile(str(path), inside, data, is_named)


def _members(path: Path) -> Iterator[AnnotationFile]:
    """The annotation files of an archive, read in memory: no name of it reaches the disk."""
    try:
        with os.fdopen(open_plain(path, links=True), "rb") as file:
            _check_directory(path, file)
            with zipfile.ZipFile(file) as archive:
                members = _checked(path, archive.infolist())
                for member in members:
                    with archive.open(member) as content:
                        data = content.read(MOST_BYTES + 1)
                    name, inside = f"{path}, {member.filename}", PurePosixPath(member.filename)
                    yield AnnotationFile(name, inside, data, is_named=False)
    except FileNotFoundError as error:
        raise MissingFileError(f"{path}: there is no such archive; correct the path") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise InputError(f"{path}: is damaged or no zip archive ({error}); export it again") from error


def _check_directory(path: Path, file: IO[bytes]) -> None:
    """Check the length of the list of members, which `zipfile` reads whole."""
    length = file.seek(0, os.SEEK_END)
    file.seek(max(0, length - 2**16 - _END_BYTES))
    tail = file.read()
    at = len(tail) - _END_BYTES
    if tail[at : at + 4] != _END or tail[-2:] != b"\0\0":  # there is a comment at the end
        at = tail.rfind(_END)
    if at < 0:
        raise InputError(f"{path}: is no zip archive, or cut short; export it again")
    directory_bytes = int.from_bytes(tail[at + 12 : at + 16], "little")
    if directory_bytes > DIRECTORY_BYTES or tail[max(0, at - 20) :][:4] == _LOCATOR_64:
        raise InputError(
            f"{path}: holds too many files, or is larger than 4 GiB; unpack it, and name the annotation file"
        )


def _checked(path: Path, members: list[zipfile.ZipInfo]) -> list[zipfile.ZipInfo]:
    """Those members that may be annotations."""
    for member in members:
        if not is_inside(member.filename.replace("\\", "/")):
            raise InputError(
                f"{path}: its member {member.filename[:80]!r} leads out of the archive; export it again"
            )
    wanted = [each for each in members if PurePosixPath(each.filename).suffix.lower() in ENDINGS]
    wanted = [each for each in wanted if not each.is_dir() and not _is_hidden(each.filename)]
    if not wanted:
        raise InputError(f"{path}: holds no file that ends in {', '.join(ENDINGS)}; is it the right archive?")
    for member in wanted:
        name = f"{path}, {member.filename[:80]}"
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or member.flag_bits & 1:
            raise InputError(f"{name}: is encrypted or packed by a rare method; unpack it, and name the file")
        if member.file_size > MOST_BYTES:
            raise _too_long(name, member.file_size, MOST_BYTES)
    if (total := sum(member.file_size for member in wanted)) > ARCHIVE_BYTES:
        raise _too_long(f"{path}, unpacked", total, ARCHIVE_BYTES)
    return wanted


def _is_hidden(name: str) -> bool:
    """Whether a name is hidden, or what a Mac puts beside the files of an archive."""
    return any(part[0] == "." or part == "__MACOSX" for part in PurePosixPath(name).parts)


def _too_long(name: str, length: int, most: int) -> InputError:
    return InputError(
        f"{name}: has {count_bytes(length)}, expected at most {count_bytes(most)}; export the clips one by "
        "one, without masks and what is interpolated"
    )
