"""`weclick cache ls`, `du` and `gc`: what is there, what is reached, what goes and what must not."""

import json
import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import boto3
import pytest
from typer.testing import CliRunner

from helpers.cache_entries import files_of, write_flow_entry
from helpers.s3_server import s3_server
from weclick.cli import app
from weclick.common.errors import InputError
from weclick.manifest import write_manifest
from weclick.store import (
    EntryMissingError,
    LocalRoot,
    Store,
    copy_entries,
    entry_key,
    read_ledger,
    verify_entry,
    write_index,
)
from weclick.store.leases.holder import Holder
from weclick.store.leases.leases import Leases

DAY_S = 86400
NOBODY = 12345


@pytest.fixture
def roots(tmp_path, monkeypatch) -> tuple[Path, Path]:
    """A team root and a local one, as the environment names them; work begins in an empty folder."""
    team, mine = tmp_path / "team", tmp_path / "mine"
    monkeypatch.setenv("WECLICK_CACHE", f"{team}{os.pathsep}{mine}")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return team, mine


@pytest.fixture
def make(monkeypatch):
    """Writes a small entry that was made, and last used, so many days ago; gives its key."""

    def write(
        root: Path, kind: str, inputs: dict, made_d: float = 9, used_d: float | None = None, **more
    ) -> str:
        then = int(time.time() - made_d * DAY_S)
        with monkeypatch.context() as patch:
            patch.setattr("weclick.store.meta.time", SimpleNamespace(time=lambda: then))
            with Store([root]).create(kind, inputs) as entry:
                entry.write_file("data", bytes(1000))
                entry.attributes.update(more)
        key = entry_key(kind, inputs)
        used = time.time() - (made_d if used_d is None else used_d) * DAY_S
        os.utime(LocalRoot(root).folder(kind, key) / "entry.json", (used, used))
        return key

    return write


def run(*words: object, exit_code: int = 0) -> str:
    ended = CliRunner().invoke(app, ["cache", *map(str, words), "--config", "{}"], catch_exceptions=False)
    assert ended.exit_code == exit_code, ended.output
    return ended.stdout


def listed(*words: object) -> list[dict]:
    return json.loads(run("ls", "--json", *words))


def keys(root: Path) -> set[str]:
    return {key for kind in ("frames", "flow", "soft_labels", "models") for key in LocalRoot(root).keys(kind)}


def test_ls_tells_what_entries_say_of_themselves(roots, make):
    team, mine = roots
    made = write_flow_entry(team, {"estimator": {"name": "dis"}, "codec": "int16", "pairs": [["a", "b"]]})
    old = make(
        mine, "frames", {"frames": ["a", "b"], "codec": "lz4"}, 40, 20, frames=["0001.png", "0002.png"]
    )
    model = make(
        mine, "models", {"role": "student", "options": {"architecture": "pspnet", "backbone": "r18"}}
    )
    found = {row["key"]: row for row in listed()}
    assert found.keys() == {made, old, model}
    assert found[made]["made_with"] == "dis"
    assert found[made]["root"] == str(team)
    assert found[made]["first_frame"] == "a"
    assert found[model]["made_with"] == "student pspnet r18"
    assert found[old] | {"user": "", "created_unix_s": 0, "used_unix_s": 0} == {
        "root": str(mine),
        "kind": "frames",
        "key": old,
        "data_set": None,
        "clip": None,
        "first_frame": "0001.png",
        "made_with": "",
        "codec": "lz4",
        "entry_bytes": 1000,
        "user": "",
        "created_unix_s": 0,
        "used_unix_s": 0,
    }
    assert abs(time.time() - 40 * DAY_S - found[old]["created_unix_s"]) < 3600
    assert abs(time.time() - 20 * DAY_S - found[old]["used_unix_s"]) < 3600
    table = run("ls")
    assert "0001.png" in table
    assert "40 d" in table
    assert table.endswith("3 entries, 0.0 MiB\n")


def test_ls_filters_and_sorts(roots, make):
    team, mine = roots
    days = {make(mine, "flow", {"n": n}, 50 - n, n): n for n in (10, 20, 30)}
    make(team, "frames", {"n": 1}, 1)

    def found(*words):
        return [days.get(row["key"]) for row in listed(*words)]

    assert found("--kind", "flow", "--sort", "age") == [10, 20, 30]
    assert found("--kind", "flow", "--sort", "use") == [30, 20, 10]
    assert found("--older-than", "25d", "--sort", "age") == [10, 20]
    assert found("--unused-since", "2w", "--sort", "use") == [30, 20]
    assert found("--unused-since", "200h", "--older-than", "36d") == [10]
    assert found("--root", team) == [None]
    with pytest.raises(InputError, match=r"--sort is 'name', expected one of size, age, use, kind"):
        run("ls", "--sort", "name")
    with pytest.raises(InputError, match=r"elsewhere: there is no such root; mount it"):
        run("ls", "--root", "elsewhere")
    assert "4 entries, 0.0 MiB; 2 of them are not shown (--rows)" in run("ls", "--rows", 2)


@pytest.mark.parametrize(
    "words", [("ls",), ("du",), ("verify",), ("publish", "elsewhere"), ("fetch", "none")]
)
def test_verbs_that_ask_only_for_roots_need_no_configuration(roots, words):
    """As in a home folder, without config/demo.yaml."""
    for folder in (*roots, Path("none")):
        folder.mkdir()
    ended = CliRunner().invoke(app, ["cache", *words], catch_exceptions=False)
    assert ended.exit_code == 0, ended.output


@pytest.mark.parametrize("words", [("gc",), ("explain", "a"), ("fetch", "results/manifest/train/0.json")])
def test_verbs_that_follow_a_configuration_ask_for_one(roots, words):
    with pytest.raises(InputError, match=r"config/demo\.yaml: cannot be read, there is no such file"):
        CliRunner().invoke(app, ["cache", *words], catch_exceptions=False)


def test_ls_tells_the_data_set_that_a_manifest_tells(street, tmp_path, monkeypatch):
    monkeypatch.setenv("WECLICK_CACHE", str(street.store.local))
    monkeypatch.chdir(tmp_path)
    write_manifest(street.train, tmp_path / "results/manifest/train/0.json")
    told = {row["key"]: (row["data_set"], row["clip"]) for row in listed()}
    for clip in street.train.clips:
        assert told[street.frames[clip.id]] == told[street.flow[clip.id]] == ("toy", clip.id)
    assert {told[key] for key in street.val_flow.values()} == {(None, None)}


def test_ls_goes_on_past_what_it_cannot_read(roots, make):
    _, mine = roots
    whole, broken = make(mine, "flow", {"n": 1}), make(mine, "flow", {"n": 2})
    (LocalRoot(mine).folder("flow", broken) / "entry.json").write_text('{"kind": "flow"}')
    ledger = read_ledger([LocalRoot(mine)])
    assert [entry.key for entry in ledger.entries] == [whole]
    assert broken in ledger.faults[0]
    assert [row["key"] for row in listed()] == [whole]


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="only Linux lists a process's open files")
def test_a_ledger_tells_every_fault_and_leaves_no_file_open(roots, make, monkeypatch):
    root, opened = LocalRoot(roots[1]), len(list(Path("/proc/self/fd").iterdir()))
    monkeypatch.setattr("weclick.store.summaries.META_BYTES", 10_000)
    monkeypatch.setattr("weclick.store.summaries._AT_ONCE", 2)
    whole = {make(root.path, "flow", {"n": n}) for n in range(50)}
    linked, lost, long, halved, folder = (make(root.path, "flow", {"n": -n}) for n in range(1, 6))
    metas = {key: root.folder("flow", key) / "entry.json" for key in (linked, lost, long, halved, folder)}
    metas[linked].rename(root.path / "elsewhere.json")
    metas[linked].symlink_to(root.path / "elsewhere.json")
    metas[lost].unlink()
    metas[long].write_bytes(metas[long].read_bytes() + bytes(10_000))
    metas[halved].write_bytes(metas[halved].read_bytes()[:200])
    metas[folder].unlink()
    metas[folder].mkdir()
    ledger = read_ledger([root])
    assert {entry.key for entry in ledger.entries} == whole
    told = {key: next(fault for fault in ledger.faults if key in fault) for key in metas}
    assert len(ledger.faults) == len(told)
    assert "is a symbolic link" in told[linked]
    assert "No such file" in told[lost]
    assert "longer than 10000 bytes" in told[long]
    assert "is no description of an entry" in told[halved]
    assert "is a folder" in told[folder]
    assert len(list(Path("/proc/self/fd").iterdir())) == opened


def test_du_sums_up_and_tells_what_is_reached(roots, make):
    team, mine = roots
    key = make(mine, "flow", {"n": 1, "estimator": {"name": "dis"}})
    make(mine, "flow", {"n": 2, "estimator": {"name": "raft"}})
    make(team, "frames", {"n": 3})
    write_index(Path("results/flow/train/0.json"), "flow", {"a": key})
    told = run("du", "results")
    assert "3 entries, 0.0 MiB; reached: 1 entries" in told
    assert "dis" in told
    assert "raft" in told
    assert "1 entries, 0.0 MiB\n" in run("du", "--kind", "frames")
    LocalRoot(mine).quarantine("flow", key)
    assert "in quarantine or left by killed runs" in run("du")


def test_gc_only_tells_until_it_is_told_to_delete(roots, make):
    team, mine = roots
    kept, gone = make(mine, "flow", {"n": 1}), make(mine, "flow", {"n": 2})
    make(team, "flow", {"n": 3})
    write_index(Path("results/flow/train/0.json"), "flow", {"a": kept})
    before = files_of(mine), files_of(team)
    told = run("gc", "results")
    assert "1 entries, 0.0 MiB may go\nnothing was deleted" in told
    assert (files_of(mine), files_of(team)) == before
    assert "MiB of entries deleted" in run("gc", "--delete")
    assert keys(mine) == {kept}
    assert gone not in keys(mine)
    assert files_of(team) == before[1]
    assert list(mine.rglob("*.tmp")) == []


def test_gc_keeps_what_is_reached_through_networks_and_soft_labels(roots, make):
    """The index names the student alone; the soft labels of an ablation lie deeper than those of a run."""
    _, mine = roots
    teacher = make(mine, "models", {"role": "teacher", "frames": {}}, weights_sha256="7e")
    other = make(mine, "models", {"role": "teacher", "seed": 1}, weights_sha256="07")
    flow, frames = make(mine, "flow", {"n": 1}), make(mine, "frames", {"n": 1})
    labels = make(mine, "soft_labels", {"teacher_sha256": "7e"})
    inputs = {"role": "student", "flow": {"a": flow}, "frames": {"a": frames}, "soft_labels": {"a": labels}}
    student = make(mine, "models", inputs)
    make(mine, "flow", {"n": 2})
    assert keys(mine) - {student} > {teacher, other, flow, frames, labels}
    Path("one/student").mkdir(parents=True)
    Path("one/student/model.json").write_text(
        json.dumps({"kind": "models", "key": student}), encoding="utf-8"
    )
    write_index(Path("two/ablation/soft_labels/0/0.json"), "soft_labels", {"a": labels})
    run("gc", "two", "one", "--delete")
    assert keys(mine) == {teacher, flow, frames, labels, student}
    run("gc", "two", "--delete")
    assert keys(mine) == {teacher, labels}


def test_gc_keeps_what_a_manifest_still_needs(street, tmp_path, monkeypatch):
    """A run under way has written its manifest, and entries that no index names yet."""
    monkeypatch.setenv("WECLICK_CACHE", str(tmp_path / "mine"))
    monkeypatch.chdir(tmp_path)
    for kind, made in (("frames", street.frames), ("flow", street.flow)):
        for key in made.values():
            copy_entries([street.store.local], LocalRoot(tmp_path / "mine"), [(kind, key)])
    for meta in (tmp_path / "mine").rglob("entry.json"):
        os.utime(meta, (time.time() - 2 * 3600,) * 2)
    write_manifest(street.train, tmp_path / "results/manifest/train/0.json")
    config = json.dumps({**street.config, "frames": {"chunk_px": 32}})
    words = [
        "gc",
        "--older-than",
        "0h",
        "--unused-since",
        "0h",
        "--delete",
        "--set",
        "evaluate.max_gap_frames=2",
    ]
    ended = CliRunner().invoke(app, ["cache", *words, "--config", config], catch_exceptions=False)
    assert ended.exit_code == 0, ended.output
    assert keys(tmp_path / "mine") == {*street.frames.values(), *street.flow.values()}
    run(*words)
    assert keys(tmp_path / "mine") == set()  # another window and size of chunks need other entries


def test_gc_keeps_by_age_use_kind_and_size(roots, make):
    _, mine = roots
    write_index(Path("results/flow/train/0.json"), "flow", {"a": "0" * 64})
    young, used = make(mine, "flow", {"n": 1}, 1), make(mine, "flow", {"n": 2}, 9, 1)
    third, second, first = (make(mine, "flow", {"n": n}, 100, n) for n in (10, 20, 30))
    frames = make(mine, "frames", {"n": 1}, 50)
    run("gc", "--delete", "--kind", "models")
    assert len(keys(mine)) == 6
    run("gc", "--delete", "--max-gib", 4500 / 2**30, "--kind", "flow")
    assert keys(mine) == {young, used, third, frames}
    assert {first, second}.isdisjoint(keys(mine))
    run("gc", "--delete", "--older-than", "11d", "--unused-since", "0h")
    assert keys(mine) == {young, used}
    run("gc", "--delete", "--unused-since", "0h")
    assert keys(mine) == {young}
    run("gc", "--delete", "--unused-since", "0h", "--older-than", "0h")
    assert keys(mine) == set()


def test_gc_leaves_what_belongs_to_others(roots, make, monkeypatch):
    _, mine = roots
    write_index(Path("results/flow/train/0.json"), "flow", {"a": "0" * 64})
    make(mine, "flow", {"n": 1})
    monkeypatch.setattr("weclick.store.summaries.os.getuid", lambda: NOBODY)
    run("gc", "--delete")
    assert len(keys(mine)) == 1


def test_gc_refuses_results_that_do_not_tell_what_they_need(roots, make):
    _, mine = roots
    key = make(mine, "flow", {"n": 1})
    with pytest.raises(InputError, match=r"results: there are no such results"):
        run("gc", "--delete")
    Path("results/student").mkdir(parents=True)
    with pytest.raises(InputError, match=r"results: names no entries"):
        run("gc", "results", "--delete")
    write_index(Path("other/flow/train/0.json"), "flow", {"a": "0" * 64})
    with pytest.raises(InputError, match=r"results: names no entries"):
        run("gc", "other", "results", "--delete")
    Path("other/flow/train/1.json").write_text('{"kind": "flow", "entr', encoding="utf-8")
    with pytest.raises(InputError, match=r"1\.json: cannot be read as JSON"):
        run("gc", "other", "--delete")
    with pytest.raises(InputError, match="'2 days' is no time span"):
        run("gc", "other", "--older-than", "2 days")
    assert keys(mine) == {key}


@pytest.mark.skipif(os.getuid() == 0, reason="root may read every folder")
def test_gc_refuses_a_folder_that_it_may_not_read(roots, make):
    _, mine = roots
    key = make(mine, "flow", {"n": 1})
    write_index(Path("results/flow/train/0.json"), "flow", {"a": "0" * 64})
    Path("results/frames").mkdir(mode=0)
    with pytest.raises(InputError, match=r"results/frames: cannot be read \(Permission denied\)"):
        run("gc", "--delete")
    assert keys(mine) == {key}


def test_gc_refuses_a_training_whose_inputs_nothing_tells(roots, make):
    _, mine = roots
    key, model = make(mine, "frames", {"n": 1}), make(mine, "models", {"n": 1})
    Path("results/student").mkdir(parents=True)
    Path("results/teacher").mkdir()
    Path("results/student/checkpoint.pt").write_bytes(b"")
    Path("results/teacher/model.json").write_text(
        json.dumps({"kind": "models", "key": model}), encoding="utf-8"
    )
    with pytest.raises(InputError, match=r"student/checkpoint\.pt: a training is under way here"):
        run("gc", "--delete")
    write_index(Path("results/frames/train/0.json"), "frames", {"a": key})
    make(mine, "frames", {"n": 2})
    run("gc", "--delete")
    assert keys(mine) == {key, model}


def test_gc_sweeps_what_nobody_reads(roots, make):
    _, mine = roots
    kept, broken = make(mine, "flow", {"n": 1}), make(mine, "flow", {"n": 2})
    write_index(Path("results/flow/train/0.json"), "flow", {"a": kept})
    root = LocalRoot(mine)
    moved = root.quarantine("flow", broken)
    dead = root.folder("flow", kept).with_name(f".{kept}.elsewhere.1.0123abcd.tmp")
    live = root.folder("flow", kept).with_name(f".{kept}.elsewhere.2.0123abcd.tmp")
    for folder, days in ((dead, 8), (live, 1)):
        folder.mkdir()
        os.utime(folder, (time.time() - days * DAY_S,) * 2)
    assert "MiB may be swept" in run("gc", "--sweep")
    assert dead.is_dir()
    assert "1 folders swept" in run("gc", "--sweep", "--delete")
    assert moved.is_dir(), "what was moved away less than an hour ago, a person may still want to look at"
    os.utime(moved, (time.time() - 2 * 3600,) * 2)
    assert "1 folders swept" in run("gc", "--sweep", "--delete")
    assert not dead.exists()
    assert live.is_dir()
    assert list((mine / "quarantine/flow").iterdir()) == []
    assert keys(mine) == {kept}


def test_gc_leaves_what_is_used_while_it_works(roots, make):
    from weclick.store import delete

    _, mine = roots
    used, gone = make(mine, "flow", {"n": 1}), make(mine, "flow", {"n": 2})
    entries = read_ledger([LocalRoot(mine)]).entries
    LocalRoot(mine).mark_used("flow", used)
    LocalRoot(mine).remove("flow", gone)
    assert delete(LocalRoot(mine), entries) == 0
    assert keys(mine) == {used}


def test_a_reader_is_told_that_its_entry_is_gone(roots):
    _, mine = roots
    key = write_flow_entry(mine)
    array = Store([mine]).get("flow", key).array("flow")
    LocalRoot(mine).remove("flow", key)
    with pytest.raises(EntryMissingError, match="somebody deleted it"):
        array[0]


def test_an_entry_may_be_made_again_while_it_is_deleted(tmp_path):
    """Whoever looks sees a whole entry, or none."""
    root, end = LocalRoot(tmp_path), time.monotonic() + 1
    key = write_flow_entry(tmp_path)

    def write() -> None:
        while time.monotonic() < end:
            write_flow_entry(tmp_path)

    def remove() -> None:
        while time.monotonic() < end:
            with suppress(FileNotFoundError):
                root.remove("flow", key)

    def look() -> list[str]:
        faults = []
        while time.monotonic() < end:
            faults += read_ledger([root]).faults
        return [fault for fault in faults if "No such file" not in fault]  # it went since it was listed

    with ThreadPoolExecutor(4) as pool:
        works = [pool.submit(work) for work in (write, write, remove, look)]
    assert [work.result() for work in works] == [None, None, None, []]
    assert write_flow_entry(tmp_path) == key
    assert verify_entry(root.folder("flow", key)) == []
    assert list(tmp_path.rglob("*.tmp")) == []


def test_a_use_is_marked_once_a_day_and_changes_nothing_else(roots, make):
    _, mine = roots
    key = make(mine, "flow", {"n": 1}, 9, 3)
    root, before = LocalRoot(mine), files_of(mine)
    root.mark_used("flow", key)
    assert abs(root.last_use("flow", key) - time.time()) < 3600
    hours_ago = int(time.time() - 20 * 3600)
    os.utime(root.folder("flow", key) / "entry.json", (hours_ago, hours_ago))
    root.mark_used("flow", key)
    assert root.last_use("flow", key) == hours_ago
    root.mark_used("flow", "0" * 64)  # no such entry: nothing to mark, and no error
    assert files_of(mine) == before
    assert Store([mine]).get("flow", key).key == key


def test_finding_an_entry_marks_its_use_in_ones_own_root_alone(roots, make):
    long_ago = int(time.time() - 9 * 86400)
    keys = [make(root, "flow", {"n": n}, 9, 3) for n, root in enumerate(roots)]
    for root, key in zip(roots, keys, strict=True):
        os.utime(LocalRoot(root).folder("flow", key) / "entry.json", (long_ago, long_ago))
        Store(roots).get("flow", key)
    team, mine = (LocalRoot(root).last_use("flow", key) for root, key in zip(roots, keys, strict=True))
    assert team == long_ago
    assert abs(mine - time.time()) < 3600


def test_ls_and_du_look_into_buckets(roots, make):
    with s3_server():
        boto3.client("s3").create_bucket(Bucket="team")
        whole = write_flow_entry(roots[1], {"estimator": {"name": "dis"}})
        broken = write_flow_entry(roots[1], {"estimator": {"name": "raft"}})
        run("publish", "s3://team/weclick")
        name = f"weclick/flow/v1/{broken[:2]}/{broken}/entry.json"
        boto3.client("s3").put_object(Bucket="team", Key=name, Body=b"{}")
        (row,) = listed("--root", "s3://team/weclick")
        assert (row["key"], row["made_with"], row["used_unix_s"]) == (whole, "dis", None)
        assert row["root"] == "s3://team/weclick"
        assert "1 entries" in run("du", "--root", "s3://team/weclick")


def trained(make, root: Path, flows: int = 3) -> tuple[str, set[str]]:
    """A teacher that results name, and the flows that it was trained from; all are old."""
    keys = {make(root, "flow", {"n": n}, 30) for n in range(flows)}
    teacher = make(root, "models", inputs_of(keys), 30, weights_sha256="7e")
    Path("results/teacher").mkdir(parents=True, exist_ok=True)
    card = json.dumps({"kind": "models", "key": teacher})
    Path("results/teacher/model.json").write_text(card, encoding="utf-8")
    return teacher, keys


def cut(meta: Path) -> None:
    meta.write_bytes(meta.read_bytes()[:100])


def add(meta: Path) -> None:
    meta.write_bytes(meta.read_bytes() + b"x")


def edit(meta: Path) -> None:
    """It still reads as a description, but names another flow."""
    meta.write_bytes(meta.read_bytes().replace(b'"flow": {\n   "0": "', b'"flow": {\n   "0": "f', 1))


def pipe(meta: Path) -> None:
    meta.unlink()
    os.mkfifo(meta)


@pytest.mark.parametrize("harm", [cut, add, edit, pipe, Path.unlink], ids=lambda harm: harm.__name__)
def test_gc_deletes_nothing_while_a_network_is_damaged(roots, make, harm):
    _, mine = roots
    teacher, flows = trained(make, mine)
    harm(LocalRoot(mine).folder("models", teacher) / "entry.json")
    with pytest.raises(InputError, match=r"nothing was deleted: \d entries or leases are unreadable"):
        run("gc", "--delete")
    assert "--delete would delete nothing" in run("gc")
    LocalRoot(mine).quarantine("models", teacher)
    with pytest.raises(InputError, match="nothing was deleted"):
        run("gc", "--delete")
    assert keys(mine) == flows
    assert teacher == make(mine, "models", inputs_of(flows), 30, weights_sha256="7e")
    gone = make(mine, "flow", {"n": 99}, 30)
    run("gc", "--delete")
    assert keys(mine) == {*flows, teacher}
    assert gone not in keys(mine)


def inputs_of(flows: set[str]) -> dict:
    return {"role": "teacher", "flow": {str(n): key for n, key in enumerate(sorted(flows))}, "frames": {}}


def test_gc_keeps_what_a_network_in_the_team_s_root_was_trained_from(roots, make):
    team, mine = roots
    flows = trained(make, mine)[1]
    shutil.move(mine / "models", team / "models")
    make(mine, "flow", {"n": 99}, 30)
    run("gc", "--delete")
    assert keys(mine) == flows


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("student/model.json", '{"kind": "models", "key": "3f"}'),
        ("student/model.json", '{"kind": "models", "key": 3}'),
        ("flow/train/1.json", '{"kind": "flow", "entries": {"a": "3f"}}'),
        ("flow/train/1.json", '{"kind": "flows", "entries": {"a": "%s"}}' % ("0" * 64)),
    ],
)
def test_gc_deletes_nothing_where_results_name_no_entries(roots, make, name, content):
    _, mine = roots
    trained(make, mine)
    make(mine, "flow", {"n": 99}, 30)
    (Path("results") / name).parent.mkdir(parents=True)
    (Path("results") / name).write_text(content, encoding="utf-8")
    held = keys(mine)
    with pytest.raises(InputError, match=r"is no key of|unknown kind of entry"):
        run("gc", "--delete")
    assert keys(mine) == held


@pytest.mark.parametrize("content", [b"not a lease", b"[]", None])
def test_gc_deletes_nothing_while_a_lease_cannot_be_read(roots, make, content):
    _, mine = roots
    trained(make, mine)
    make(mine, "flow", {"n": 99}, 30)
    held, path = keys(mine), Leases(mine).path("flow", "0" * 64)
    path.parent.mkdir(parents=True)
    path.write_bytes(content) if content else os.mkfifo(path)
    os.utime(path, (0, 0))
    with pytest.raises(InputError, match="nothing was deleted"):
        run("gc", "--delete")
    assert keys(mine) == held


def test_gc_leaves_what_somebody_works_on(roots, make):
    _, mine = roots
    teacher, flows = trained(make, mine)
    held, _ = (make(mine, "flow", {"n": n}, 30) for n in (98, 99))
    path = Leases(mine).path("flow", held)
    path.parent.mkdir(parents=True)
    path.write_bytes(Holder("node7", 1, "ada", "today", "another machine").spell())
    run("gc", "--delete")
    assert keys(mine) == {*flows, teacher, held}
    os.utime(path, (0, 0))  # its holder is silent
    run("gc", "--delete")
    assert keys(mine) == {*flows, teacher}


@pytest.mark.parametrize("ahead_d", [-400, 400])
def test_gc_takes_the_age_from_the_root_s_clock(roots, make, monkeypatch, ahead_d):
    """The clock of this machine is wrong by a year."""
    _, mine = roots
    teacher, flows = trained(make, mine)
    young, _ = make(mine, "flow", {"n": 98}, 1), make(mine, "flow", {"n": 99}, 30)
    clock = time.time
    monkeypatch.setattr(time, "time", lambda: clock() + ahead_d * DAY_S)
    run("gc", "--delete")
    assert keys(mine) == {*flows, teacher, young}


def test_gc_deletes_nothing_that_was_used_within_the_hour(roots, make):
    _, mine = roots
    teacher, flows = trained(make, mine)
    used, _ = (make(mine, "flow", {"n": n}, 30, hours / 24) for n, hours in ((98, 0.5), (99, 2)))
    run("gc", "--delete", "--older-than", "0h", "--unused-since", "0h")
    assert keys(mine) == {*flows, teacher, used}
