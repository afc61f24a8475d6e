"""Roots in buckets, against a server that speaks S3."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from uuid import uuid4

import boto3
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from helpers.cache_entries import files_of, write_flow_entry
from helpers.s3_server import s3_server
from weclick.cli import app
from weclick.common.errors import InputError
from weclick.datasets import build_manifest, open_dataset
from weclick.datasets.frames import pack_frames
from weclick.flow.stage import compute_flow
from weclick.manifest.window import Window
from weclick.proxy_labels.soft_labels import compute_soft_labels
from weclick.runs.doctor.machine import check_roots
from weclick.runs.metered import MeteredStore
from weclick.runs.plan.probe import plausible_teacher
from weclick.store import (
    DamagedEntryError,
    LocalRoot,
    S3Root,
    Store,
    UnreachableRootError,
    copy_entries,
    verify_entry,
    write_index,
)
from weclick.store.roots import s3_root
from weclick.train.data.stream import Caches, Stream
from weclick.train.data.windows import WindowReader


@pytest.fixture(scope="module", autouse=True)
def endpoint():
    """A server on loopback, and the environment that names it, as a user would set it."""
    with s3_server() as url:
        yield url


@pytest.fixture(scope="module")
def client(endpoint):
    return boto3.client("s3")


@pytest.fixture
def bucket(client) -> str:
    """A bucket of its own."""
    name = f"team-{uuid4().hex}"
    client.create_bucket(Bucket=name)
    return name


@pytest.fixture
def team(bucket) -> S3Root:
    return S3Root(f"s3://{bucket}/weclick")


def objects(client, bucket: str) -> list[str]:
    return [found["Key"] for found in client.list_objects_v2(Bucket=bucket).get("Contents", ())]


def publish(root: Path, team: S3Root, *keys: str):
    return copy_entries([LocalRoot(root)], team, [("flow", key) for key in keys])


def test_an_entry_goes_there_and_comes_back_as_it_was(tmp_path, team):
    key = write_flow_entry(tmp_path / "mine")
    done = publish(tmp_path / "mine", team, key)
    assert (done.copied, done.skipped, done.faults, done.missing) == (1, 0, [], [])
    assert done.licences == {"for research only": 1}
    assert list(team.keys("flow")) == [key]
    assert publish(tmp_path / "mine", team, key).skipped == 1

    theirs = LocalRoot(tmp_path / "theirs")
    fetched = copy_entries([team], theirs, [("flow", key), ("flow", "0" * 64)])
    assert (fetched.copied, fetched.missing) == (1, [("flow", "0" * 64)])
    assert files_of(theirs.path) == files_of(tmp_path / "mine")
    assert theirs.faults("flow", key) == team.faults("flow", key) == []


def test_the_store_reads_a_bucket_as_if_it_were_a_folder(tmp_path, team):
    key = write_flow_entry(tmp_path / "mine")
    publish(tmp_path / "mine", team, key)
    whole = Store([tmp_path / "mine"]).get("flow", key).array("flow")[1]

    store = Store([Path(str(team)), tmp_path / "theirs"])
    entry = store.get("flow", key)
    assert entry.attributes["stride_px"] == 4
    assert not (tmp_path / "theirs").exists(), "looking an entry up fetches none of its arrays"
    window = WindowReader(store).read("flow", key, "flow", [1], (slice(None), slice(1, 4), slice(0, 7)))
    np.testing.assert_array_equal(window.result()[0], whole[:, 1:4])
    assert entry.path.is_relative_to(tmp_path / "theirs/fetched")
    np.testing.assert_array_equal(entry.array("flow")[1], whole)
    assert Store(store.roots).get("flow", key).path == entry.path


def test_what_was_fetched_is_read_without_the_bucket(tmp_path, team, bucket, client):
    key = write_flow_entry(tmp_path / "mine")
    publish(tmp_path / "mine", team, key)
    path = Store([str(team), tmp_path / "theirs"]).get("flow", key).path
    for name in objects(client, bucket):
        client.delete_object(Bucket=bucket, Key=name)
    assert Store([str(team), tmp_path / "theirs"]).get("flow", key).path == path
    assert Store([str(team), tmp_path / "others"]).find("flow", key) is None


def test_an_endpoint_of_the_configuration_and_a_bucket_without_prefix(
    tmp_path, bucket, endpoint, monkeypatch
):
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    root = S3Root(f"s3://{bucket}", endpoint_url=endpoint, region="us-east-1")
    key = write_flow_entry(tmp_path / "mine")
    assert publish(tmp_path / "mine", root, key).copied == 1
    monkeypatch.setenv("WECLICK_CACHE", f"s3://{bucket}:{tmp_path}/theirs")
    store = Store.from_config(["ignored"], s3={"endpoint_url": endpoint, "region": None})
    assert [str(each) for each in store.roots] == [f"s3://{bucket}", f"{tmp_path}/theirs"]
    assert verify_entry(store.get("flow", key).path) == []


def test_of_two_publishers_one_wins_and_both_find_it_whole(tmp_path, team, client, bucket):
    """Their files differ, as flows of two machines do; so a mixture of them would be damaged."""
    keys = [write_flow_entry(tmp_path / "one", {"n": n}, value=1) for n in range(4)]
    assert keys == [write_flow_entry(tmp_path / "other", {"n": n}, value=2) for n in range(4)]
    start, done = threading.Barrier(2), {}

    def work(who, root):
        start.wait()
        done[who] = publish(tmp_path / who, root, *keys)

    roots = {who: S3Root(str(team)) for who in ("one", "other")}
    threads = [threading.Thread(target=work, args=each) for each in roots.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(each.copied for each in done.values()) == len(keys)
    assert sum(each.skipped for each in done.values()) == len(keys)
    assert all(not each.faults for each in done.values())
    assert [team.faults("flow", key) for key in keys] == [[]] * len(keys)
    of_one_entry = len(files_of(tmp_path / "one")) // len(keys)
    assert len(objects(client, bucket)) == of_one_entry * len(keys), "the loser left nothing"


KILLED = """
import os, signal, sys, threading
from pathlib import Path
from weclick.store import LocalRoot, S3Root, copy_entries
step, source, target, key = sys.argv[1:]
left, mutex = [2 if step == "_send" else 1], threading.Lock()
kind = S3Root if target.startswith("s3://") else LocalRoot
original = getattr(kind, step)
def die(*given):
    with mutex:
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*given)
setattr(kind, step, die)
sources = [S3Root(source) if source.startswith("s3://") else LocalRoot(Path(source))]
copy_entries(sources, kind(target) if kind is S3Root else LocalRoot(Path(target)), [("flow", key)])
"""


def kill_at(step: str, source: object, target: object, key: str) -> None:
    words = [sys.executable, "-c", KILLED, step, str(source), str(target), key]
    assert subprocess.run(words, check=False).returncode == -signal.SIGKILL


@pytest.mark.parametrize("step", ["_send", "_put_new"])
def test_a_killed_publisher_shows_nothing_and_the_next_one_completes(tmp_path, team, client, bucket, step):
    key = write_flow_entry(tmp_path / "mine")
    kill_at(step, tmp_path / "mine", team, key)
    before = objects(client, bucket)
    assert before, "it was killed in the middle"
    assert list(team.keys("flow")) == []
    assert team.find_meta("flow", key) is None
    assert publish(tmp_path / "mine", team, key).copied == 1
    assert team.faults("flow", key) == []
    assert set(before) < set(objects(client, bucket)), "what was sent is not sent again elsewhere"


def test_leftovers_of_a_killed_publisher_go_when_another_one_commits(tmp_path, team, client, bucket):
    key = write_flow_entry(tmp_path / "killed", value=1)
    kill_at("_put_new", tmp_path / "killed", team, key)
    write_flow_entry(tmp_path / "mine", value=2)
    publish(tmp_path / "mine", team, key)
    assert len(objects(client, bucket)) == len(files_of(tmp_path / "mine"))
    assert publish(tmp_path / "killed", team, key).skipped == 1


def test_a_killed_fetch_shows_nothing_and_the_next_one_completes(tmp_path, team):
    key = write_flow_entry(tmp_path / "mine")
    publish(tmp_path / "mine", team, key)
    theirs = LocalRoot(tmp_path / "theirs")
    kill_at("commit", team, theirs, key)
    assert list(theirs.path.rglob("entry.json")), "it was killed in the middle"
    assert list(theirs.keys("flow")) == []
    assert copy_entries([team], theirs, [("flow", key)]).copied == 1
    assert files_of(theirs.path) == files_of(tmp_path / "mine")


def test_publish_sends_only_what_is_missing(tmp_path, team, client, bucket, monkeypatch):
    key = write_flow_entry(tmp_path / "mine")
    kill_at("_put_new", tmp_path / "mine", team, key)
    sent = []
    monkeypatch.setattr(S3Root, "_send", lambda self, file, name: sent.append(name))
    assert publish(tmp_path / "mine", team, key).copied == 1
    assert sent == []


def alter(client, bucket, name, data):
    (found,) = [each for each in objects(client, bucket) if each.endswith(name)]
    client.delete_object(Bucket=bucket, Key=found)
    if data is not None:
        client.put_object(Bucket=bucket, Key=found, Body=data)


@pytest.mark.parametrize(
    ("name", "data", "told"),
    [
        ("flow/c/1/0/0/0", None, "is missing"),
        ("flow/c/1/0/0/0", b"short", "has 5 bytes, expected"),
        ("flow/c/1/0/0/0", "flip", "content differs"),
        ("entry.json", b"{", r"no readable entry\.json"),
        ("entry.json", b" " * 2**10, r"no readable entry\.json"),
    ],
)
def test_damage_in_a_bucket_is_told_and_never_read(tmp_path, team, client, bucket, name, data, told):
    key = write_flow_entry(tmp_path / "mine")
    publish(tmp_path / "mine", team, key)
    if data == "flip":
        content = bytearray((Store([tmp_path / "mine"]).get("flow", key).path / name).read_bytes())
        content[20] ^= 4
        data = bytes(content)
    alter(client, bucket, name, data)
    (fault,) = team.faults("flow", key)
    assert str(team) in fault
    store = Store([str(team), tmp_path / "theirs"])
    with pytest.raises(DamagedEntryError, match=rf"{team}.*damaged entry: .*{told}.*publish the entry again"):
        store.get("flow", key).array("flow")
    done = copy_entries([team], LocalRoot(tmp_path / "theirs"), [("flow", key)])
    assert (done.copied, len(done.faults)) == (0, 1)
    assert not list((tmp_path / "theirs").rglob("entry.json"))


def test_a_long_entry_json_of_a_bucket_is_not_read(tmp_path, team, monkeypatch):
    key = write_flow_entry(tmp_path / "mine")
    publish(tmp_path / "mine", team, key)
    monkeypatch.setattr(s3_root, "META_BYTES", 1000)
    with pytest.raises(DamagedEntryError, match=r"entry\.json is longer than 1000 bytes"):
        team.find_meta("flow", key)


@pytest.mark.parametrize(
    "address", ["s3://", "s3://UPPER/x", "s3://team/../other", "s3://team/a//b", "s3://team/.x"]
)
def test_addresses_that_are_none(address):
    with pytest.raises(
        InputError, match=r"is no root of the store, expected s3://bucket or s3://bucket/prefix"
    ):
        S3Root(address)


def test_strange_objects_in_a_bucket_are_no_entries(tmp_path, team, client, bucket):
    key = write_flow_entry(tmp_path / "mine")
    publish(tmp_path / "mine", team, key)
    for name in (
        "flow/v1/../../x/entry.json",
        f"flow/v1/zz/{key}/entry.json",
        f"flow/v1/{key[:2]}/{key}/x/entry.json",
    ):
        client.put_object(Bucket=bucket, Key=f"weclick/{name}", Body=b"{}")
    assert list(team.keys("flow")) == [key]


def test_a_damaged_entry_is_not_published(tmp_path, team, client, bucket):
    key = write_flow_entry(tmp_path / "mine")
    chunk = Store([tmp_path / "mine"]).get("flow", key).path / "flow/c/0/0/0/0"
    chunk.write_bytes(chunk.read_bytes()[::-1])
    done = publish(tmp_path / "mine", team, key)
    assert "flow/c/0/0/0/0: content differs" in done.faults[0]
    assert objects(client, bucket) == []


def test_a_bucket_that_vanishes_is_told(tmp_path, team, endpoint):
    key = write_flow_entry(tmp_path / "mine")
    publish(tmp_path / "mine", team, key)
    entry = Store([str(team), tmp_path / "theirs"]).get("flow", key)
    nowhere = S3Root(str(team), endpoint_url="http://127.0.0.1:9")
    with pytest.raises(UnreachableRootError, match=r"team-.*does not answer.*Could not connect.*cache\.s3"):
        nowhere.find_meta("flow", key)
    with pytest.raises(UnreachableRootError):
        nowhere.export(entry.meta, tmp_path)
    with pytest.raises(UnreachableRootError):
        publish(tmp_path / "mine", nowhere, key)
    with pytest.raises(UnreachableRootError, match="NoSuchBucket"):
        S3Root("s3://nobody-has-this").find_meta("flow", key)


def test_read_through_keeps_what_is_open_and_forgets_what_was_used_longest_ago(tmp_path, team):
    keys = [write_flow_entry(tmp_path / "mine", {"n": n}, n) for n in range(5)]
    publish(tmp_path / "mine", team, *keys)
    held = sum(map(len, files_of(Store([tmp_path / "mine"]).get("flow", keys[0]).path).values()))
    small = {"path": str(tmp_path / "cache"), "max_gib": 3.4 * held / 2**30}
    store = Store([str(team), tmp_path / "theirs"], read_through=small)

    def there():
        return {n for n, key in enumerate(keys) if list((tmp_path / "cache").glob(f"flow/v1/*/{key}"))}

    first = store.get("flow", keys[0])
    assert first.path.is_dir()
    for n in (1, 2):
        assert store.get("flow", keys[n]).path.is_dir()
        time.sleep(0.01)
    assert there() == {0, 1, 2}
    assert store.get("flow", keys[1]).path.is_dir(), "1 is used again, so 2 is the oldest that is not open"
    assert store.get("flow", keys[3]).path.is_dir()
    assert there() == {0, 1, 3}
    opened = [first.array("flow"), *(store.get("flow", keys[n]).array("flow") for n in (1, 3))]
    with pytest.raises(ValueError, match=r"does not fit into .*beside .*in use; raise cache\.read_through"):
        store.get("flow", keys[4]).path  # noqa: B018
    assert all(array[1].shape == (2, 5, 7) for array in opened)
    del opened, first
    assert store.get("flow", keys[4]).path.is_dir()
    assert 4 in there()


def test_read_through_never_takes_what_another_process_reads(tmp_path, team):
    keys = [write_flow_entry(tmp_path / "mine", {"n": n}, n) for n in range(3)]
    publish(tmp_path / "mine", team, *keys)
    held = sum(map(len, files_of(Store([tmp_path / "mine"]).get("flow", keys[0]).path).values()))
    script = (
        "import sys; from weclick.store import Store\n"
        "store = Store(sys.argv[1:3], read_through={'path': sys.argv[3], 'max_gib': 1})\n"
        "entry = store.get('flow', sys.argv[4]); print(entry.path, flush=True); sys.stdin.read()"
    )
    words = [str(team), str(tmp_path / "theirs"), str(tmp_path / "cache"), keys[0]]
    small = {"path": str(tmp_path / "cache"), "max_gib": 2.2 * held / 2**30}
    with subprocess.Popen(
        [sys.executable, "-c", script, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        path = Path(other.stdout.readline().strip())
        store = Store([str(team), tmp_path / "theirs"], read_through=small)
        for key in keys[1:]:
            assert store.get("flow", key).path.is_dir()
        assert (path / "entry.json").is_file()
        other.stdin.close()
        other.wait()
    assert store.get("flow", keys[1]).path.is_dir()
    assert store.get("flow", keys[2]).path.is_dir()
    assert not path.exists()


def test_the_verbs_publish_to_a_bucket_and_fetch_from_it(tmp_path, team, monkeypatch, endpoint):
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    monkeypatch.delenv("WECLICK_CACHE", raising=False)
    key = write_flow_entry(tmp_path / "mine")

    def run(verb: str, *words: str, local: str = "mine", exit_code: int = 0) -> str:
        cache = {"roots": [str(team), str(tmp_path / local)], "s3": {"endpoint_url": endpoint}}
        given = ["cache", verb, *words, "--config", json.dumps({"cache": cache})]
        ended = CliRunner().invoke(app, given, catch_exceptions=False)
        assert ended.exit_code == exit_code, ended.output
        return ended.output

    assert "1 entries copied" in run("publish", str(team))
    assert "0 entries copied (0 B), 1 were there" in run("publish", str(team))
    write_index(tmp_path / "0.json", "flow", {"clip": key})
    assert "1 entries copied" in run("fetch", str(tmp_path / "0.json"), local="theirs")
    assert files_of(tmp_path / "theirs") == files_of(tmp_path / "mine")
    assert "1 entries copied" in run("mirror", str(team), str(tmp_path / "third"))
    told = run("verify", "--quarantine")
    assert f"{team}: 1 entries, 0 damaged" in told
    assert f"{tmp_path}/mine: 1 entries, 0 damaged" in told


def test_doctor_asks_the_bucket(tmp_path, team):
    (found, _) = check_roots(Store([str(team), tmp_path]))
    assert (found.level, found.found) == ("ok", f"{team}: searched")
    (found, _) = check_roots(Store(["s3://nobody-has-this", tmp_path]))
    assert found.level == "error"
    assert "NoSuchBucket" in found.found


@pytest.fixture(params=["folder", "read-only folder", "bucket"])
def shared(request, street, tmp_path, team):
    """What a colleague made of the street, soft labels too, in a root of the team: (root, keys by kind)."""
    mine = tmp_path / "mine"
    shutil.copytree(street.store.roots[0], mine)
    teacher = tmp_path / "teacher.safetensors"
    teacher.write_bytes(plausible_teacher(street.config, street.train))
    keys = {"frames": street.frames, "flow": street.flow}
    keys["soft_labels"] = compute_soft_labels(street.train, teacher, chunk_px=16, store=Store([mine]))
    if request.param == "folder":
        yield mine, keys
        return
    target = team if request.param == "bucket" else LocalRoot(tmp_path / "share")
    wanted = [(kind, key) for kind, entries in keys.items() for key in entries.values()]
    assert copy_entries([LocalRoot(mine)], target, wanted).copied == len(wanted)
    shutil.rmtree(mine)
    paths = list((tmp_path / "share").rglob("*"))
    for path in paths:
        path.chmod(path.stat().st_mode & ~0o222)
    yield (team if request.param == "bucket" else target.path), keys
    for path in paths:
        path.chmod(path.stat().st_mode | 0o200)


def test_a_colleague_elsewhere_finds_everything_and_computes_nothing(shared, street, tmp_path):
    root, keys = shared
    there = tmp_path / "another desk" / "data"
    shutil.copytree(street.config["data"]["root"], there)
    for path in there.rglob("*"):
        os.utime(path, (time.time() + 86400,) * 2)
    dataset = open_dataset({**street.config["data"], "root": str(there)})
    manifest = build_manifest(dataset, "train", 0, 1, reach_frames=2, remember=None)
    assert manifest.root != street.train.root
    teacher = shutil.copy(tmp_path / "teacher.safetensors", there.parent)
    own = there.parent / "store"
    before = files_of(root) if isinstance(root, Path) else {}

    store = Store([str(root), own])
    metered = {kind: MeteredStore(store, kind) for kind in keys}
    pairs_of = Window(**street.config["window"]).pairs
    found = {
        "frames": pack_frames(manifest, chunk_px=32, store=metered["frames"]),
        "flow": compute_flow(manifest, pairs_of, options=street.config["flow"], store=metered["flow"]),
        "soft_labels": compute_soft_labels(
            manifest, Path(teacher), chunk_px=16, store=metered["soft_labels"]
        ),
    }
    assert found == keys
    assert not any(each.made for each in metered.values())
    assert {kind: each.found for kind, each in metered.items()} == {
        kind: set(entries.values()) for kind, entries in keys.items()
    }
    assert not own.exists(), "looking up fetches nothing, and nothing was made"

    stream = Stream(
        manifest,
        street.clicks,
        Caches(store, **keys),
        window=Window(**street.config["window"]),
        options=street.config["student"],
        stride_px=4,
        occlusion="none",
        seed=0,
    )
    batch = next(stream.batches(0, 1, torch.device("cpu")))
    assert batch.teacher is not None
    assert batch.flow.abs().max() > 0
    assert (files_of(root) if isinstance(root, Path) else {}) == before
