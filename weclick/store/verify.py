"""Is an entry still what was committed?"""

from __future__ import annotations

from pathlib import Path

from weclick.errors import InputError
from weclick.store.entries import META, open_entry
from weclick.store.keys import entry_key, file_digest


def verify_entry(path: Path) -> list[str]:
    """Compare an entry's files with their digests and its key with its inputs.

    Returns:
        One line per fault, each naming the file; empty when the entry is whole.
    """
    try:
        meta = open_entry(path).meta
    except InputError as error:
        return [str(error)]
    faults = []
    if not meta["key"] == path.name == entry_key(meta["kind"], meta["inputs"]):
        faults.append(f"{path}: key does not follow from the inputs in {META}; the entry was edited or moved")
    present = {f.relative_to(path).as_posix() for f in path.rglob("*") if f.is_file()} - {META}
    faults += [f"{path / name}: is not listed in {META}" for name in sorted(present - set(meta["files"]))]
    for name, expected in meta["files"].items():
        if name not in present:
            faults.append(f"{path / name}: missing, expected {expected['bytes']} bytes")
        elif file_digest(path / name) != expected["sha256"]:
            faults.append(f"{path / name}: content differs from what was committed")
    return faults
