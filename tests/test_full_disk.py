"""Disks that are full, read-only or gone in the middle: told, nothing half-written stays, and it goes on."""

import dataclasses
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import boto3
import pytest
import torch
from torch import nn

from helpers.cache_entries import files_of, write_flow_entry
from helpers.rights import open_folder, without_rights
from helpers.s3_server import name_server, start_server
from weclick.clicks import write_clicks
from weclick.common.errors import DiskFullError, UnwritableError, room_to_write
from weclick.datasets.digests import file_digests
from weclick.datasets.frames import pack_frames
from weclick.evaluate.apply import predict_files
from weclick.flow.stage import compute_flow
from weclick.flow.to_files import export_flow
from weclick.manifest import write_manifest
from weclick.manifest.window import Window
from weclick.proxy_labels.soft_labels import compute_soft_labels
from weclick.runs.plan.probe import plausible_teacher
from weclick.store import (
    LocalRoot,
    S3Root,
    Store,
    UnreachableRootError,
    copy_entries,
    entry_key,
    list_entries,
    verify_entry,
)
from weclick.store.roots import local_root
from weclick.train.checkpoint import CHECKPOINT, Trained, save_checkpoint
from weclick.train.data.stream import Caches
from weclick.train.recipe import Recipe
from weclick.train.stage import train_recipe
from weclick.train.stopwatch import TRACE, traced

PAGE = 4096
DISK_BYTES = 4 * 2**20
TOLD = r"there is no room to write it \(.*No space left.*B are free in .*free some space.*what is finished"


class Disk:
    """A small file system of its own."""

    def __init__(self, path: Path):
        self.path = path
        self._others = path / "others"

    def mount(self, *words: object) -> None:
        if subprocess.run(["mount", *map(str, words), self.path], check=False).returncode:
            pytest.skip("no file system can be mounted here")

    def leave(self, free_bytes: int) -> None:
        """Others fill the disk but for so many bytes."""
        self._others.unlink(missing_ok=True)
        taken = os.statvfs(self.path).f_bavail * os.statvfs(self.path).f_bsize - free_bytes
        with self._others.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, taken)

    def clear(self) -> None:
        """Others make room again."""
        self._others.unlink()

    def leftovers(self) -> list[str]:
        """What no reader should ever see: temporary files and folders."""
        return [str(path) for path in self.path.rglob("*") if "tmp" in path.name or path.name[0] == "."]


@pytest.fixture
def disk(tmp_path) -> Iterator[Disk]:
    if os.geteuid() or not shutil.which("mount"):
        pytest.skip("only root may mount a small disk")
    disk = Disk(tmp_path / "disk")
    disk.path.mkdir()
    disk.mount("-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs")
    yield disk
    subprocess.run(["umount", "-l", disk.path], check=True)


@pytest.fixture(scope="module")
def stages(street, tmp_path_factory) -> dict[str, Callable]:
    """Kind -> the stage that makes its entries: (manifest, store) -> clip id -> key."""
    teacher = tmp_path_factory.mktemp("teacher") / "model.safetensors"
    teacher.write_bytes(plausible_teacher(street.config, street.train))
    pairs = Window(**street.config["window"]).pairs
    return {
        "frames": lambda manifest, store: pack_frames(manifest, chunk_px=32, store=store),
        "flow": lambda manifest, store: compute_flow(
            manifest, pairs, options=street.config["flow"], store=store
        ),
        "soft_labels": lambda manifest, store: compute_soft_labels(
            manifest, teacher, chunk_px=16, store=store
        ),
    }


def inodes(folder: Path) -> dict[str, int]:
    return {path.relative_to(folder).as_posix(): path.stat().st_ino for path in folder.rglob("*")}


@pytest.mark.parametrize("kind", ["frames", "flow", "soft_labels"])
def test_a_stage_tells_a_full_disk_keeps_what_is_whole_and_goes_on(street, stages, disk, kind):
    """The disk is full after every few pages of the second entry, so each of its files is once the first."""
    root = disk.path / "store"
    first = dataclasses.replace(street.train, clips=street.train.clips[:1])
    (key,) = stages[kind](first, Store([root])).values()
    kept = inodes(LocalRoot(root).folder(kind, key))
    needed = sum(-(-len(data) // PAGE) * PAGE for data in files_of(root).values())
    for free_bytes in range(0, needed // 2, max(needed // 2 // (6 * PAGE), 1) * PAGE):
        disk.leave(free_bytes)
        with pytest.raises(DiskFullError, match=TOLD):
            stages[kind](street.train, Store([root]))
        assert disk.leftovers() == []
        assert [path.name for path in list_entries(root, kind)] == [key]
    disk.clear()
    made = stages[kind](street.train, Store([root]))
    assert len(made) == 2
    assert inodes(LocalRoot(root).folder(kind, key)) == kept
    assert [verify_entry(path) for path in list_entries(root, kind)] == [[], []]


def test_publish_and_fetch_tell_a_full_disk_and_go_on(tmp_path, disk):
    keys = [write_flow_entry(tmp_path / "mine", {"n": n}, n) for n in range(12)]
    source, target = LocalRoot(tmp_path / "mine"), LocalRoot(disk.path / "team")
    wanted = [("flow", key) for key in keys]
    copy_entries([source], target, wanted[:2])
    for free_bytes in range(0, 12 * PAGE, PAGE):
        disk.leave(free_bytes)
        with pytest.raises(DiskFullError, match=TOLD):
            copy_entries([source], target, wanted)
        assert disk.leftovers() == []
        assert not any(target.faults("flow", key) for key in target.keys("flow"))
    disk.clear()
    held = len(list(target.keys("flow")))
    done = copy_entries([source], target, wanted)
    assert (done.copied, done.skipped) == (12 - held, held)
    assert files_of(target.path) == files_of(source.path)


@pytest.mark.slow
def test_a_training_tells_a_full_disk_and_goes_on_from_its_checkpoint(street, tmp_path, disk):
    def train(folder: Path) -> bytes:
        names = ("seed", "teacher", "partial_cross_entropy", "gated_crf")
        store = Store([*street.store.roots, tmp_path / f"models of {folder.name}"])
        recipe = Recipe(
            role="teacher",
            config={name: street.config[name] for name in names},
            manifest=street.train,
            clicks=street.clicks,
            caches=Caches(store, street.frames, {}, {}),
            validation=street.val,
        )
        return (train_recipe(recipe, folder, device="cpu").path / "model.safetensors").read_bytes()

    folder = disk.path / "teacher"
    for pages in (0, 1, 2, 3, 5, 8, 40, 200):
        disk.leave(pages * PAGE)
        with pytest.raises(DiskFullError, match=TOLD):
            train(folder)
        assert [name for name in disk.leftovers() if not name.endswith(".lock")] == []
        assert not (folder / "model.json").exists()
    disk.clear()
    assert train(folder) == train(tmp_path / "undisturbed")


def test_what_a_training_writes_tells_a_full_disk_and_stays_whole(tmp_path, disk):
    model = nn.Linear(500, 200)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    path = disk.path / CHECKPOINT

    def save() -> None:
        save_checkpoint(path, model, optimizer, "r", Trained(step=1))

    def trace() -> None:
        with traced((1, 1), disk.path, done=0) as step:
            torch.rand(3)
            step()

    save()
    whole = path.read_bytes()
    for pages in (0, 1, 2, 50, 97):
        for write, name in ((save, CHECKPOINT), (trace, TRACE)):
            disk.leave(pages * PAGE if write == save else 0)
            with pytest.raises(DiskFullError, match=rf"{name}: {TOLD}"):
                write()
            assert disk.leftovers() == []
    assert path.read_bytes() == whole
    disk.clear()
    save()
    trace()


def test_who_may_not_write_into_the_folder_of_a_training_is_told(street, open_folder):
    recipe = Recipe(
        "teacher",
        street.config,
        street.train,
        street.clicks,
        Caches(street.store, street.frames, {}, {}),
        street.val,
    )
    open_folder.chmod(0o555)
    told = r"teacher/\.lock: cannot be written \(.*Permission denied.*you have no right to write there"
    with without_rights(), pytest.raises(UnwritableError, match=told):
        train_recipe(recipe, open_folder / "teacher", device="cpu")
    open_folder.chmod(0o755)


def test_tables_digests_and_exported_files_tell_a_full_disk(street, disk, tmp_path):
    images = [street.train.path(frame.image) for frame in street.train.clips[0].frames]
    (tmp_path / "model.safetensors").write_bytes(plausible_teacher(street.config, street.train))
    options = {"masks": True, "overlay": True, "opacity": 0.5, "device": "cpu"}
    flows = {"store": street.store, "full": True}
    writes = {
        "0.json": lambda: write_manifest(street.train, disk.path / "0.json"),
        "c.h5": lambda: write_clicks(street.clicks, disk.path / "c.h5"),
        "digests.sqlite": lambda: file_digests(images, disk.path / "digests.sqlite"),
        "flo": lambda: export_flow(street.flow, disk.path / "flo", **flows),
        "kitti": lambda: export_flow(street.flow, disk.path / "kitti", file_format="kitti", **flows),
        "out": lambda: predict_files(images[0], tmp_path / "model.safetensors", disk.path / "out", **options),
    }
    for name, write in writes.items():
        disk.leave(0)
        with pytest.raises(DiskFullError, match=rf"{name}.*there is no room to write it"):
            write()
        left = {path.name for path in disk.path.rglob("*") if path.is_file()}
        assert left <= {"others", "digests.sqlite"}, "an empty memory of digests is a whole one"
        disk.clear()
        write()
        shutil.rmtree(disk.path / name) if (disk.path / name).is_dir() else (disk.path / name).unlink()


@contextmanager
def half_written(store: Store, inputs: dict) -> Iterator[None]:
    """An entry of two steps; the block comes between them."""
    with store.create("flow", inputs) as entry:
        array = entry.create_array("flow", shape=(2, 8, 8), chunks=(1, 8, 8), dtype="int16", axes="PHW")
        array[0] = 1
        yield
        array[1] = 2


def test_a_root_that_is_renamed_away_gets_no_half_entry_and_serves_again(tmp_path):
    root, elsewhere, store = tmp_path / "root", tmp_path / "elsewhere", Store([tmp_path / "root"])
    with half_written(store, {"n": 0}):
        pass
    gone = r"root: cannot be written \(this root was there and is gone\); mount it again"
    with pytest.raises(UnwritableError, match=gone), half_written(store, {"n": 1}):
        root.rename(elsewhere)
    with pytest.raises(UnwritableError, match=gone), half_written(store, {"n": 2}):
        pass
    assert files_of(root) == {}
    shutil.rmtree(root)
    elsewhere.rename(root)
    with half_written(Store([root]), {"n": 1}):
        pass
    assert {path.name for path in list_entries(root, "flow")} == {entry_key("flow", {"n": n}) for n in (0, 1)}


def test_a_share_that_is_unmounted_in_the_middle_is_told_and_its_empty_folder_not_filled(tmp_path, disk):
    share = Disk(tmp_path / "share")
    share.path.mkdir()
    share.mount("--bind", disk.path)
    store, gone = Store([share.path]), r"share: cannot be written \(this root was there and is gone\)"
    with half_written(store, {"n": 0}):
        pass
    with pytest.raises(UnwritableError, match=gone), half_written(store, {"n": 1}):
        subprocess.run(["umount", "-l", share.path], check=True)
    with pytest.raises(UnwritableError, match=gone), half_written(store, {"n": 2}):
        pass
    assert files_of(share.path) == {}
    share.mount("--bind", disk.path)
    try:
        with half_written(Store([share.path]), {"n": 1}):
            pass
        assert len(list(list_entries(share.path, "flow"))) == 2
    finally:
        subprocess.run(["umount", "-l", share.path], check=True)


WRITING = """
import subprocess, sys
from pathlib import Path
from weclick.common.errors import UnwritableError
from weclick.store import Store
root = Path(sys.argv[1])
try:
    with Store([root / "store"]).create("flow", {"n": 1}) as entry:
        entry.write_file("first", b"1")
        subprocess.run(["mount", "-o", "remount,ro", root], check=True)
        entry.write_file("second", b"2")
except UnwritableError as error:
    print(error)
"""


def test_a_file_system_that_turns_read_only_is_told_and_what_it_kept_is_swept(disk):
    ended = subprocess.run([sys.executable, "-c", WRITING, disk.path], capture_output=True, text=True)
    told = "cannot be written ([Errno 30] Read-only file system"
    assert told in ended.stdout, ended.stderr
    assert "its file system is mounted read-only: mount it writable" in ended.stdout
    assert list(list_entries(disk.path / "store", "flow")) == []
    disk.mount("-o", "remount,rw")
    with half_written(Store([disk.path / "store"]), {"n": 1}):
        pass
    assert disk.leftovers() == []
    assert [path.name for path in list_entries(disk.path / "store", "flow")] == [entry_key("flow", {"n": 1})]


def test_a_disk_that_does_not_answer_is_told(tmp_path):
    """Linux refuses a write to the first page of a process in the words that it has for a broken disk."""
    told = r"entry: cannot be written \(\[Errno 5\] .*its disk or share does not answer: bring it back"
    with (
        Path("/proc/self/mem").open("r+b", buffering=0) as broken,
        pytest.raises(UnwritableError, match=told),
        room_to_write(tmp_path / "entry"),
    ):
        broken.write(b"x")


def test_a_root_that_another_thread_makes_meanwhile_is_not_gone(tmp_path, monkeypatch):
    root, look, asked = LocalRoot(tmp_path / "root"), local_root.is_folder, []

    def is_folder(path):
        there = look(path)
        if path == root.path and not there and not asked:
            asked.append(path)
            with root.workspace("flow", 64 * "0"):
                pass
        return there

    monkeypatch.setattr(local_root, "is_folder", is_folder)
    with root.workspace("flow", 64 * "1") as folder:
        assert folder.parent.parent.parent.parent == root.path
    assert asked


def test_a_root_that_is_gone_between_two_entries_is_not_made_anew(tmp_path):
    store = Store([tmp_path / "root"])
    with half_written(store, {"n": 0}):
        pass
    (tmp_path / "root").rename(tmp_path / "elsewhere")
    for _ in range(2):
        with pytest.raises(UnwritableError, match="this root was there and is gone"):
            store.create("flow", {"n": 1}).__enter__()
    assert not (tmp_path / "root").exists()


@pytest.fixture(name="open_folder")
def _open_folder() -> Iterator[Path]:
    with open_folder() as folder:
        yield folder


def test_who_may_not_publish_is_told(open_folder):
    mine, team = LocalRoot(open_folder / "mine"), LocalRoot(open_folder / "team")
    key = write_flow_entry(mine.path)
    team.path.mkdir()
    team.path.chmod(0o555)
    told = r"team/flow/.*cannot be written \(.*Permission denied.*you have no right to write there: ask who"
    with without_rights(), pytest.raises(UnwritableError, match=told):
        copy_entries([mine], team, [("flow", key)])
    assert files_of(team.path) == {}
    team.path.chmod(0o755)


def test_a_source_that_may_not_be_read_is_not_taken_for_the_target(open_folder):
    mine, team = LocalRoot(open_folder / "mine"), LocalRoot(open_folder / "team")
    key = write_flow_entry(mine.path)
    team.path.mkdir()
    team.path.chmod(0o777)
    (mine.folder("flow", key) / "flow/zarr.json").chmod(0)
    with without_rights():
        done = copy_entries([mine], team, [("flow", key)])
    (told,) = done.unchecked
    assert re.search(r"mine/flow/.*zarr\.json: could not be checked: .*Permission denied", told)
    assert "cannot be written" not in told
    assert (done.copied, done.faults, files_of(team.path)) == (0, [], {})


@pytest.fixture
def bucket(monkeypatch) -> Iterator[tuple[str, Callable]]:
    """Address of a bucket, and a function that stops its server; called once more, it starts it again."""
    servers = [start_server()]
    _, port = servers[0].get_host_and_port()
    name_server(monkeypatch, servers[0])

    def switch() -> None:
        if servers:
            servers.pop().stop()
        else:
            servers.append(start_server(port))

    name = f"team-{uuid4().hex}"
    boto3.client("s3").create_bucket(Bucket=name)
    yield f"s3://{name}/weclick", switch
    if servers:
        switch()


@pytest.mark.parametrize("way", ["fetch", pytest.param("publish", marks=pytest.mark.slow)])
def test_a_bucket_whose_server_stops_in_the_middle_is_told_and_the_next_call_goes_on(tmp_path, bucket, way):
    address, switch = bucket
    keys = [write_flow_entry(tmp_path / "mine", {"n": n}, n) for n in range(16)]
    wanted, mine, team = [("flow", key) for key in keys], LocalRoot(tmp_path / "mine"), S3Root(address)
    source, target = (mine, team) if way == "publish" else (team, LocalRoot(tmp_path / "theirs"))
    if way == "fetch":
        copy_entries([mine], team, wanted)
    done: list[int] = []

    def stop_early() -> None:
        done.append(1)
        if len(done) == 1:
            switch()

    with pytest.raises(UnreachableRootError, match=r"s3://team-.*the bucket does not answer as it should"):
        copy_entries([source], target, wanted, stop_early)
    switch()
    held = list(target.keys("flow"))
    assert 1 <= len(held) < len(keys)
    assert not any(target.faults("flow", key) for key in held)
    again = copy_entries([source], target, wanted)
    assert (again.skipped, again.copied) == (len(held), len(keys) - len(held))
