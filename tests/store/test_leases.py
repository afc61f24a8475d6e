"""Leases: runs that write into one root split the work, and the dead stand in nobody's way."""

import io
import json
import os
import random
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.cache_entries import INPUTS, write_flow_entry
from helpers.flow_clips import Constant, options, pairs_of, use
from helpers.places import TESTS
from helpers.share_frames import THREADS
from weclick.datasets.frames import frames_key, pack_frames
from weclick.flow import compute_flow
from weclick.flow.writers import Writers
from weclick.manifest import Classes, Clip, Frame, Manifest, write_manifest
from weclick.manifest.read import read_clip
from weclick.models import build_model
from weclick.proxy_labels import clip_images, soft_labels
from weclick.store import Store, entry_key, file_digest, list_entries, verify_entry
from weclick.store.leases import heart, leases, rounds
from weclick.store.leases.holder import Holder, this_process
from weclick.store.leases.leases import Leases
from weclick.store.model_file import model_bytes

KEY = entry_key("flow", INPUTS)
TAKE = """
import sys, time
from pathlib import Path
from weclick.store.leases.leases import Leases
print(Leases(Path(sys.argv[1])).take("flow", sys.argv[2]), flush=True)
time.sleep(60)
"""


@pytest.fixture
def quick(monkeypatch):
    """Beats and waiting in hundredths of seconds, with a heart of one's own."""
    monkeypatch.setattr(heart, "BEAT_S", 0.02)
    monkeypatch.setattr(heart, "_heart", threading.Thread())
    monkeypatch.setattr(rounds, "POLL_S", 0.02)


@pytest.fixture
def held(monkeypatch):
    """What this process holds, empty again after the test."""
    monkeypatch.setattr(heart, "_held", held := {})
    return held


def lease_file(root: Path, key: str = KEY) -> Path:
    return root / "leases/flow" / key


def write_lease(root: Path, **changes) -> Path:
    """A lease, of this very process unless changes say otherwise."""
    mine = replace(this_process(), host="node7", user="ada")
    path = lease_file(root)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(replace(mine, **changes).spell())
    return path


def files_below(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


def at_once(count: int, work) -> list:
    """What `work(i)` returns in threads that begin together."""
    barrier = threading.Barrier(count)

    def one(i):
        barrier.wait()
        return work(i)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def made_up(root: Path, clips: int, frames: int = 4) -> Manifest:
    """A data set of small noise, every clip another one."""
    noise = np.random.default_rng(0).integers(0, 256, (clips, frames, 16, 24, 3), np.uint8)
    listed = []
    for c in range(clips):
        paths = [root / f"{c:03}/{t}.png" for t in range(frames)]
        paths[0].parent.mkdir(parents=True)
        for path, image in zip(paths, noise[c], strict=True):
            Image.fromarray(image).save(path)
        shown = [
            Frame(path.stem, t, f"{c:03}/{path.name}", file_digest(path)) for t, path in enumerate(paths)
        ]
        listed.append(Clip(f"{c:03}", tuple(shown), targets=(2,), height_px=16, width_px=24))
    return Manifest("made_up", str(root), "train", 0, 1, Classes(("thing",), ((0, 0, 0),)), tuple(listed))


class TestLeases:
    def test_one_of_many_threads_gains_it(self, tmp_path, held):
        keys = [entry_key("flow", {"n": n}) for n in range(20)]
        gained = at_once(8, lambda _: [key for key in keys if Leases(tmp_path).take("flow", key) is None])
        assert sorted(chain(*gained)) == sorted(keys)

    def test_it_tells_who_holds_it_and_ends(self, tmp_path, held):
        assert Leases(tmp_path).take("flow", KEY) is None
        said = json.loads(lease_file(tmp_path).read_text(encoding="utf-8"))
        assert (said["host"], said["pid"]) == (socket.gethostname(), os.getpid())
        assert f"{said['user']} on {said['host']} (process {os.getpid()}, since 20" in str(
            Leases(tmp_path).take("flow", KEY)
        )
        Leases(tmp_path).release("flow", KEY)
        assert not files_below(tmp_path)
        assert Leases(tmp_path).take("flow", KEY) is None

    def test_who_lost_it_does_not_end_the_lease_of_the_next_one(self, tmp_path, held):
        Leases(tmp_path).take("flow", KEY)
        write_lease(tmp_path)
        Leases(tmp_path).release("flow", KEY)
        assert lease_file(tmp_path).exists()

    def test_signs_of_life_keep_it_and_silence_ends_it(self, tmp_path, held, quick):
        path, long_ago = lease_file(tmp_path), (time.time() - 61,) * 2
        Leases(tmp_path).take("flow", KEY)
        os.utime(path, long_ago)
        until = time.monotonic() + 60
        while path.stat().st_mtime == long_ago[0]:
            assert time.monotonic() < until
            time.sleep(0.01)
        assert Leases(tmp_path).take("flow", KEY).pid == os.getpid()
        held.clear()
        while Leases(tmp_path).take("flow", KEY):  # a beat may be under way still
            assert time.monotonic() < until
            os.utime(path, long_ago)

    def test_all_its_signs_of_life_are_one_thread_s(self, tmp_path, held, quick):
        for n in range(5):
            Leases(tmp_path).take("flow", entry_key("flow", {"n": n}))
        assert len(held) == 5
        hearts = [thread for thread in threading.enumerate() if thread is heart._heart]
        assert [each.daemon for each in hearts] == [True]

    def test_of_two_that_take_over_one_wins(self, tmp_path, held):
        for number in range(100):
            held.clear()
            # in one folder, the sign of life of the last winner could touch the next lease
            root = tmp_path / str(number)
            path = write_lease(root, machine="another one")
            os.utime(path, (time.time() - 61,) * 2)
            told = at_once(2, lambda _, root=root: Leases(root).take("flow", KEY))
            assert told.count(None) == 1
            assert files_below(root) == [path]
            assert json.loads(path.read_text(encoding="utf-8"))["host"] == socket.gethostname()

    def test_what_came_into_the_place_of_a_stale_one_is_put_back(self, tmp_path, monkeypatch):
        judged = leases._read(write_lease(tmp_path, pid=1))
        fresh = write_lease(tmp_path).read_bytes()
        found = iter([judged])  # as if the fresh one came right after the last look
        read = leases._read
        monkeypatch.setattr(leases, "_read", lambda path: next(found, None) or read(path))
        leases._take_away(lease_file(tmp_path), judged)
        assert [path.read_bytes() for path in files_below(tmp_path)] == [fresh]

    def test_that_of_a_killed_process_is_taken_over_at_once(self, tmp_path, held):
        words = [sys.executable, "-c", TAKE, tmp_path, KEY]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as other:
            with closing(other.stdout):
                assert other.stdout.readline() == "None\n"
            assert Leases(tmp_path).take("flow", KEY).pid == other.pid
            other.kill()
        assert Leases(tmp_path).take("flow", KEY) is None

    def test_a_process_id_that_was_given_again_is_another_process(self, tmp_path, held):
        write_lease(tmp_path)
        assert Leases(tmp_path).take("flow", KEY).user == "ada"
        write_lease(tmp_path, started=1)
        assert Leases(tmp_path).take("flow", KEY) is None

    def test_process_ids_mean_nothing_across_machines(self, tmp_path, held):
        write_lease(tmp_path, machine="another one", started=1)
        assert Leases(tmp_path).take("flow", KEY).host == "node7"

    @pytest.mark.parametrize("ahead_s", [-86400, 86400])
    def test_the_clock_of_a_machine_does_not_matter(self, tmp_path, held, monkeypatch, ahead_s):
        clock = time.time
        monkeypatch.setattr(time, "time", lambda: clock() + ahead_s)
        path = write_lease(tmp_path, machine="another one")
        assert Leases(tmp_path).take("flow", KEY).user == "ada"
        os.utime(path, (time.time(),) * 2)  # no server dated that
        assert Leases(tmp_path).take("flow", KEY) is None

    @pytest.mark.parametrize(
        ("content", "after_s"),
        [("", 6), *((text, 61) for text in ("{", "[]", '{"pid": "x"}', '{"hosts": 1}', "[" * 4096))],
    )
    def test_one_that_says_nothing_is_somebody_s_until_it_expires(self, tmp_path, held, content, after_s):
        path = write_lease(tmp_path)
        path.write_text(content)
        assert "unknown user" in str(Leases(tmp_path).take("flow", KEY))
        os.utime(path, (time.time() - after_s,) * 2)
        assert Leases(tmp_path).take("flow", KEY) is None

    def test_what_it_says_cannot_play_tricks_on_a_terminal(self):
        assert str(Holder(user="[red]\x1b[2J", host="a\nb")).startswith("?red???2J on a?b (")

    def test_nobody_else_may_write_it_whatever_the_umask(self, tmp_path, held):
        old = os.umask(0)
        try:
            Leases(tmp_path / "root").take("flow", KEY)
        finally:
            os.umask(old)
        for path in (tmp_path / "root").rglob("*"):
            assert stat.S_IMODE(path.stat().st_mode) == (0o775 if path.is_dir() else 0o664)

    def test_those_of_the_dead_are_swept(self, tmp_path, held):
        write_lease(tmp_path, started=1)
        Leases(tmp_path).take("flow", other := entry_key("flow", {"n": 1}))
        Leases(tmp_path).sweep("flow")
        assert files_below(tmp_path) == [lease_file(tmp_path, other)]


class TestSharingOut:
    def test_an_error_gives_all_leases_back(self, tmp_path, held):
        store = Store([tmp_path])

        def fail():
            with store.share_out("flow", {KEY: 1, "0" * 64: 2}) as rounds:
                next(chain.from_iterable(rounds))
                assert [path.name for path in files_below(tmp_path)] == [KEY]
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fail()
        assert not files_below(tmp_path)
        assert not held

    def test_committing_an_entry_gives_its_lease_back(self, tmp_path, held):
        store = Store([tmp_path])
        with store.share_out("flow", {KEY: 1}) as rounds:
            for _ in chain.from_iterable(rounds):
                with store.create("flow", INPUTS):
                    assert lease_file(tmp_path).exists()
                assert not lease_file(tmp_path).exists()

    def test_who_waits_is_told_for_whom_and_gets_what_the_other_one_made(
        self, tmp_path, held, quick, monkeypatch
    ):
        monkeypatch.setattr(sys, "stderr", told := io.StringIO())
        Leases(tmp_path).take("flow", KEY)
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(lambda: self.alone(tmp_path))
            while not told.getvalue():
                assert not waiting.done()
            write_flow_entry(tmp_path)
            assert waiting.result(60).key == KEY
        assert told.getvalue().startswith("weclick: waiting for ")
        assert f" on {socket.gethostname()} (process {os.getpid()}, since 20" in told.getvalue()
        assert not held

    def test_who_waits_goes_on_where_the_other_one_failed(self, tmp_path, held, quick):
        Leases(tmp_path).take("flow", KEY)
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(lambda: self.alone(tmp_path))
            time.sleep(0.1)
            assert not waiting.done()
            Leases(tmp_path).release("flow", KEY)
            assert waiting.result(60) is None
        assert not held

    def test_alone_finds_what_is_there_without_a_lease(self, tmp_path):
        write_flow_entry(tmp_path)
        write_lease(tmp_path)
        assert self.alone(tmp_path).key == KEY

    @staticmethod
    def alone(root):
        with Store([root]).alone("flow", KEY) as entry:
            return entry

    def test_where_there_can_be_no_leases_work_is_done_without(self, tmp_path):
        (tmp_path / "store").mkdir()
        (tmp_path / "store/leases").write_text("in the way")
        manifest, store = made_up(tmp_path / "data", 3), Store([tmp_path / "store"])
        made = pack_frames(manifest, chunk_px=16, store=store)
        assert all(store.find("frames", key) for key in made.values())

    def test_two_runs_label_every_clip_once(self, tmp_path, quick, monkeypatch):
        torch.manual_seed(0)
        manifest, teacher = made_up(tmp_path / "data", 6), tmp_path / "model.safetensors"
        model = build_model("deeplabv3plus", "mobilenetv2_compact", 1, channels=16)
        teacher.write_bytes(model_bytes(model, manifest.classes))
        decoded = []

        def counting(manifest, clip):
            decoded.append(clip.id)
            return read_clip(manifest, clip)

        monkeypatch.setattr(clip_images, "read_clip", counting)
        made = at_once(
            2,
            lambda _: soft_labels.compute_soft_labels(
                manifest, teacher, chunk_px=4, store=Store([tmp_path / "store"])
            ),
        )
        assert made[0] == made[1]
        assert sorted(decoded) == [clip.id for clip in manifest.clips]
        assert len(list(list_entries(tmp_path / "store", "soft_labels"))) == 6

    @pytest.mark.parametrize("batch_pairs", [1, 2, 64])
    def test_flow_s_batches_over_the_ends_of_clips_keep_nobody_waiting(
        self, tmp_path, quick, monkeypatch, batch_pairs
    ):
        """Each of two runs would wait for clips whose last pairs lie in the other's unfilled batch."""
        estimated = []

        class Slow(Constant):
            def estimate(self, target, neighbour):
                time.sleep(0.005 * len(target))
                estimated.append(len(target))
                return super().estimate(target, neighbour)

        use(monkeypatch, Slow(4.0))
        manifest, how = made_up(tmp_path / "data", 7), options(masks=[], batch_pairs=batch_pairs)
        one, other = at_once(
            2, lambda _: compute_flow(manifest, pairs_of, options=how, store=Store([tmp_path / "store"]))
        )
        assert one == other
        assert sum(estimated) == sum(len(pairs_of(clip)) for clip in manifest.clips)
        assert {path.name for path in list_entries(tmp_path / "store", "flow")} == set(one.values())
        assert not files_below(tmp_path / "store/leases")

    def test_a_run_holds_the_clips_of_the_batches_underway_and_no_more(self, tmp_path, held, monkeypatch):
        most = []

        class Watching(Constant):
            def estimate(self, target, neighbour):
                most.append(len(held))
                return super().estimate(target, neighbour)

        use(monkeypatch, Watching(4.0))
        manifest, how = made_up(tmp_path / "data", 12), options(masks=[], batch_pairs=3)
        compute_flow(manifest, pairs_of, options=how, store=Store([tmp_path / "store"]))
        assert len(most) == 12
        assert max(most) <= 2 + Writers.AHEAD + 2, (
            "read ahead, at the estimator, waiting, being written, begun"
        )

    def test_a_clipped_flow_of_another_run_is_refused_where_it_is_an_error(
        self, tmp_path, held, quick, monkeypatch
    ):
        use(monkeypatch, Constant(4 * 600.0))
        manifest, store = made_up(tmp_path / "data", 1), Store([tmp_path / "store"])
        key = compute_flow(manifest, pairs_of, options=options(on_overflow="clip"), store=store)["000"]
        made = store.get("flow", key).path
        made.rename(tmp_path / "made")
        Leases(tmp_path / "store").take("flow", key)
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(compute_flow, manifest, pairs_of, options=options(), store=store)
            time.sleep(0.1)
            (tmp_path / "made").rename(made)
            Leases(tmp_path / "store").release("flow", key)
            with pytest.raises(ValueError, match="holds 72 values clipped"):
                waiting.result(60)


@dataclass
class Runs:
    """Processes that pack the frames of one manifest into one root."""

    folder: Path
    manifest: Manifest

    def start(self, stdin: int = subprocess.DEVNULL, together: int = 1) -> subprocess.Popen:
        """A process; it makes nothing before `together` of them have begun a clip."""
        write_manifest(self.manifest, self.folder / "manifest.json")
        script = TESTS / "helpers" / "share_frames.py"
        words = [sys.executable, script, self.folder / "manifest.json", self.root, self.log, str(together)]
        pipes = {"stdin": stdin, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        return subprocess.Popen(words, text=True, **pipes)

    @property
    def root(self) -> Path:
        return self.folder / "store"

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def decoded(self) -> Counter[str]:
        """Clip -> how often its decoding was begun."""
        return Counter(clip for clip, _ in self.logged())

    def logged(self) -> list[tuple[str, str]]:
        """Clip and process of every decoding that was begun."""
        lines = self.log.read_text(encoding="utf-8").splitlines() if self.log.exists() else []
        return [tuple(line.split()) for line in lines]

    def check_whole(self) -> None:
        keys = {frames_key(clip, 16) for clip in self.manifest.clips}
        assert {path.name for path in list_entries(self.root, "frames")} == keys
        assert not [fault for path in list_entries(self.root, "frames") for fault in verify_entry(path)]
        assert not list(self.root.rglob("*.tmp"))
        signed = [path for path in files_below(self.root / "leases") if path.stat().st_size]
        assert not signed, "one that is empty, as its maker was killed right then, is nobody's in seconds"


def test_two_runs_split_the_clips_and_both_have_them_all(tmp_path):
    runs = Runs(tmp_path, made_up(tmp_path / "data", 16))
    both = [runs.start(stdin=subprocess.PIPE, together=2) for _ in range(2)]
    assert [run.stdout.readline() for run in both] == ["ready\n"] * 2
    for run in both:
        run.stdin.write("\n")
        run.stdin.flush()
    ended = [run.communicate(timeout=300)[0].split() for run in both]
    assert ended == [sorted(frames_key(clip, 16) for clip in runs.manifest.clips)] * 2
    assert runs.decoded() == Counter(clip.id for clip in runs.manifest.clips)
    assert {process for _, process in runs.logged()} == {str(run.pid) for run in both}
    runs.check_whole()


@pytest.mark.parametrize(
    ("processes", "clips", "clips_per_kill"),
    [(3, 12, 6), pytest.param(8, 200, 5, marks=pytest.mark.slow)],
)
def test_runs_that_are_killed_at_random_and_restarted_make_it_all(tmp_path, processes, clips, clips_per_kill):
    runs, chance = Runs(tmp_path, made_up(tmp_path / "data", clips)), random.Random(0)
    running = [runs.start() for _ in range(processes)]
    kills, last = 0, 0
    while alive := [place for place, run in enumerate(running) if run.poll() is None]:
        time.sleep(chance.uniform(0, 0.05))
        if (begun := runs.decoded().total()) >= last + clips_per_kill:
            last, kills = begun, kills + 1
            place = chance.choice(alive)
            running[place].send_signal(signal.SIGKILL)
            running[place].communicate()
            running[place] = runs.start()
    assert [run.returncode for run in running] == [0] * processes
    for run in running:
        run.communicate()
    made = pack_frames(runs.manifest, chunk_px=16, store=Store([runs.root]))
    assert len(made) == clips
    runs.check_whole()
    counts = runs.decoded()
    mean, most = counts.total() / clips, max(counts.values())
    print(f"{kills} kills; a clip was decoded {mean:.2f} times in the mean, {most} times at most")
    assert kills >= clips / clips_per_kill / 2
    assert counts.total() <= clips + kills * THREADS, "more than what the killed ones had in hand"
    assert most <= 6
