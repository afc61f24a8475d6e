"""`weclick cache`: publish, fetch, mirror, verify; modes; what a killed process leaves."""

import json
import os
import shutil
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from helpers.cache_entries import MODEL_ATTRIBUTES, files_of, write_flow_entry
from weclick.cli import app
from weclick.common.errors import InputError
from weclick.store import (
    EntryMissingError,
    LocalRoot,
    Store,
    copy_entries,
    entry_key,
    verify_entry,
    write_index,
)
from weclick.train.data.windows import WindowReader


@pytest.fixture
def roots(tmp_path, monkeypatch) -> tuple[Path, Path]:
    """A team root and a local one, as the environment names them."""
    team, mine = tmp_path / "team", tmp_path / "mine"
    monkeypatch.setenv("WECLICK_CACHE", f"{team}{os.pathsep}{mine}")
    return team, mine


def run(*words: object, exit_code: int = 0) -> str:
    ended = CliRunner().invoke(app, ["cache", *map(str, words), "--config", "{}"], catch_exceptions=False)
    assert ended.exit_code == exit_code, ended.output
    return ended.output


def test_publish_copies_what_the_team_lacks(roots):
    team, mine = roots
    keys = [write_flow_entry(mine, {"n": n}) for n in range(3)]
    assert "3 entries copied" in run("publish", team)
    assert "licence of 1 copied entries: for research only" not in run("publish", team, "--kind", "flow")
    assert files_of(team) == files_of(mine)
    shutil.rmtree(LocalRoot(team).folder("flow", keys[0]))
    told = run("publish", team)
    assert "1 entries copied" in told
    assert "2 were there" in told
    assert "licence of 1 copied entries: for research only" in told
    assert files_of(team) == files_of(mine)
    assert "0 entries copied" in run("publish", team, "--kind", "frames")


def test_publish_and_fetch_take_what_a_run_names(roots, tmp_path):
    team, mine = roots
    keys = [write_flow_entry(mine, {"n": n}) for n in range(3)]
    write_index(tmp_path / "results/flow/train/0.json", "flow", {"a": keys[0]})
    write_index(tmp_path / "results/flow/val/0.json", "flow", {"b": keys[1]})
    assert "2 entries copied" in run("publish", team, tmp_path / "results")
    assert set(LocalRoot(team).keys("flow")) == {keys[0], keys[1]}
    shutil.rmtree(mine)
    assert "1 entries copied" in run("fetch", tmp_path / "results/flow/val/0.json")
    assert list(LocalRoot(mine).keys("flow")) == [keys[1]]
    told = run("fetch", tmp_path / "results")
    assert "1 entries copied" in told
    assert "1 were there" in told


def test_a_run_names_its_networks_and_no_frames_that_stay_in_files(roots, tmp_path):
    team, _ = roots
    with Store([team]).create("models", {"seed": 0}) as entry:
        entry.write_file("model.safetensors", b"weights")
        entry.attributes.update(MODEL_ATTRIBUTES)
    key = entry_key("models", {"seed": 0})
    (tmp_path / "results/student").mkdir(parents=True)
    (tmp_path / "results/student/model.json").write_text(json.dumps({"kind": "models", "key": key}))
    write_index(tmp_path / "results/frames/train/0.json", "frames", {"a": "0" * 64})
    run("fetch", tmp_path / "results", exit_code=1)
    assert "1 were there" in run("fetch", tmp_path / "results", "--set", "frames.pack=false")
    assert list(LocalRoot(roots[1]).keys("models")) == [key]


def test_fetch_tells_what_nobody_has(roots, tmp_path):
    team, mine = roots
    write_flow_entry(team)
    write_index(tmp_path / "0.json", "flow", {"a": "0" * 64})
    assert f"1 entries are in no root, e.g. flow {'0' * 64}" in run("fetch", tmp_path / "0.json", exit_code=1)
    assert not mine.exists()


def test_fetch_takes_frames_and_flow_of_a_manifest(street, tmp_path, monkeypatch):
    from weclick.manifest import write_manifest

    monkeypatch.setenv("WECLICK_CACHE", f"{street.store.roots[0]}{os.pathsep}{tmp_path / 'mine'}")
    write_manifest(street.train, tmp_path / "m.json")
    config = json.dumps({**street.config, "frames": {"chunk_px": 32}})
    words = [
        "cache",
        "fetch",
        str(tmp_path / "m.json"),
        "--config",
        config,
        "--set",
        "evaluate.max_gap_frames=2",
    ]
    ended = CliRunner().invoke(app, words, catch_exceptions=False)
    assert ended.exit_code == 0, ended.output
    mine = LocalRoot(tmp_path / "mine")
    assert set(mine.keys("frames")) == set(street.frames.values())
    assert set(mine.keys("flow")) == set(street.flow.values())


def test_mirror_copies_both_ways(roots):
    team, mine = roots
    keys = {write_flow_entry(team, {"n": 1}), write_flow_entry(mine, {"n": 2})}
    told = run("mirror", team, mine)
    assert told.count("1 entries copied") == 2
    assert files_of(team) == files_of(mine)
    assert set(LocalRoot(team).keys("flow")) == keys


def test_verify_moves_what_is_damaged_in_the_local_root_alone(roots):
    team, mine = roots
    for root in roots:
        for n in range(2):
            key = write_flow_entry(root, {"n": n})
        chunk = LocalRoot(root).folder("flow", key) / "flow/c/1/0/0/0"
        chunk.write_bytes(chunk.read_bytes()[::-1])
    before = files_of(team)
    told = run("verify", exit_code=1)
    assert told.count("content differs") == 2
    assert f"{team}: 2 entries, 1 damaged" in told
    told = run("verify", "--quarantine", exit_code=1)
    assert "moved to" in told
    assert files_of(team) == before
    (moved,) = (mine / "quarantine/flow").iterdir()
    assert moved.name.startswith(key)
    assert len(files_of(moved)) == 5
    assert f"{mine}: 1 entries, 0 damaged" in run("verify", mine)
    assert Store([mine]).find("flow", key) is None
    write_flow_entry(mine, {"n": 1})
    assert f"{mine}: 2 entries, 0 damaged" in run("verify", mine, "--kind", "flow")
    assert f"{mine}: 0 entries" in run("verify", mine, "--kind", "models")


def test_what_the_verbs_refuse(roots, tmp_path, monkeypatch):
    team, mine = roots
    with pytest.raises(InputError, match="there is no such root; mount it"):
        run("verify")
    with pytest.raises(InputError, match="unknown kind of entry 'flows'"):
        run("publish", team, "--kind", "flows")
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(InputError, match=r"x\.json: names no entries; give an index"):
        run("publish", team, tmp_path / "x.json")
    monkeypatch.setenv("WECLICK_CACHE", str(mine))
    with pytest.raises(InputError, match=r"names .*mine alone; name the team's roots"):
        run("fetch", tmp_path)
    with pytest.raises(InputError, match="expected a local folder last"):
        Store([mine, "s3://team/weclick"])


def test_a_bucket_without_the_extra_is_told(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(InputError, match=r"which needs boto3: pip install 'weclick\[s3\]'"):
        Store(["s3://team/weclick", tmp_path])


def test_of_two_publishers_into_a_folder_one_wins(tmp_path):
    keys = [write_flow_entry(tmp_path / "one", {"n": n}, value=1) for n in range(6)]
    assert keys == [write_flow_entry(tmp_path / "other", {"n": n}, value=2) for n in range(6)]
    start, done = threading.Barrier(2), []

    def work(who: str) -> None:
        start.wait()
        entries = [("flow", key) for key in keys]
        done.append(copy_entries([LocalRoot(tmp_path / who)], LocalRoot(tmp_path / "team"), entries))

    threads = [threading.Thread(target=work, args=(who,)) for who in ("one", "other")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(each.copied for each in done) == sum(each.skipped for each in done) == 6
    for key in keys:
        made = files_of(LocalRoot(tmp_path / "team").folder("flow", key))
        assert made in [files_of(LocalRoot(tmp_path / who).folder("flow", key)) for who in ("one", "other")]
    assert not list((tmp_path / "team").rglob("*.tmp"))


def test_a_full_share_is_told_and_stays_clean(tmp_path):
    """The kernel refuses to let a file grow beyond the limit, as a full disk does."""
    key = write_flow_entry(tmp_path / "mine")
    code = """
import resource, signal, sys
from pathlib import Path
from weclick.common.errors import DiskFullError
from weclick.store import LocalRoot, copy_entries
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))
mine, team = (LocalRoot(Path(path)) for path in sys.argv[1:3])
try:
    copy_entries([mine], team, [("flow", sys.argv[3])])
except DiskFullError as error:
    print(error)
"""
    words = [sys.executable, "-c", code, tmp_path / "mine", tmp_path / "team", key]
    ended = subprocess.run(words, capture_output=True, text=True, check=True)
    assert "there is no room to write it ([Errno 27] File too large" in ended.stdout
    assert files_of(tmp_path / "team") == {}


@pytest.mark.parametrize(("umask", "file", "folder"), [(0, 0o664, 0o775), (0o027, 0o640, 0o750)])
def test_nobody_else_may_write_whatever_the_umask(tmp_path, umask, file, folder):
    old = os.umask(umask)
    try:
        key = write_flow_entry(tmp_path / "mine")
        copy_entries([LocalRoot(tmp_path / "mine")], LocalRoot(tmp_path / "team"), [("flow", key)])
        LocalRoot(tmp_path / "team").quarantine("flow", key)
    finally:
        os.umask(old)
    for path in (*(tmp_path / "mine").rglob("*"), *(tmp_path / "team").rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (folder if path.is_dir() else file), path


def test_remains_without_entry_json_do_not_stand_in_the_way(tmp_path):
    key = write_flow_entry(tmp_path)
    root = LocalRoot(tmp_path)
    (root.folder("flow", key) / "entry.json").unlink()
    assert "not a committed entry" in root.faults("flow", key)[0]
    assert write_flow_entry(tmp_path) == key
    assert root.faults("flow", key) == []
    assert len(list((tmp_path / "quarantine/flow").iterdir())) == 1


def test_a_live_writer_of_another_machine_is_left_alone(tmp_path):
    """Process ids mean nothing across machines, so only age tells that a folder there was abandoned."""
    key = write_flow_entry(tmp_path)
    folder = LocalRoot(tmp_path).folder("flow", key)
    others = folder.with_name(f".{key}.elsewhere.{2**22 + 1}.0123abcd.tmp")
    for age_days, stays in ((6, True), (8, False)):
        shutil.rmtree(folder)
        others.mkdir(exist_ok=True)
        os.utime(others, (time.time() - 86400 * age_days,) * 2)
        write_flow_entry(tmp_path)
        assert others.exists() == stays


def test_a_root_that_vanishes_while_it_is_read(tmp_path):
    team, mine = tmp_path / "team", tmp_path / "mine"
    key = write_flow_entry(team)
    store = Store([team, mine])
    array, reader = store.get("flow", key).array("flow"), WindowReader(store)
    window = (slice(0, 2), slice(0, 5), slice(0, 7))
    assert reader.read("flow", key, "flow", [0], window).result().shape == (1, 2, 5, 7)
    team.rename(tmp_path / "elsewhere")
    for read in (lambda: array[1], lambda: reader.read("flow", key, "flow", [1], window)):
        with pytest.raises(EntryMissingError, match=r"team/.*is gone .*unmounted.*bring the root back"):
            read()
    with pytest.raises(EntryMissingError, match=r"searched .*; not there at all: .*team"):
        store.get("flow", key)


def test_an_entry_tells_who_made_it_and_with_what(tmp_path):
    key = write_flow_entry(tmp_path)
    meta = Store([tmp_path]).get("flow", key).meta
    assert set(meta["producer"]) == {"weclick", "zarr", "numpy", "user"}
    assert all(meta["producer"].values())
    assert meta["attributes"]["licence"] == "for research only"
    assert verify_entry(LocalRoot(tmp_path).folder("flow", key)) == []
