import json
import os
import subprocess
import sys

import numpy as np
import pytest

from helpers.cache_entries import ATTRIBUTES
from weclick.store import (
    EntryMissingError,
    Store,
    canonical_json,
    decode_flow,
    encode_flow,
    entry_key,
    list_entries,
    read_index,
    verify_entry,
    write_index,
)

INPUTS = {"format": 1, "frames": ["a", "b"]}


def write_entry(store: Store, value: int = 7, inputs: dict = INPUTS) -> str:
    with store.create("flow", inputs) as entry:
        array = entry.create_array(
            "flow", shape=(2, 2, 5, 7), chunks=(1, 2, 4, 4), dtype="int16", axes="PCHW"
        )
        for i in range(2):
            array[i] = np.full((2, 5, 7), value + i, np.int16)
        entry.attributes.update(ATTRIBUTES)
    return entry_key("flow", inputs)


def test_an_entry_reads_back_what_was_written(tmp_path):
    store = Store([tmp_path])
    key = write_entry(store)
    entry = store.get("flow", key)
    assert entry.attributes["stride_px"] == 4
    np.testing.assert_array_equal(entry.array("flow")[1], np.full((2, 5, 7), 8))
    assert entry.meta["entry_bytes"] == sum(f["bytes"] for f in entry.meta["files"].values()) > 0
    assert [path.name for path in list_entries(tmp_path, "flow")] == [key]


def test_tensorstore_reads_what_zarr_wrote(tmp_path):
    from weclick.train.data.windows import WindowReader

    store = Store([tmp_path])
    reader = WindowReader(store, max_open=1)
    keys = [write_entry(store, value, {"n": value}) for value in (1, 50)]
    for value, key in zip((1, 50), keys, strict=True):
        window = reader.read("flow", key, "flow", [1, 0], (slice(None), slice(2, 5), slice(3, 7))).result()
        assert window.shape == (2, 2, 3, 4)
        assert window.unique(dim=-1).flatten(1)[:, 0].tolist() == [value + 1, value]


def test_keys_depend_on_content_not_on_order_of_writing():
    assert canonical_json({"b": 1, "a": [1.5, None]}) == '{"a":[1.5,null],"b":1}'
    assert entry_key("flow", {"a": 1, "b": 2}) == entry_key("flow", {"b": 2, "a": 1})
    assert len({entry_key("flow", {"a": 1}), entry_key("flow", {"a": 2}), entry_key("frames", {"a": 1})}) == 3
    with pytest.raises(ValueError, match="JSON"):
        canonical_json({"a": float("nan")})


def test_a_failing_writer_leaves_nothing(tmp_path):
    store = Store([tmp_path])

    def fail():
        with store.create("flow", INPUTS) as entry:
            entry.write_file("part", b"half")
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        fail()
    assert store.find("flow", entry_key("flow", INPUTS)) is None
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_of_two_writers_the_first_commit_stays(tmp_path):
    store = Store([tmp_path])
    with store.create("flow", INPUTS) as slow:
        slow.write_file("who", b"slow")
        with store.create("flow", INPUTS) as fast:
            fast.write_file("who", b"fast")
    entry = store.get("flow", entry_key("flow", INPUTS))
    assert (entry.path / "who").read_bytes() == b"fast"
    assert [path.name for path in entry.path.parent.iterdir()] == [entry.key]


def test_leftovers_of_a_killed_writer_are_swept(tmp_path):
    script = (
        "import os, signal, sys; from weclick.store import Store\n"
        "with Store([sys.argv[1]]).create('flow', {'format': 1, 'frames': ['a', 'b']}) as entry:\n"
        "    entry.write_file('part', b'half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    assert [path.name for path in tmp_path.rglob("part")] == ["part"]
    write_entry(Store([tmp_path]))
    assert not list(tmp_path.rglob("part"))


def test_roots_are_searched_in_order_and_only_the_last_is_written(tmp_path):
    team, mine = tmp_path / "team", tmp_path / "mine"
    key = write_entry(Store([team]))
    both = Store([team, mine])
    assert both.get("flow", key).path.is_relative_to(team)
    other = write_entry(both, inputs={"other": 1})
    assert both.get("flow", other).path.is_relative_to(mine)
    assert Store([mine]).find("flow", key) is None


def test_the_environment_names_the_roots(tmp_path, monkeypatch):
    monkeypatch.setenv("WECLICK_CACHE", f"{tmp_path}/a{os.pathsep}{tmp_path}/b")
    assert [root.name for root in Store.from_config(["ignored"]).roots] == ["a", "b"]
    monkeypatch.delenv("WECLICK_CACHE")
    assert [root.name for root in Store.from_config(["used"]).roots] == ["used"]
    with pytest.raises(ValueError, match=r"cache\.roots is empty"):
        Store([])


def test_a_missing_entry_says_where_it_was_looked_for(tmp_path):
    with pytest.raises(EntryMissingError, match=r"has no frames entry 0000.*run the stage again"):
        Store([tmp_path]).get("frames", "0" * 64)
    for kind, rule in (("soft_labels", "soft_labels_shard"), ("models", "teacher student")):
        with pytest.raises(EntryMissingError, match=rf"`weclick run CONFIG --forcerun {rule}`"):
            Store([tmp_path]).get(kind, "0" * 64)
    with pytest.raises(ValueError, match="unknown kind"):
        Store([tmp_path]).find("flows", "0" * 64)


@pytest.mark.parametrize("damage", ["flip", "truncate", "delete", "add", "inputs"])
def test_verify_finds_damage(tmp_path, damage):
    store = Store([tmp_path])
    path = store.get("flow", write_entry(store)).path
    assert verify_entry(path) == []
    chunk = max(
        (p for p in path.rglob("*") if p.is_file() and p.name != "entry.json"), key=lambda p: p.stat().st_size
    )
    if damage == "flip":
        data = bytearray(chunk.read_bytes())
        data[len(data) // 2] ^= 1
        chunk.write_bytes(data)
    elif damage == "truncate":
        chunk.write_bytes(chunk.read_bytes()[:-1])
    elif damage == "delete":
        chunk.unlink()
    elif damage == "add":
        (path / "more").write_text("x")
    else:
        meta = json.loads((path / "entry.json").read_text(encoding="utf-8"))
        meta["inputs"]["frames"] = ["a", "c"]
        (path / "entry.json").write_text(json.dumps(meta))
    (fault,) = verify_entry(path)
    assert str(path) in fault


def test_verify_names_an_unreadable_entry(tmp_path):
    (tmp_path / "entry.json").write_text("{")
    (fault,) = verify_entry(tmp_path)
    assert "not a committed entry" in fault


def test_index_round_trip(tmp_path):
    write_index(tmp_path / "0.json", "flow", {"b": "2", "a": "1"})
    write_index(tmp_path / "1.json", "flow", {"c": "3"})
    assert read_index([tmp_path / "0.json", tmp_path / "1.json"], "flow") == {"a": "1", "b": "2", "c": "3"}
    with pytest.raises(ValueError, match="no index of frames entries"):
        read_index([tmp_path / "0.json"], "frames")


def test_flow_is_kept_to_a_64th_of_a_pixel():
    flow = np.array([0.0, 1 / 64, -3.3, 511.98], np.float32)
    stored, clipped = encode_flow(flow)
    assert stored.dtype == np.int16
    assert clipped == 0
    np.testing.assert_allclose(decode_flow(stored), flow, atol=1 / 128)


def test_flow_that_does_not_fit_is_an_error_or_is_counted():
    flow = np.array([600.0, np.nan, -600.0, 1.0], np.float32)
    with pytest.raises(ValueError, match=r"3 flow values such as 600.0 px do not fit"):
        encode_flow(flow)
    stored, clipped = encode_flow(flow, on_overflow="clip")
    assert clipped == 3
    np.testing.assert_allclose(decode_flow(stored), [32767 / 64, 0, -512, 1])
