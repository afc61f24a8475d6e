"""Store entries that are damaged, and disks that are full."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from weclick.clicks import write_clicks
from weclick.common.errors import DiskFullError, InputError
from weclick.common.files import write_text
from weclick.datasets.frames import pack_frames
from weclick.datasets.toy.draw import generate
from weclick.manifest import write_manifest
from weclick.manifest.window import Window
from weclick.store import DamagedEntryError, Store, read_index, verify_entry
from weclick.train.data.stream import Caches, Stream
from weclick.train.data.windows import WindowReader


@pytest.fixture
def packed(street, tmp_path):
    """A store of its own with the street's frames: (stream over it, folder of the first clip's entry)."""
    store = Store([tmp_path / "store"])
    keys = pack_frames(street.train, chunk_px=32, store=store)
    clip = dataclasses.replace(street.train.clips[0], targets=(0,))
    stream = Stream(
        dataclasses.replace(street.train, clips=(clip,)),
        street.clicks,
        Caches(store, keys, {}, {}),
        window=Window(frames=1),
        options={**street.config["student"], "batch_size": 1},
        stride_px=4,
        occlusion="none",
        seed=0,
    )
    return stream, store.get("frames", keys[clip.id]).path


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def garble(path: Path) -> None:
    path.write_bytes(bytes(np.random.default_rng(0).integers(0, 256, path.stat().st_size, np.uint8)))


@pytest.mark.parametrize(
    ("file", "damage", "told"),
    [
        ("rgb/c/0/0/0/0", Path.unlink, r"rgb/c/0/0/0/0 is missing, expected \d+ bytes"),
        ("rgb/c/0/0/0/0", halve, r"rgb/c/0/0/0/0 has \d+ bytes, expected \d+"),
        ("rgb/c/0/0/0/0", garble, r"rgb/c/0/0/0/0 is not what was committed"),
        ("rgb/zarr.json", Path.unlink, r"rgb/zarr\.json is missing"),
        ("rgb/zarr.json", garble, r"rgb/zarr\.json is not what was committed"),
        ("rgb/zarr.json", halve, r"rgb/zarr\.json has \d+ bytes, expected \d+"),
        ("entry.json", halve, r"no readable entry\.json"),
    ],
)
def test_training_stops_at_a_damaged_entry_and_says_which(packed, file, damage, told):
    stream, entry = packed
    next(stream.batches(0, 1, torch.device("cpu")))
    stream._reader = WindowReader(stream._caches.store)
    damage(entry / file)
    with pytest.raises(
        DamagedEntryError, match=rf"{entry}: damaged entry: {told}.*delete this folder and run"
    ):
        next(stream.batches(0, 1, torch.device("cpu")))
    assert verify_entry(entry)


def test_zarr_readers_stop_too(packed):
    _, path = packed
    entry = Store([path.parents[3]]).get("frames", path.name)
    assert entry.array("rgb")[1].shape == (64, 96, 3)
    (path / "rgb/c/1/0/0/0").unlink()
    with pytest.raises(DamagedEntryError, match="rgb/c/1/0/0/0 is missing"):
        entry.array("rgb")[1]
    with pytest.raises(DamagedEntryError, match="it holds no array 'flow'"):
        entry.array("flow")


def test_an_altered_byte_is_found_by_verify(packed):
    _, path = packed
    chunk = path / "rgb/c/2/0/0/0"
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 1
    chunk.write_bytes(content)
    assert verify_entry(path) == [f"{chunk}: content differs from what was committed"]


def test_altered_attributes_are_found_when_opened(packed):
    _, path = packed
    meta = json.loads((path / "entry.json").read_text(encoding="utf-8"))
    meta["attributes"]["axes"] = "THCW"
    (path / "entry.json").write_text(json.dumps(meta))
    with pytest.raises(DamagedEntryError, match=r"entry\.json is not what was committed"):
        Store([path.parents[3]]).find("frames", path.name)


def test_a_clip_that_the_index_lacks(packed):
    stream, _ = packed
    stream._caches = dataclasses.replace(stream._caches, frames={})
    with pytest.raises(InputError, match=r"not in the frames index of 0 clips; run the frames stage again"):
        stream.read(stream.plan(0))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"kind": "flow", "entries": [1]}', '{"kind": "flow"}'])
def test_what_is_no_index(tmp_path, text):
    (tmp_path / "0.json").write_text(text)
    with pytest.raises(InputError, match=r"0\.json: .*delete it and run"):
        read_index([tmp_path / "0.json"], "flow")
    with pytest.raises(InputError, match=r"none\.json: there is no such file; the flow stage makes it"):
        read_index([tmp_path / "none.json"], "flow")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 256 KiB of its own."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() or not shutil.which("mount"):
        pytest.skip("only root may mount a small disk")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", disk], check=False).returncode:
        pytest.skip("no file system can be mounted here")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def leftovers(folder: Path) -> list[str]:
    return [str(path) for path in folder.rglob("*") if path.is_file() or path.name.endswith(".tmp")]


def test_a_full_disk_leaves_no_entry_and_no_half_file(street, small_disk):
    noise = np.random.default_rng(0).bytes(220 * 1024)
    (small_disk / "others").write_bytes(noise)
    told = r"disk.*there is no room to write it \(.*No space left.*B are free in .*free some space"
    with pytest.raises(DiskFullError, match=told):
        pack_frames(street.train, chunk_px=32, store=Store([small_disk / "store"]))
    with pytest.raises(DiskFullError, match=told):
        write_text(small_disk / "new.json", "x" * 100_000)
    with pytest.raises(DiskFullError, match=told):
        generate(small_disk / "toy", seed=0, height=64, width=96, clips={"train": 1}, frames=4)
    assert leftovers(small_disk) == [str(small_disk / name) for name in ("others", "toy/.lock")]


def test_an_old_file_outlives_a_full_disk(street, small_disk):
    write_text(small_disk / "old.json", "old")
    write_clicks(street.clicks, small_disk / "old.h5")
    table = (small_disk / "old.h5").read_bytes()
    (small_disk / "others").write_bytes(bytes(256 * 1024 - 3 * 4096 - len(table)))
    with pytest.raises(DiskFullError):
        write_text(small_disk / "old.json", "new" * 50_000)
    assert (small_disk / "old.json").read_text(encoding="utf-8") == "old"
    assert (small_disk / "old.h5").read_bytes() == table


def test_the_verb_ends_in_one_line_where_no_file_may_grow(street, tmp_path):
    """The limit on the size of a file needs no root: the kernel refuses the write as a full disk does."""
    write_manifest(street.train, tmp_path / "m.json")
    code = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000)); from weclick.cli import main; main()"
    )
    config = json.dumps({"cache": {"roots": [str(tmp_path / "store")]}})
    words = ["--manifest", tmp_path / "m.json", "--output", tmp_path / "f.json", "--config", config]
    environment = {key: value for key, value in os.environ.items() if key != "WECLICK_CACHE"}
    ended = subprocess.run(
        [sys.executable, "-c", code, "frames", *words], capture_output=True, text=True, env=environment
    )
    assert ended.returncode == 1
    assert "there is no room to write it ([Errno 27] File too large" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert leftovers(tmp_path) == [str(tmp_path / "m.json")]


def test_a_checkpoint_without_room_leaves_the_old_one(tmp_path):
    code = """
import resource, signal, sys, torch
from pathlib import Path
from weclick.common.errors import DiskFullError
from weclick.train.checkpoint import Trained, save_checkpoint
path = Path(sys.argv[1])
model = torch.nn.Linear(2, 2)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
save_checkpoint(path, model, optimizer, "small", Trained(1))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000))
try:
    save_checkpoint(path, torch.nn.Linear(200, 200), optimizer, "large", Trained(2))
except DiskFullError as error:
    print(error)
"""
    path = tmp_path / "checkpoint.pt"
    ended = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    assert "checkpoint.pt: there is no room to write it" in ended.stdout, ended.stderr
    assert leftovers(tmp_path) == [str(path)]
    assert torch.load(path, weights_only=True)["recipe"] == "small"
