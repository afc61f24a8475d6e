"""Changes entries after they were committed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from weclick.common.digest import file_digest
from weclick.store.meta import _digest, spell_meta


def forge(folder: Path, change: Callable[[dict], None]) -> None:
    """Change entry.json as an attacker who knows the format: sums, digests and key fit again."""
    meta = json.loads((folder / "entry.json").read_text(encoding="utf-8"))
    change(meta)
    meta = {name: value for name, value in meta.items() if name != "digest"}
    (folder / "entry.json").write_bytes(spell_meta({**meta, "digest": _digest(meta)}))


def relist(folder: Path, meta: dict) -> None:
    """List every file that lies in the folder, with its true digest."""
    paths = [p for p in folder.rglob("*") if p.is_file() and p.name != "entry.json"]
    meta["files"] = {
        p.relative_to(folder).as_posix(): {"bytes": p.stat().st_size, "sha256": file_digest(p)} for p in paths
    }
    meta["entry_bytes"] = sum(file["bytes"] for file in meta["files"].values())


def edit_zarr_json(entry: Path, change: Callable[[dict], None], path: str = "flow/zarr.json") -> None:
    raw = json.loads((entry / path).read_text(encoding="utf-8"))
    change(raw)
    (entry / path).write_text(json.dumps(raw))
    forge(entry, lambda meta: relist(entry, meta))
