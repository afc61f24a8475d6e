"""The images, videos and streams that people name for `weclick predict`, and the names of their results."""

from __future__ import annotations

import glob
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from weclick.common import words
from weclick.common.disk import read_plain
from weclick.common.errors import InputError, MissingFileError, UnreadableError
from weclick.datasets.unread import tell_unread
from weclick.manifest.images import IMAGE_SUFFIXES
from weclick.manifest.video import VIDEO_SUFFIXES
from weclick.manifest.video_stream import STDIN, is_stream

LIST = "@"
"""Before the name of a text file with a source in each line."""

Tell = Callable[[InputError | UnreadableError], None]
"""Takes what is wrong with one of several sources. It raises it, or keeps it while the others go on."""


@dataclass(frozen=True)
class Source:
    """An image, a video or a stream.

    Attributes:
        path: of the file.
        name: of what is made of it, without ending; parts are separated by slashes.
        is_video: whether it is a video; streams are.
        address: of a stream, see `is_stream`; empty for a file.
    """

    path: Path
    name: str
    is_video: bool
    address: str = ""

    def __str__(self) -> str:
        """The source as errors name it, without passwords."""
        return words.masked(self.address) or str(self.path)


def raise_it(error: InputError | UnreadableError) -> None:
    """The `Tell` for which one bad source is one too many."""
    raise error


def find_sources(
    given: Sequence[Path | str],
    *,
    is_own: Callable[[Path], bool],
    leave_out: Sequence[Path] = (),
    tell: Tell = raise_it,
) -> list[Source]:
    """The images, videos and streams that were named, each once.

    Args:
        given: images, videos, folders of them at any depth, and patterns with `*`, `?`, `[...]` and `**`. A
            name that exists is never a pattern. Links are followed, each folder once. Hidden files and
            folders inside of a folder are passed over. `@list.txt` stands for the lines of that file. Streams
            are `-`, `camera:0` and addresses such as rtsp://host/path.
        is_own: whether predict wrote this image or video; such files are left out.
        leave_out: folders that predict writes into; what lies in them is left out.
        tell: takes what is wrong with one of those given.

    Returns:
        Files in the order given, then streams, since these may have no end. Names come from the file's name;
        inside one folder they begin below it; of several files and folders they begin below the folder that
        holds all. Files of one name keep their endings.

    Raises:
        MissingFileError: there is no such list; and with `raise_it` no such file or folder, or a pattern
            matches none.
        InputError: two files cannot be told apart by their names; and with `raise_it` a folder holds no image
            or video.
    """
    named = [each for one in given for each in _listed(one)]
    streams = dict.fromkeys(str(each) for each in named if is_stream(str(each)))
    own = _Own(is_own, {folder.resolve() for folder in leave_out})
    faults: list[InputError | UnreadableError] = []
    paths, by_pattern = _expanded([Path(each) for each in named if str(each) not in streams], faults.append)
    found: dict[Path, None] = {}
    for path in paths:
        try:
            inside = [*_files(_there(path), own, lenient=by_pattern)]
            if not inside and not by_pattern:
                raise InputError(_nothing_in(path, own.count))
        except (InputError, UnreadableError) as error:
            faults.append(error)
        else:
            found |= dict.fromkeys(_plain(file) for file in inside)
    if not found and not streams and not faults:
        faults.append(InputError(_nothing_in(Path(named[0]), own.count)))
    for fault in faults:
        tell(fault)
    own.tell()
    base = _base(paths, alone=len(paths) == 1 and not by_pattern) if found else Path("/")
    return _named([*found], base, [*streams])


def _listed(given: Path | str) -> Iterator[Path | str]:
    """What was given, or the lines of a list of sources, as if they stood on the command line."""
    name = str(given)
    if not name.startswith(LIST) or os.path.lexists(name):
        yield given
        return
    path = Path(name.removeprefix(LIST))
    try:
        lines = read_plain(path, links=True).decode("utf-8-sig").splitlines()
    except FileNotFoundError as error:
        raise MissingFileError(
            f"{path}: there is no such list of sources; give a text file with a source in each line"
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: is no list of sources in UTF-8 ({error}); write one in each line"
        ) from error
    sources = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not sources:
        raise InputError(f"{path}: lists no source; write one in each line")
    yield from sources


class _Own:
    """Files that predict wrote itself; it counts them."""

    def __init__(self, is_own: Callable[[Path], bool], folders: set[Path]):
        self._is_own, self._folders, self.count = is_own, folders, 0

    def has(self, path: Path) -> bool:
        real = path.resolve()
        mine = any(real.is_relative_to(folder) for folder in self._folders) or self._is_own(path)
        self.count += mine
        return mine

    def tell(self) -> None:
        if self.count:
            files = words.plural(self.count, "file")
            print(
                f"weclick: left out {files} that predict wrote, or that lie where it writes", file=sys.stderr
            )


def _nothing_in(path: Path, own: int) -> str:
    if own and not path.is_dir():
        return f"{path}: predict wrote it, or it lies where predict writes; give what it was made of"
    besides = f" besides {words.plural(own, 'file')} that predict wrote" if own else ""
    return (
        f"{path}: holds no image ({', '.join(IMAGE_SUFFIXES)}) or video ({', '.join(VIDEO_SUFFIXES)})"
        f"{besides}, here or deeper; give a folder of frames or videos, or one video or image file"
    )


def _expanded(given: Sequence[Path], tell: Tell) -> tuple[list[Path], bool]:
    """The paths that were given, patterns replaced by what they match; and whether there was a pattern.

    `tell` gets the error of a pattern that matches nothing.
    """
    paths: list[Path] = []
    by_pattern = False
    for each in given:
        if os.path.lexists(each) or not glob.has_magic(str(each)):
            paths.append(each)
            continue
        by_pattern = True
        matched = [*_matches(each)]
        if not matched:
            tell(
                MissingFileError(
                    f"{each}: there is no such file or folder, and as a pattern it matches none; give an "
                    "image, a folder or a video"
                )
            )
        paths += matched
    return paths, by_pattern


def _there(path: Path) -> Path:
    if not path.exists():
        raise MissingFileError(f"{path}: there is no such file or folder; give an image, a folder or a video")
    if not path.is_dir() and not path.is_file():
        raise InputError(f"{path}: is no regular file; give an image, a folder or a video")
    return path


def _matches(pattern: Path) -> Iterator[Path]:
    """What a pattern matches, in order. Part by part, so that a folder `clip[1]` that exists is itself."""
    found = [Path(pattern.anchor)]
    for part in pattern.parts[bool(pattern.anchor) :]:
        found = [path for base in found for path in _match_part(base, part)]
    return iter(dict.fromkeys(found))


def _match_part(base: Path, part: str) -> Iterator[Path]:
    if os.path.lexists(base / part):
        yield base / part
    elif part == "**":
        yield base
        for folder, below, _ in os.walk(base):
            below[:] = sorted(name for name in below if name[0] != ".")
            yield from (Path(folder, name) for name in below)
    elif glob.has_magic(part) and base.is_dir():
        names = sorted(path.name for path in base.iterdir())
        yield from (base / name for name in names if name[0] != "." and fnmatchcase(name, part))


def _files(path: Path, own: _Own, *, lenient: bool) -> Iterator[Path]:
    """The images and videos of a path that people gave."""
    if path.is_dir():
        yield from _inside(path, own, set())
    elif (not lenient or _is_known(path)) and path.is_file() and not own.has(path):
        yield path


def _inside(folder: Path, own: _Own, seen: set[Path]) -> Iterator[Path]:
    """The images and videos in a folder and deeper. Real folders come before links, and each is seen once."""
    seen.add(folder.resolve())
    listed = [path for path in sorted(folder.iterdir()) if path.name[0] != "."]
    known = (path for path in listed if _is_known(path) and path.is_file())
    files = [path for path in known if not own.has(path)]
    if files:
        tell_unread(folder, (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES))
    yield from files
    for below in sorted((path for path in listed if path.is_dir()), key=Path.is_symlink):
        if below.resolve() not in seen:
            yield from _inside(below, own, seen)


def _is_known(path: Path) -> bool:
    return path.suffix.lower() in (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES)


def _base(paths: Sequence[Path], *, alone: bool) -> Path:
    """The folder below which names begin."""
    if alone and paths[0].is_dir():
        return _plain(paths[0])
    return Path(os.path.commonpath([_plain(path).parent for path in paths]))


def _plain(path: Path) -> Path:
    """The path from the root on, without `..`; links stay."""
    return Path(os.path.normpath(path.absolute()))


def _stream_name(address: str) -> str:
    """The name of what is made of a stream: stdin, camera0, or host and path, without passwords."""
    if address == STDIN:
        return "stdin"
    if "://" not in address:
        return address.replace(":", "")
    place = re.split("[?#]", address.partition("://")[2])[0]
    host, slash, path = place.partition("/")
    place = host.rpartition("@")[2] + slash + re.sub(r"\.\w{1,5}$", "", path)
    return re.sub(r"[^\w.-]+", "_", place, flags=re.ASCII).strip("._") or "stream"


def _named(files: Sequence[Path], base: Path, streams: Sequence[str]) -> list[Source]:
    sources = [
        Source(
            path=path,
            name=(path.parent / path.stem).relative_to(base).as_posix(),
            is_video=path.suffix.lower() not in IMAGE_SUFFIXES,
        )
        for path in files
    ]
    sources += [Source(Path(), _stream_name(each), is_video=True, address=each) for each in streams]
    uses = Counter(source.name for source in sources)
    folders = {parent.as_posix() for source in sources for parent in Path(source.name).parents}
    whole = [
        replace(source, name=f"{source.name}{source.path.suffix}")
        if uses[source.name] > 1 or (source.is_video and source.name in folders)
        else source
        for source in sources
    ]
    twice = [name for name, count in Counter(source.name for source in whole).items() if count > 1]
    if twice:
        both = ", ".join(str(source) for source in whole if source.name == twice[0])
        raise InputError(
            f"{both}: the results of these files would have one name, {twice[0]}; rename one, or predict "
            "them into two folders (--output)"
        )
    return whole
