"""A root that people and machines share: rights, clones, stuck holders, and what somebody plants in it."""

import gc
import os
import random
import signal
import stat
import subprocess
import sys
import time
import traceback
from collections import Counter
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.cache_entries import files_of, write_flow_entry
from helpers.places import TESTS
from weclick.common.errors import InputError, NotPlainFileError
from weclick.common.files import read_json, write_text
from weclick.datasets.digests import file_digests
from weclick.datasets.frames import frames_key
from weclick.datasets.toy.draw import generate
from weclick.manifest import Classes, Clip, Frame, Manifest, write_manifest
from weclick.runs.cost import stage_cost
from weclick.store import LocalRoot, Store, entry_key, file_digest, list_entries, verify_entry
from weclick.store.leases import heart, holder, rounds
from weclick.store.leases.holder import Holder
from weclick.store.leases.leases import Leases

KEY = entry_key("flow", {"n": 0})
GROUP, ANNA, BERT = 61000, 61001, 61002


def make(store: Store, number: int) -> str:
    with store.create("flow", {"n": number}) as entry:
        entry.write_file("data", b"%d" % number)
    return entry_key("flow", {"n": number})


class TestRights:
    @pytest.mark.parametrize("umask", [0, 0o002, 0o077])
    @pytest.mark.parametrize("rights", [0o700, 0o750, 0o755, 0o2770, 0o2775, 0o3775, 0o777])
    def test_all_in_a_root_takes_its_rights_whatever_the_umask(self, tmp_path, rights, umask):
        (tmp_path / "root").mkdir()
        (tmp_path / "root").chmod(rights)
        root, store = LocalRoot(tmp_path / "root"), Store([tmp_path / "root"])
        old = os.umask(umask)
        try:
            make(store, 1)
            root.quarantine("flow", make(store, 2))
            Leases(root.path).take("flow", KEY)
        finally:
            os.umask(old)
        for path in root.path.rglob("*"):
            found = stat.S_IMODE(path.stat().st_mode)
            assert found == (rights & 0o3775 if path.is_dir() else rights & 0o664), path
        Leases(root.path).release("flow", KEY)

    @pytest.mark.skipif(os.getuid() != 0, reason="only root may become two users")
    def test_two_users_of_a_group_share_a_root_with_umask_077_and_002(self, tmp_path, monkeypatch):
        root = tmp_path / "root"
        root.mkdir()
        os.chown(root, 0, GROUP)
        root.chmod(0o2770)
        root.parent.chmod(0o755)
        monkeypatch.chdir(root.parent)  # no user may go through the folders above

        def work(user: int, umask: int, first: int) -> int:
            if child := os.fork():
                return child
            gc.disable()  # it may free what waits for a thread, and those of the parent are not here
            status = 1
            try:
                os.setgroups([GROUP])
                os.setresgid(user, user, user)
                os.setresuid(user, user, user)
                os.umask(umask)
                holder._machine.cache_clear()
                monkeypatch.setattr("weclick.store.meta.version", lambda name: "0")  # it may not read them
                store = Store([Path("root")])
                for number in range(first, first + 40):
                    assert Leases(Path("root")).take("flow", entry_key("flow", {"n": number})) is None
                    make(store, number)
                LocalRoot(Path("root")).quarantine("flow", entry_key("flow", {"n": first}))
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)

        children = [work(ANNA, 0o077, 0), work(BERT, 0o002, 100)]
        assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0]
        child = work(BERT, 0o077, 200)  # where the other one has made the folders
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        keys = [path.name for path in list_entries(root, "flow")]
        assert len(keys) == 3 * 39
        assert all((Store([root]).get("flow", key).path / "data").read_bytes() for key in keys)
        for path in root.rglob("*"):
            found = path.stat()
            assert found.st_gid == GROUP, path
            assert stat.S_IMODE(found.st_mode) == (0o2770 if path.is_dir() else 0o660), path


class TestClones:
    """Machines of one image have one host name, and process ids that mean nothing to each other."""

    @pytest.fixture
    def as_clone(self, monkeypatch):
        def become(machine: str) -> None:
            monkeypatch.setattr(holder, "_machine", lambda: machine)
            holder.process_space.cache_clear()

        yield become
        holder.process_space.cache_clear()

    def test_neither_sweeps_the_workspace_of_the_other(self, tmp_path, as_clone, monkeypatch):
        as_clone("one")
        with Store([tmp_path]).create("flow", {"n": 0}) as entry:
            entry.write_file("data", b"half")
            with monkeypatch.context() as patch:
                patch.setattr("weclick.store.leases.holder.is_gone", lambda pid: True)
                as_clone("other")
                make(Store([tmp_path]), 1)
                root = LocalRoot(tmp_path)
                assert list(root.abandoned(root.now())) == []
                with Store([tmp_path]).create("flow", {"n": 0}):
                    assert entry.path.is_dir()
                as_clone("one")
                assert list(root.abandoned(root.now())) == [entry.path], (
                    "here its process would be known dead"
                )

    @pytest.mark.parametrize("machine", ["other", ""])
    def test_only_of_this_very_machine_a_process_is_known_to_be_dead(self, as_clone, machine):
        as_clone("one")
        dead = Holder(pid=2**30, machine="one", started=1)
        assert dead.is_dead()
        as_clone(machine)
        assert not dead.is_dead()

    def test_what_names_a_machine_tells_host_installation_kernel_and_processes(self):
        if not holder._machine():
            pytest.skip("only Linux tells")
        parts = holder._machine().split()
        assert Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip() == parts[0]
        assert parts[1].startswith("pid:[")
        assert len(holder.process_space()) < 70, "names of files are bounded"

    def test_a_workspace_shows_signs_of_life(self, tmp_path, monkeypatch):
        monkeypatch.setattr(heart, "BEAT_S", 0.02)
        monkeypatch.setattr(heart, "_heart", heart.threading.Thread())
        with Store([tmp_path]).create("flow", {"n": 0}) as entry:
            os.utime(entry.path, (0, 0))
            until = time.monotonic() + 60
            while entry.path.stat().st_mtime == 0:
                assert time.monotonic() < until
                time.sleep(0.01)
            assert entry.path in heart._held
        assert entry.path not in heart._held

    def test_nobody_keeps_a_lease_alive_that_is_no_longer_theirs(self, tmp_path, monkeypatch):
        monkeypatch.setattr(heart, "BEAT_S", 0.02)
        monkeypatch.setattr(heart, "_heart", heart.threading.Thread())
        leases = Leases(tmp_path)
        for number in range(2):
            leases.take("flow", entry_key("flow", {"n": number}))
        lost, kept = (leases.path("flow", entry_key("flow", {"n": number})) for number in range(2))
        lost.write_bytes(Holder(user="ada").spell())
        for path in (lost, kept):
            os.utime(path, (0, 0))
        until = time.monotonic() + 60
        while kept.stat().st_mtime == 0:
            assert time.monotonic() < until
            time.sleep(0.01)
        assert lost.stat().st_mtime == 0
        for number in range(2):
            leases.release("flow", entry_key("flow", {"n": number}))


class TestStuckHolders:
    @pytest.fixture(autouse=True)
    def quick(self, monkeypatch):
        monkeypatch.setattr(rounds, "POLL_S", 0.01)

    def stuck(self, root: Path, key: str = KEY) -> Path:
        path = Leases(root).path("flow", key)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(Holder("node7", 4242, "ada", "yesterday", "another machine").spell())
        return path

    @pytest.mark.parametrize("name", ["lease_wait_s", "lease_wait"])
    def test_one_is_waited_for_no_longer_than_told(self, tmp_path, name):
        path = self.stuck(tmp_path)
        store = Store.from_config([tmp_path], **{name: 0.1})
        with pytest.raises(InputError) as told, store.alone("flow", KEY):
            pass
        for word in (
            str(path),
            "ada on node7 (process 4242",
            "0.1 s (cache.lease_wait_s)",
            "delete this file",
        ):
            assert word in str(told.value)
        assert path.exists()

    def test_news_of_others_prolong_the_wait(self, tmp_path, monkeypatch):
        """The time counts from the last entry that somebody finished or began."""
        keys = [entry_key("flow", {"n": number}) for number in range(4)]
        paths, looks = [self.stuck(tmp_path, key) for key in keys], []
        clock = iter(range(0, 10**6, 6))
        monkeypatch.setattr(rounds.time, "monotonic", lambda: next(clock))

        def sleep(_):
            looks.append(len(paths))
            if len(looks) % 2 == 0 and len(paths) > 1:
                paths.pop(0).unlink()

        monkeypatch.setattr(rounds.time, "sleep", sleep)
        store = Store([tmp_path], lease_wait_s=20)
        with (
            store.share_out("flow", dict.fromkeys(keys, 0)) as work,
            pytest.raises(InputError, match="ada on node7"),
        ):
            [*chain.from_iterable(work)]
        assert looks.count(1) > 1, "the three others were gained first"


class TestPlanted:
    @pytest.fixture
    def victim(self, tmp_path):
        path = tmp_path / "victim"
        path.write_bytes(b"precious")
        yield path
        assert path.read_bytes() == b"precious"
        assert not (tmp_path / "made").exists()

    @pytest.mark.parametrize("sort", ["pipe", "folder", "link"])
    def test_what_lies_where_a_lease_should_stops_nobody(self, tmp_path, sort, victim):
        store = Store([tmp_path / "root"])
        for path in (Leases(store.local.path).path("flow", key) for key in (KEY, "0" * 64)):
            path.parent.mkdir(parents=True, exist_ok=True)
            how = {"pipe": os.mkfifo, "folder": Path.mkdir, "link": lambda path: path.symlink_to(victim)}
            how[sort](path)
        with store.alone("flow", KEY) as entry:
            assert entry is None
            make(store, 0)
        assert len(Leases(store.local.path).held("flow")[1]) == 2

    def test_a_pipe_for_an_entry_json_is_damage_and_nobody_waits(self, tmp_path):
        key = write_flow_entry(tmp_path)
        (path := LocalRoot(tmp_path).folder("flow", key) / "entry.json").unlink()
        os.mkfifo(path)
        assert "is a pipe, expected a plain file" in verify_entry(path.parent)[0]
        assert Store([tmp_path]).find("flow", key) is None
        assert write_flow_entry(tmp_path) == key
        assert verify_entry(path.parent) == []

    @pytest.mark.parametrize("target", ["victim", "made"])
    def test_costs_and_digests_go_through_no_link(self, tmp_path, victim, target):
        (tmp_path / "0.cost.jsonl").symlink_to(tmp_path / target)
        (tmp_path / "0.json").write_bytes(b"{}")

        def count():
            with stage_cost(tmp_path / "0.json"):
                pass

        with pytest.raises(NotPlainFileError, match="is a symbolic link"):
            count()
        (tmp_path / "digests.sqlite").symlink_to(tmp_path / target)
        with pytest.raises(NotPlainFileError, match="is a symbolic link"):
            file_digests([tmp_path / "0.json"], tmp_path / "digests.sqlite")

    def test_a_lock_and_a_log_go_through_no_link(self, tmp_path, victim):
        from weclick.cli.log_file import open_log
        from weclick.common.files import alone

        for name in ("lock", "log"):
            (tmp_path / name).symlink_to(victim)
        with pytest.raises(NotPlainFileError), alone(tmp_path / "lock", ""):
            pass
        with pytest.raises(InputError, match="the log cannot be written"):
            open_log(tmp_path / "log")

    def test_quarantine_is_swept_of_what_weclick_moved_there_alone(self, tmp_path, victim):
        from weclick.store import leftovers

        root, home = LocalRoot(tmp_path / "root"), tmp_path / "home"
        moved = root.quarantine("flow", make(Store([root.path]), 1))
        (home / "docs").mkdir(parents=True)
        (root.path / "quarantine/home").symlink_to(home)
        (root.path / "quarantine/flow/notes").mkdir()
        assert leftovers(root, time.time() + 1, floor_s=0) == [moved]


RACE = """
import sys
from pathlib import Path
from weclick.common.files import write_text
for number in range(150):
    write_text(Path(sys.argv[1]), sys.argv[2] * (200 + number))
"""


def test_writers_of_one_result_lose_no_write_and_readers_see_no_half(tmp_path):
    path = tmp_path / "0.json"
    texts = ['{"entries": {}, "more": ["a"]}', '{"entries": {}}\n']
    write_text(path, texts[0])
    code = RACE.replace("sys.argv[2] * (200 + number)", "sys.argv[2] + ' ' * 50 * number")
    writers = [subprocess.Popen([sys.executable, "-c", code, path, text]) for text in texts * 2]
    while any(writer.poll() is None for writer in writers):
        read_json(path, "flow")
    assert [writer.returncode for writer in writers] == [0] * 4
    assert [each.name for each in tmp_path.iterdir()] == ["0.json"]


def test_two_processes_draw_one_street(tmp_path):
    code = (
        "import sys\nfrom pathlib import Path\nfrom weclick.datasets.toy.draw import generate\n"
        "generate(Path(sys.argv[1]), seed=0, height=32, width=32, clips={'train': 3}, frames=2)\n"
    )
    words = [sys.executable, "-c", code, tmp_path / "data"]
    both = [subprocess.Popen(words, stderr=subprocess.PIPE) for _ in range(2)]
    assert [(each.communicate()[1][-300:], each.returncode)[1] for each in both] == [0, 0]
    generate(tmp_path / "alone", seed=0, height=32, width=32, clips={"train": 3}, frames=2)
    assert files_of(tmp_path / "data") == files_of(tmp_path / "alone")


@pytest.mark.parametrize(
    ("processes", "clips", "harms"), [(3, 10, 3), pytest.param(8, 120, 40, marks=pytest.mark.slow)]
)
def test_kills_stops_and_clones_lose_nothing_and_nothing_is_wrong(tmp_path, processes, clips, harms):
    """Every third process believes to be on a clone of this machine. Some are killed, some stopped."""
    noise = np.random.default_rng(0).integers(0, 256, (clips, 3, 16, 24, 3), np.uint8)
    listed = []
    for c in range(clips):
        (tmp_path / f"data/{c}").mkdir(parents=True)
        for t in range(3):
            Image.fromarray(noise[c, t]).save(tmp_path / f"data/{c}/{t}.png")
        digests = [file_digest(tmp_path / f"data/{c}/{t}.png") for t in range(3)]
        frames = tuple(Frame(str(t), t, f"{c}/{t}.png", digests[t]) for t in range(3))
        listed.append(Clip(str(c), frames, targets=(1,), height_px=16, width_px=24))
    manifest = Manifest(
        "made", str(tmp_path / "data"), "train", 0, 1, Classes(("a",), ((0, 0, 0),)), tuple(listed)
    )
    write_manifest(manifest, tmp_path / "manifest.json")
    words = [TESTS / "helpers/share_frames.py", tmp_path / "manifest.json", tmp_path / "store"]

    def start(place: int) -> subprocess.Popen:
        clone = [f"clone {place}"] if place % 3 == 2 else ["here"]
        return subprocess.Popen(
            [sys.executable, *words, tmp_path / "log", "1", *clone],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    chance, running, stopped, done = (
        random.Random(0),
        [start(place) for place in range(processes)],
        {},
        Counter(),
    )
    while alive := [place for place, run in enumerate(running) if run.poll() is None]:
        time.sleep(chance.uniform(0, 0.1))
        for place in [place for place, until in stopped.items() if until < time.monotonic()]:
            running[place].send_signal(signal.SIGCONT)
            del stopped[place]
        begun = len((tmp_path / "log").read_text().splitlines()) if (tmp_path / "log").exists() else 0
        if done.total() < harms and begun > done.total() * clips / harms:
            place, harm = chance.choice(alive), chance.choice(["kill", "stop"])
            done[harm] += 1
            if harm == "stop":
                running[place].send_signal(signal.SIGSTOP)
                stopped[place] = time.monotonic() + chance.uniform(0.5, 4)
            else:
                stopped.pop(place, None)
                running[place].kill()
                running[place].wait()
                running[place] = start(place)
    assert [run.returncode for run in running] == [0] * processes
    store = Store([tmp_path / "store"])
    for clip, truth in zip(listed, noise, strict=True):
        assert np.array_equal(np.stack([*store.get("frames", frames_key(clip, 16)).array("rgb")]), truth)
    assert len(list(list_entries(tmp_path / "store", "frames"))) == clips
    assert not [fault for path in list_entries(tmp_path / "store", "frames") for fault in verify_entry(path)]
    assert not (tmp_path / "store/quarantine").exists()
    assert done.total() >= harms / 2
