"""A disk that answers with errors now and then: nothing is moved, deleted or called damaged for that."""

import errno
import json
import os
import subprocess
import sys
import time

import pytest

from helpers.cache_entries import MODEL_ATTRIBUTES, files_of, write_flow_entry
from helpers.failing_disk import failing, failing_disk
from weclick.common.errors import UnreadableError
from weclick.manifest import write_manifest
from weclick.store import LocalRoot, Store, entry_key, verify_entry, write_index

ENTRIES = 20
DAY_S = 86400


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return failing_disk(tmp_path_factory.mktemp("library"))


@pytest.fixture
def root(tmp_path):
    """A root with flows, all of which a network was trained from; everything was last used long ago."""
    root = tmp_path / "mine"
    flows = [write_flow_entry(root, {"n": n}, n) for n in range(ENTRIES)]
    inputs = {"role": "teacher", "flow": {str(n): key for n, key in enumerate(flows)}, "frames": {}}
    with Store([root]).create("models", inputs) as entry:
        entry.write_file("model.safetensors", b"weights")
        entry.attributes.update(MODEL_ATTRIBUTES)
    card = {"kind": "models", "key": entry_key("models", inputs)}
    (tmp_path / "results/teacher").mkdir(parents=True)
    (tmp_path / "results/teacher/model.json").write_text(json.dumps(card), encoding="utf-8")
    for meta in root.rglob("entry.json"):
        os.utime(meta, (time.time() - 30 * DAY_S,) * 2)
    return root


def run(library, root, *words, share=0.01, error=errno.EIO, seed=0, below=None):
    """`weclick cache` with a disk that fails. Returns its exit status and what it says."""
    environment = failing(library, below or root, share, error, seed) | {"WECLICK_CACHE": str(root)}
    command = [sys.executable, "-c", "from weclick.cli import main; main()", "cache", *map(str, words)]
    ended = subprocess.run(
        [*command, "--config", "{}"], env=environment, cwd=root.parent, capture_output=True, text=True
    )
    assert "Traceback" not in ended.stderr, ended.stderr
    return ended.returncode, ended.stdout + ended.stderr


@pytest.mark.parametrize("error", [errno.EIO, errno.EMFILE, errno.ESTALE, errno.EACCES])
def test_verify_moves_nothing_at_one_failure_in_a_hundred(library, root, error):
    before = files_of(root)
    status, told = run(library, root, "verify", "--quarantine", error=error)
    assert (status, files_of(root)) == (0, before)
    assert f"{ENTRIES + 1} entries, 0 damaged" in told


@pytest.mark.parametrize("share", [pytest.param(0.7, marks=pytest.mark.slow), 1])
def test_what_cannot_be_checked_has_an_exit_status_of_its_own(library, root, share):
    before = files_of(root)
    status, told = run(library, root, "verify", "--quarantine", share=share, below=root / "flow")
    assert (status, files_of(root)) == (3, before)
    assert "could not be checked: the system does not let it be read ([Errno 5]" in told
    assert "fault:" not in told


def test_true_damage_is_still_found_and_moved_beside_hiccups(library, root):
    keys = list(LocalRoot(root).keys("flow"))[:3]
    for key in keys:
        chunk = LocalRoot(root).folder("flow", key) / "flow/c/1/0/0/0"
        chunk.write_bytes(chunk.read_bytes()[::-1])
    status, told = run(library, root, "verify", "--quarantine")
    assert status == 1
    assert "3 damaged" in told
    assert sorted(path.name[:64] for path in (root / "quarantine/flow").iterdir()) == keys


@pytest.mark.parametrize("share", [0.01, pytest.param(0.5, marks=pytest.mark.slow)])
def test_gc_deletes_nothing_that_is_needed(library, root, share):
    before = files_of(root)
    for seed in range(1 if share < 0.1 else 3):
        run(library, root, "gc", "results", "--sweep", "--delete", share=share, seed=seed)
        assert files_of(root) == before
    status, told = run(library, root, "gc", "results", "--delete", share=1, below=root / "models")
    assert (status, files_of(root)) in [(1, before), (3, before)]
    assert "could not be checked" in told


DELETION = """
import os, sys
from pathlib import Path
from weclick.store import LocalRoot, delete, read_ledger
root = LocalRoot(Path(sys.argv[1]))
entries = read_ledger([root]).entries
os.environ["FAIL_SHARE"] = "1"
delete(root, entries)
"""


def test_a_disk_that_fails_while_gc_deletes_is_told(library, root):
    before = files_of(root)
    environment = failing(library, root / "flow", 0, errno.EIO, 0)
    command = [sys.executable, "-c", DELETION, str(root)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert "UnreadableError" in ended.stderr
    assert "could not be deleted now ([Errno 5]" in ended.stderr
    assert files_of(root) == before


@pytest.mark.parametrize("share", [0.01, pytest.param(0.3, marks=pytest.mark.slow)])
def test_publish_copies_whole_entries_or_none(library, root, tmp_path, share):
    before, team = files_of(root), tmp_path / "team"
    status, told = run(library, root, "publish", team, share=share)
    assert status in (0, 3)
    assert files_of(root) == before
    copied = {name: data for name, data in files_of(team).items() if name.endswith("entry.json")}
    assert copied.items() <= before.items()
    for kind in ("flow", "models"):
        for key in LocalRoot(team).keys(kind):
            assert verify_entry(LocalRoot(team).folder(kind, key)) == []
    assert "fault:" not in told
    run(library, root, "publish", team, share=0)
    assert files_of(team) == before


STAGES = """
import sys
from pathlib import Path
from weclick.cli import main
main()
"""


@pytest.mark.parametrize(
    ("stage", "seeds"),
    [("frames", 1), *(pytest.param(stage, 5, marks=pytest.mark.slow) for stage in ("frames", "flow"))],
)
def test_a_stage_moves_and_deletes_nothing(library, street, tmp_path, stage, seeds):
    """It may end with an error. What is there stays, and the stage goes on from there."""
    root, config = tmp_path / "mine", {**street.config, "frames": {"chunk_px": 32}}
    old = write_flow_entry(root)
    write_manifest(street.train, manifest := tmp_path / "manifest.json")
    words = [stage, "--manifest", manifest, "--output", tmp_path / "0.json", "--config", json.dumps(config)]
    command, held = [sys.executable, "-c", STAGES, *map(str, words)], {}
    for seed in range(seeds):
        environment = failing(library, root, 0.01, errno.EIO, seed) | {"WECLICK_CACHE": str(root)}
        ended = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
        assert "Traceback" not in ended.stderr, ended.stderr
        now = {name: data for name, data in files_of(root).items() if not name.startswith("leases")}
        assert held.items() <= now.items()
        held = now
    environment = {**os.environ, "WECLICK_CACHE": str(root)}
    subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, check=True)
    made = json.loads((tmp_path / "0.json").read_text(encoding="utf-8"))["entries"]
    assert set(made.values()) == set((street.frames if stage == "frames" else street.flow).values())
    assert not (root / "quarantine").exists()
    for key in (*made.values(), old):
        kind = "flow" if key == old else stage
        assert verify_entry(LocalRoot(root).folder(kind, key)) == []


READS = """
import sys
from pathlib import Path
from weclick.common import disk
from weclick.common.errors import InputError, UnreadableError
from weclick.store import Store
from weclick.train.data.windows import WindowReader
told = set()
disk.PAUSES_S = (0, 0, 0)
for _ in range(20):
    store = Store([sys.argv[1]])
    for read in (
        lambda: [*store.get("flow", sys.argv[2]).array("flow")],
        lambda: WindowReader(store).read("flow", sys.argv[2], "flow", [0, 1], (slice(0, 2),) * 3).result(),
    ):
        try:
            read()
        except (InputError, UnreadableError) as error:
            told.add(type(error).__name__)
print(*sorted(told))
"""


@pytest.mark.parametrize("error", [errno.EIO, errno.EACCES])
def test_readers_never_call_it_damage(library, tmp_path, error):
    key = write_flow_entry(tmp_path / "mine")
    environment = failing(library, tmp_path / "mine/flow", 0.4, error)
    words = [sys.executable, "-c", READS, tmp_path / "mine", key]
    ended = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["UnreadableError"]


def test_an_index_that_cannot_be_read_is_not_called_broken(library, tmp_path):
    write_index(tmp_path / "0.json", "flow", {"a": "0" * 64})
    code = "import sys; from pathlib import Path; from weclick.store import read_index\n"
    code += "try: read_index([Path(sys.argv[1])], 'flow')\nexcept Exception as error: print(repr(error))"
    words = [sys.executable, "-c", code, tmp_path / "0.json"]
    environment = failing(library, tmp_path / "0.json", 1, errno.EIO)
    told = subprocess.run(words, env=environment, capture_output=True, text=True, check=True).stdout
    assert told.startswith(UnreadableError.__name__)
    assert "delete it" not in told
