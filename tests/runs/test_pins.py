"""What a lock pins of the store, and how other content under a pinned key is found."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from helpers.damage import forge
from helpers.report_run import SIZE, Run, make_run
from helpers.workflow import Project, make_project
from weclick.cli import app
from weclick.runs.layout import LOCK
from weclick.runs.lock import make_lock, read_lock, spell_lock
from weclick.runs.pins import check_contents, locks_of, pins_of
from weclick.runs.report.provenance import versions
from weclick.store import DamagedEntryError, LocalRoot, Store
from weclick.store.flow_entries import allocate_flow, write_flow
from weclick.store.pins import OtherContentError, content_digest


class Pinned:
    """A run with its lock; its entries lie in a team root."""

    def __init__(self, folder: Path, run: Run):
        self.folder, self.results = folder, run.folder
        self.team, self.mine = LocalRoot(folder / "store"), folder / "mine"
        card = {"command": "snakemake all", "versions": versions(), "config": run.config}
        (run.folder / "report.json").write_text(json.dumps(card))
        (run.folder / LOCK).write_text(spell_lock(make_lock(run.folder, {}, 2)))
        self.lock = read_lock(run.folder / LOCK)

    @property
    def store(self) -> Store:
        return Store([self.team.path, self.mine])

    @property
    def key(self) -> str:
        """Of the flow."""
        return next(iter(self.lock["contents"]["flow"]))

    def make_again(self, value: float) -> None:
        """Another flow under the same key, whole, with an entry.json that fits it."""
        entry = self.store.get("flow", self.key)
        with Store([self.folder / "other"]).create("flow", entry.meta["inputs"]) as new:
            arrays = allocate_flow(new, 1, SIZE, stride_px=4, with_masks=True)
            bits = entry.array("valid")[0]
            flow = entry.array("flow")[0] / 64 + value
            write_flow(arrays, 0, flow, bits, on_overflow="error")
            new.attributes.update({**entry.attributes, "pairs": [["mine", "yours"]]})
        shutil.rmtree(self.team.folder("flow", self.key))
        shutil.move(LocalRoot(self.folder / "other").folder("flow", self.key), entry.path)


@pytest.fixture
def pinned(tmp_path, monkeypatch) -> Pinned:
    monkeypatch.setenv("WECLICK_CACHE", f"{tmp_path / 'store'}:{tmp_path / 'mine'}")
    return Pinned(tmp_path, make_run(tmp_path))


def run(*words: object, exit_code: int = 0) -> str:
    ended = CliRunner().invoke(app, list(map(str, words)), catch_exceptions=False)
    assert ended.exit_code == exit_code, ended.output
    return ended.output


def fetch(*words: object, exit_code: int = 0) -> str:
    return run("cache", "fetch", *words, "--config", "{}", exit_code=exit_code)


def test_a_lock_pins_the_content_of_each_entry_that_the_run_read(pinned):
    contents = pinned.lock["contents"]
    assert {kind: len(pins) for kind, pins in contents.items()} == {"flow": 1, "frames": 1, "soft_labels": 1}
    meta = pinned.store.get("flow", pinned.key).meta
    assert contents["flow"][pinned.key] == content_digest(meta)
    check_contents(pinned.lock, pinned.store)
    forge(pinned.team.folder("flow", pinned.key), lambda meta: meta["attributes"].update(clipped=3))
    with pytest.raises(OtherContentError):
        check_contents(pinned.lock, pinned.store)


def test_the_verb_tells_of_entries_that_it_cannot_pin(pinned, tmp_path):
    told = run("lock", "--results", pinned.results, "--output", tmp_path / LOCK)
    assert "1 entries of this run are in no root; the lock does not pin them" in told, (
        "the network is not there"
    )


def test_the_same_content_of_another_person_is_the_same(pinned):
    before = pinned.team.find_meta("flow", pinned.key)
    pinned.make_again(0)
    forge(pinned.team.folder("flow", pinned.key), lambda meta: meta.update(created_unix_s=1))
    after = pinned.team.find_meta("flow", pinned.key)
    assert before["digest"] != after["digest"]
    check_contents(pinned.lock, pinned.store)
    assert "contents: the same" in run("reproduce", pinned.results / LOCK, "--check", pinned.results)


def test_other_content_under_the_same_key_is_one_error(pinned):
    old = pinned.lock["contents"]["flow"][pinned.key]
    pinned.make_again(0.5)
    assert pinned.team.faults("flow", pinned.key) == [], "as whole as any other"
    new = content_digest(pinned.team.find_meta("flow", pinned.key))
    with pytest.raises(OtherContentError) as caught:
        check_contents(pinned.lock, pinned.store)
    for part in (f"{pinned.team}: flow entry {pinned.key}", f"digest {new}, pinned {old}"):
        assert part in str(caught.value)


def test_other_content_may_be_accepted_and_is_counted(pinned, capsys):
    pinned.make_again(0.5)
    check_contents(pinned.lock, pinned.store, accept=True)
    assert "entries of other content than the lock pins: 1\n" in capsys.readouterr().err


def test_changed_files_behind_a_right_description_are_found(pinned):
    chunk = pinned.team.folder("flow", pinned.key) / "flow/c/0/0/0/0"
    data = bytearray(chunk.read_bytes())
    data[0] ^= 1
    chunk.write_bytes(data)
    with pytest.raises(DamagedEntryError, match="content differs"):
        check_contents(pinned.lock, pinned.store)


def test_fetch_refuses_other_content_and_takes_the_rest(pinned):
    old = pinned.lock["contents"]["flow"][pinned.key]
    pinned.make_again(0.5)
    told = fetch(pinned.results, exit_code=1)
    assert told.count("fault: ") == 1
    assert f"fault: {pinned.team}: flow entry {pinned.key} holds other content" in told
    assert f"pinned {old}" in told
    assert not LocalRoot(pinned.mine).find_meta("flow", pinned.key)
    assert list(LocalRoot(pinned.mine).keys("frames"))


def test_fetch_takes_pinned_content_from_the_next_root(pinned, monkeypatch, tmp_path):
    shutil.copytree(pinned.team.path, tmp_path / "good")
    pinned.make_again(0.5)
    monkeypatch.setenv("WECLICK_CACHE", f"{pinned.team}:{tmp_path / 'good'}:{pinned.mine}")
    fetch(pinned.results, exit_code=1)
    meta = LocalRoot(pinned.mine).find_meta("flow", pinned.key)
    assert content_digest(meta) == pinned.lock["contents"]["flow"][pinned.key]


def test_fetch_looks_at_what_is_there_already(pinned):
    fetch(pinned.results / "flow/train/0.json")
    mine = LocalRoot(pinned.mine).folder("flow", pinned.key)
    forge(mine, lambda meta: meta["attributes"].update(clipped=3))
    told = fetch(pinned.results / "flow/train/0.json", exit_code=1)
    assert f"fault: {pinned.mine}: flow entry {pinned.key} holds other content" in told
    assert mine.is_dir(), "nothing is moved or overwritten"


def test_fetch_takes_what_a_lock_names(pinned, tmp_path):
    shutil.copy(pinned.results / LOCK, tmp_path / f"theirs.{LOCK}")
    told = fetch(tmp_path / f"theirs.{LOCK}", exit_code=1)
    assert "3 entries copied" in told
    assert f"1 entries are in no root, e.g. models {'ab' * 32}" in told
    pinned.make_again(0.5)
    shutil.rmtree(pinned.mine)
    assert "fault: " in fetch(tmp_path / f"theirs.{LOCK}", exit_code=1)


def test_old_locks_are_read_and_said_to_pin_nothing(pinned, capsys):
    path = pinned.results / LOCK
    old = json.loads(path.read_text(encoding="utf-8"))
    del old["contents"]
    path.write_text(json.dumps(old), encoding="utf-8")
    lock = read_lock(path)
    pinned.make_again(0.5)
    check_contents(lock, pinned.store)
    assert capsys.readouterr().err.count("of an earlier weclick and pins no contents") == 1
    assert "pins no contents" in fetch(pinned.results / "flow/train/0.json")
    told = run("reproduce", path, "--check", pinned.results)
    assert "contents: the same or unknown: the lock is of an earlier weclick and pins none\n" in told


def test_a_folder_whose_entries_are_not_here_is_compared_without_them(pinned, monkeypatch, tmp_path):
    monkeypatch.setenv("WECLICK_CACHE", str(tmp_path / "nowhere"))
    told = run("reproduce", pinned.results / LOCK, "--check", pinned.results)
    assert "contents: the same, but 3 of 3 could not be compared: they are in no root\n" in told


def test_keys_that_the_other_run_does_not_have_are_told_as_such(pinned, tmp_path):
    other = json.loads((pinned.results / LOCK).read_text(encoding="utf-8"))
    other["contents"]["flow"] = {"f" * len(key): found for key, found in other["contents"]["flow"].items()}
    other_keys = tmp_path / "other.lock.json"
    other_keys.write_text(json.dumps(other), encoding="utf-8")
    told = run("reproduce", other_keys, "--check", pinned.results)
    assert "contents: the same, but 1 of 3 could not be compared: the other run has other keys\n" in told


def test_two_locks_may_pin_two_contents(pinned):
    pinned.make_again(0.5)
    other = make_lock(pinned.results, {}, 2)
    for lock in (pinned.lock, other):
        assert len(pins_of([pinned.lock, other])["flow", pinned.key]) == 2, lock
    assert locks_of([pinned.results / "flow/train/0.json"]) == [pinned.results / LOCK]


@pytest.fixture(scope="module")
def project(tmp_path_factory, repository, tiny_config) -> Project:
    project = make_project(tmp_path_factory.mktemp("project"), repository, tiny_config)
    project.snakemake("all")
    return project


@pytest.mark.slow
def test_reproduce_computes_nothing_from_other_content(project):
    import subprocess
    import sys

    lock = read_lock(project.root / "results" / LOCK)
    kind, (key, *_) = "frames", list(lock["contents"]["frames"])
    folder = LocalRoot(project.root / "store").folder(kind, key)
    forge(folder, lambda meta: meta["attributes"].update(units="grey levels 0..255", digests=["0" * 64]))
    words = ["reproduce", f"results/{LOCK}", "--results", "again", "--cores", "2"]
    done = subprocess.run(
        [Path(sys.executable).with_name("weclick"), *words],
        cwd=project.root,
        env=project.environment,
        text=True,
        capture_output=True,
    )
    assert done.returncode == 1
    assert f"store: {kind} entry {key} holds other content than the lock pins" in done.stderr
    assert not (project.root / "again/frames").exists()
