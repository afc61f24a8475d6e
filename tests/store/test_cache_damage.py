"""Damage and malice in entries: told, and never taken for data, for room or for code."""

import json
import os
import random
import re
import resource
import shutil
from pathlib import Path

import numpy as np
import pytest

from helpers.cache_entries import ATTRIBUTES, INPUTS, files_of, write_flow_entry
from helpers.damage import edit_zarr_json, forge, relist
from weclick.common.errors import InputError
from weclick.store import DamagedEntryError, LocalRoot, Store, copy_entries, verify_entry
from weclick.store.entries import COMPRESSORS, EntryWriter
from weclick.store.keys import entry_key
from weclick.train.data.windows import WindowReader

DAMAGES = 300
WINDOW = (slice(0, 2), slice(0, 5), slice(0, 7))


def flip(path: Path, rng: random.Random) -> None:
    data = bytearray(path.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def truncate(path: Path, rng: random.Random) -> None:
    path.write_bytes(path.read_bytes()[: rng.randrange(path.stat().st_size)])


def delete(path: Path, rng: random.Random) -> None:
    path.unlink()


def swap(path: Path, rng: random.Random) -> None:
    """With another file of this entry, or with the same file of another entry."""
    entry = next(folder for folder in path.parents if (folder / "entry.json").exists())
    others = [p for p in entry.rglob("*") if p.is_file()]
    others += [p / path.relative_to(entry) for p in entry.parent.parent.glob("*/*") if p != entry]
    other = rng.choice([p for p in others if p.read_bytes() != path.read_bytes()])
    mine, its = path.read_bytes(), other.read_bytes()
    path.write_bytes(its)
    other.write_bytes(mine)


def edit(path: Path, rng: random.Random) -> None:
    """A value of entry.json, as somebody would who thinks that he knows better."""
    entry = next(folder for folder in path.parents if (folder / "entry.json").exists())
    meta = json.loads((entry / "entry.json").read_text(encoding="utf-8"))
    part = rng.choice([meta, meta["inputs"], meta["attributes"], meta["producer"], *meta["files"].values()])
    name = rng.choice(sorted(part))
    if rng.random() < 0.5:
        del part[name]
    else:
        part[name] = rng.choice([None, 3, -1, "other", [0], {"x": 0}, 1e300, True])
    (entry / "entry.json").write_text(json.dumps(meta, indent=1))


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[Path, list[str], dict[str, np.ndarray]]:
    """A root with two entries: (folder, keys, key -> array)."""
    root = tmp_path_factory.mktemp("whole")
    keys = [write_flow_entry(root, {"n": n}, n) for n in range(2)]
    arrays = {key: np.stack([*Store([root]).get("flow", key).array("flow")]) for key in keys}
    return root, keys, arrays


def read_all(root: Path, keys: list[str]) -> dict[tuple[str, str], np.ndarray | None]:
    """(key, reader) -> the whole array, or None where it was refused by an error of ours."""
    found: dict[tuple[str, str], np.ndarray | None] = {}
    for key in keys:
        store = Store([root])

        def by_zarr(key: str = key, store: Store = store) -> np.ndarray:
            return np.stack([*store.get("flow", key).array("flow")])

        def by_tensorstore(key: str = key, store: Store = store) -> np.ndarray:
            reader = WindowReader(store)
            return np.asarray(reader.read("flow", key, "flow", [0, 1], WINDOW).result())

        for read in (by_zarr, by_tensorstore):
            try:
                found[key, read.__name__] = read()
            except InputError:
                found[key, read.__name__] = None
    return found


@pytest.mark.parametrize("harm", [flip, truncate, delete, swap, edit], ids=lambda harm: harm.__name__)
def test_damages_are_all_found_and_none_is_read_as_data(whole, tmp_path, harm):
    source, keys, arrays = whole
    for seed in range(DAMAGES // 5):
        rng = random.Random(f"{harm.__name__} {seed}")
        root = tmp_path / str(seed)
        shutil.copytree(source, root)
        folder = LocalRoot(root).folder("flow", keys[0])
        path = rng.choice(sorted(p for p in folder.rglob("*") if p.is_file()))
        before = files_of(root)
        harm(path, rng)
        assert files_of(root) != before
        assert LocalRoot(root).faults("flow", keys[0]), f"{harm.__name__} {seed}: {path} was not found"
        touched = keys if harm is swap else keys[:1]
        for (key, reader), array in read_all(root, touched).items():
            assert array is None or np.array_equal(array, arrays[key]), (
                f"{reader} read {harm.__name__} {seed}"
            )
            assert array is None or key != keys[0], f"{reader} read {harm.__name__} {seed}"
        shutil.rmtree(root)


@pytest.fixture
def entry(tmp_path) -> Path:
    """The folder of an entry in the team's root."""
    return LocalRoot(tmp_path / "team").folder("flow", write_flow_entry(tmp_path / "team"))


def refused(entry: Path, told: str, *, when_read: bool = True) -> None:
    """Verify tells it, no reader takes it, and neither publish nor fetch carries it on."""
    team, elsewhere = entry.parents[3], entry.parents[4] / "elsewhere"
    faults = verify_entry(entry)
    assert any(re.search(told, fault) for fault in faults), faults
    done = copy_entries([LocalRoot(team)], LocalRoot(elsewhere), [("flow", entry.name)])
    assert (done.copied, len(done.faults)) == (0, 1)
    assert files_of(elsewhere) == {}
    if when_read:
        with pytest.raises(InputError, match=told):
            np.stack([*Store([team]).get("flow", entry.name).array("flow")])


@pytest.mark.parametrize(
    "name",
    ["../../../../../stolen", "/etc/passwd", "flow/../../stolen", ".hidden", "a//b", "a\\b", "x" * 300, ""],
)
def test_names_cannot_leave_the_entry(entry, name):
    def add(meta: dict) -> None:
        meta["files"][name] = {"bytes": 0, "sha256": "0" * 64, "crc32c": 0}

    forge(entry, add)
    refused(entry, r"entry\.json names the file .*, which no entry may hold")


@pytest.mark.parametrize("key", ["../../../../secret", "/etc", "0" * 63, "0" * 63 + "G", "", "*" * 64])
def test_keys_cannot_leave_the_root(tmp_path, key):
    store = Store([tmp_path])
    for look in (store.find, LocalRoot(tmp_path).find_meta, LocalRoot(tmp_path).folder):
        with pytest.raises(InputError, match="is no key of a flow entry, expected 64 hex digits"):
            look("flow", key)
    with pytest.raises(InputError, match="unknown kind of entry"):
        store.find("../flow", "0" * 64)
    with pytest.raises(InputError, match="is no key"):
        copy_entries([LocalRoot(tmp_path)], LocalRoot(tmp_path / "b"), [("flow", key)])


@pytest.mark.parametrize("name", ["flow/c/0/0/0/0", "flow", "flow/zarr.json", "entry.json"])
def test_symbolic_links_are_refused(entry, tmp_path, name):
    (entry / name).rename(tmp_path / "outside")
    (entry / name).symlink_to(tmp_path / "outside")
    refused(entry, r"symbolic link|no readable entry\.json")


@pytest.mark.parametrize("name", ["flow/c/0/0/0/0", "flow/zarr.json", "zarr.json"])
def test_links_in_a_circle_are_damage(entry, name):
    (entry / name).unlink()
    (entry / name).symlink_to((entry / name).name)
    refused(entry, "symbolic link")
    assert any("symbolic links are refused" in fault for fault in verify_entry(entry))


def test_of_a_linked_entry_only_the_link_is_removed(entry, tmp_path):
    entry.rename(tmp_path / "elsewhere")
    entry.symlink_to(tmp_path / "elsewhere")
    LocalRoot(entry.parents[3]).remove("flow", entry.name)
    assert list(entry.parent.iterdir()) == []
    assert (tmp_path / "elsewhere/entry.json").is_file()


def test_a_link_beside_the_files_is_told_and_stays_behind(entry, tmp_path):
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/password").write_text("password")
    (entry / "more").symlink_to(tmp_path / "secret")
    (fault,) = verify_entry(entry)
    assert f"{entry}/more: is not listed" in fault
    copy_entries([LocalRoot(entry.parents[3])], LocalRoot(tmp_path / "mine"), [("flow", entry.name)])
    assert not list((tmp_path / "mine").rglob("more"))


ATTACKS = {
    "a codec that unpickles": lambda raw: raw["codecs"].append({"name": "numcodecs.pickle"}),
    "a codec in a shard": lambda raw: raw["codecs"][0]["configuration"]["codecs"].append({"name": "evil"}),
    "a codec in an index": lambda raw: raw["codecs"][0]["configuration"]["index_codecs"].append(
        {"name": "gzip"}
    ),
    "a codec that is no object": lambda raw: raw.update(codecs=["bytes"]),
    "no codecs": lambda raw: raw.update(codecs=[]),
    "objects": lambda raw: raw.update(data_type="object"),
    "texts": lambda raw: raw.update(data_type={"name": "fixed_length_utf32", "configuration": {}}),
    "a huge step": lambda raw: raw.update(shape=[2, 2, 2**24, 2**24], chunk_grid=regular(1, 2, 2**24, 2**24)),
    "a huge axis": lambda raw: raw.update(shape=[2**62, 2, 5, 7]),
    "a huge chunk": lambda raw: raw.update(chunk_grid=regular(1, 2, 2**23, 2**23)),
    "a huge inner chunk": lambda raw: raw["codecs"][0]["configuration"].update(chunk_shape=[1, 2, 2**30, 4]),
    "a negative shape": lambda raw: raw.update(shape=[2, 2, -5, 7]),
    "a shape of texts": lambda raw: raw.update(shape=["2", 2, 5, 7]),
    "no shape": lambda raw: raw.update(shape=[]),
    "many files a step": lambda raw: raw.update(chunk_grid=regular(1, 2, 4, 4)),
    "other names of chunks": lambda raw: raw.update(chunk_key_encoding={"name": "v2"}),
    "another value for missing steps": lambda raw: raw.update(fill_value=9),
    "a transformer": lambda raw: raw.update(storage_transformers=[{"name": "evil"}]),
    "an unknown key": lambda raw: raw.update(must_understand={"name": "evil"}),
    "another format": lambda raw: raw.update(zarr_format=2),
}


def regular(*shape: int) -> dict:
    return {"name": "regular", "configuration": {"chunk_shape": list(shape)}}


@pytest.mark.parametrize("codec", COMPRESSORS)
@pytest.mark.parametrize("dtype", ["uint8", "int16", "float16", "float32"])
def test_what_we_write_is_never_refused(tmp_path, codec, dtype):
    with Store([tmp_path]).create("flow", INPUTS) as writer:
        array = writer.create_array(
            "any", shape=(2, 70, 9), chunks=(1, 16, 16), dtype=dtype, axes="THW", codec=codec
        )
        array[1] = np.ones((70, 9), dtype)
        writer.attributes.update(ATTRIBUTES)
    read = Store([tmp_path]).get("flow", entry_key("flow", INPUTS)).array("any")
    assert (read[0].sum(), read[1].sum()) == (0, 630)
    assert LocalRoot(tmp_path).faults("flow", entry_key("flow", INPUTS)) == []


@pytest.mark.parametrize("attack", ATTACKS)
def test_arrays_that_we_do_not_write_are_refused_before_they_are_opened(entry, attack):
    edit_zarr_json(entry, ATTACKS[attack])
    refused(entry, r"flow/zarr\.json:? was refused: its .* expected")
    with pytest.raises(DamagedEntryError, match="was refused"):
        WindowReader(Store([entry.parents[3]])).read("flow", entry.name, "flow", [0], WINDOW)


def test_a_group_cannot_bring_other_descriptions(entry):
    flow = json.loads((entry / "flow/zarr.json").read_text(encoding="utf-8"))
    consolidated = {"kind": "inline", "must_understand": False, "metadata": {"flow": flow}}
    edit_zarr_json(entry, lambda raw: raw.update(consolidated_metadata=consolidated), "zarr.json")
    refused(entry, r"zarr\.json:? was refused: its keys")


def test_a_long_description_is_not_read(entry):
    (entry / "flow/zarr.json").write_bytes(b" " * 2**21 + (entry / "flow/zarr.json").read_bytes())
    forge(entry, lambda meta: relist(entry, meta))
    refused(entry, r"flow/zarr\.json:? has \d+ bytes, at most 1048576 are read")


def test_a_deep_description_is_refused(entry):
    (entry / "flow/zarr.json").write_text("[" * 100_000)
    forge(entry, lambda meta: relist(entry, meta))
    refused(entry, r"flow/zarr\.json:? was refused: it is nested deeper than 32 levels")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda meta: meta.update(entry_bytes=2**60), r"entry\.json promises 1152921504606846976 bytes"),
        (lambda meta: meta["files"]["zarr.json"].update(bytes=2**60), r"expected bytes and sha256"),
        (lambda meta: meta["files"]["zarr.json"].update(bytes=-1), r"expected bytes and sha256"),
        (lambda meta: meta["files"]["zarr.json"].update(bytes=1.5), r"expected bytes and sha256"),
        (lambda meta: meta["files"]["zarr.json"].update(sha256="../x"), r"expected bytes and sha256"),
        (lambda meta: meta["files"].update({"zarr.json": 3}), r"expected bytes and sha256"),
        (lambda meta: meta.update(files=[]), r"entry\.json is not what was committed"),
        (lambda meta: meta["inputs"].update(frames=["others"]), r"key does not follow from the inputs"),
        (lambda meta: meta.update(inputs={"n": 5}, key=entry_key("flow", {"n": 5})), r"it was moved"),
        (
            lambda meta: meta["attributes"].update(image_size=[-1, 2**40]),
            r"attributes are not those of a flow",
        ),
        (lambda meta: meta["attributes"].update(run="rm -r"), r"attributes are not those of a flow"),
    ],
)
def test_an_entry_that_lies_is_refused(entry, change, told):
    forge(entry, change)
    refused(entry, told, when_read="attributes" not in told)


def test_a_long_entry_json_is_not_read(entry):
    with (entry / "entry.json").open("ab") as file:
        file.truncate(2**30)  # sparse: it takes no room on the disk
    refused(entry, r"entry\.json is longer than 67108864 bytes")


def test_a_deep_entry_json_is_refused(entry):
    (entry / "entry.json").write_text("[" * 100_000)
    refused(entry, r"no readable entry\.json \(it is nested deeper")


def test_a_chunk_that_promises_two_gib_takes_no_memory(entry):
    chunk = entry / "flow/c/0/0/0/0"
    data = bytearray(chunk.read_bytes())
    data[4:8] = (2**31 - 16).to_bytes(
        4, "little"
    )  # what the header of a compressed chunk says of its content
    chunk.write_bytes(data)
    forge(entry, lambda meta: relist(entry, meta))
    store, before = Store([entry.parents[3]]), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DamagedEntryError, match="has a chunk that promises 2147483632 bytes, expected"):
        store.get("flow", entry.name).array("flow")[0]
    with pytest.raises(DamagedEntryError, match="has a chunk that promises 2147483632 bytes, expected"):
        WindowReader(store).read("flow", entry.name, "flow", [0], WINDOW).result()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 2**10  # KiB


def test_files_that_were_added_are_never_read(entry):
    (entry / "flow/c/0/0/0/0").rename(entry / "flow/c/0/0/0/0.old")
    forge(entry, lambda meta: relist(entry, meta))
    (entry / "flow/c/0/0/0/0.old").rename(entry / "flow/c/0/0/0/0")
    refused(entry, r"flow/c/0/0/0/0:? is not listed")


def test_weights_are_checked_before_they_are_loaded(tmp_path):
    with Store([tmp_path]).create("models", INPUTS) as writer:
        writer.write_file("model.safetensors", b"weights")
    key = entry_key("models", INPUTS)
    path = Store([tmp_path]).get("models", key).path
    assert (path / "model.safetensors").read_bytes() == b"weights"
    (path / "model.safetensors").write_bytes(b"Weights")
    with pytest.raises(DamagedEntryError, match=r"model\.safetensors is not what was committed"):
        Store([tmp_path]).get("models", key).path  # noqa: B018


def test_a_fifo_in_the_place_of_a_file_blocks_nobody(entry):
    (entry / "flow/c/0/0/0/0").unlink()
    os.mkfifo(entry / "flow/c/0/0/0/0")
    refused(entry, "no plain file")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda shard: shard.update(chunk_shape=[1, 1, 1, 1]), r"at most \d+ in a file"),
        (lambda shard: shard.update(codecs=[{"name": "bytes"}]), "its codecs is .'bytes'., expected those"),
        (
            lambda shard: shard["codecs"].append(shard["codecs"][-1]),
            "its codecs is .'bytes', 'blosc', 'blosc'",
        ),
        (lambda shard: shard.update(codecs=[{"name": "sharding_indexed"}]), "its codecs is"),
        (lambda shard: shard.update(index_codecs=shard["codecs"]), "expected those .* bytes, crc32c"),
        (lambda shard: shard.update(index_location="start"), "index_location is start, expected end"),
    ],
)
def test_shards_of_another_make_are_refused_before_a_reader_acts_on_them(entry, monkeypatch, change, told):
    monkeypatch.setattr("weclick.store.zarr_json.INNER_CHUNKS", 16)
    edit_zarr_json(entry, lambda raw: change(raw["codecs"][0]["configuration"]))
    refused(entry, rf"flow/zarr\.json:? was refused: .*{told}")


def test_an_array_that_no_reader_takes_is_not_written(tmp_path):
    with pytest.raises(InputError, match=r"of shape \(1, 2, 9000, 9000\) .* is not written.*chunk_px"):
        EntryWriter(tmp_path).create_array(
            "rgb", shape=(1, 2, 9000, 9000), chunks=(1, 2, 64, 64), dtype="int16", axes="TCHW"
        )


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda data: data.__setitem__(slice(8, 12), b"\xff\xff\xff\x7f"), "has a chunk that promises"),
        (lambda data: data.__setitem__(slice(12, 16), b"\xff\xff\xff\x7f"), "has a chunk that promises"),
        (
            lambda data: data.__setitem__(slice(-20, -12), b"\xff" * 7 + b"\x7f"),
            "beyond its",
        ),
        (lambda data: data.__delitem__(slice(8, None)), "8 bytes, too few for the index"),
    ],
)
def test_chunks_that_lie_about_their_size_are_refused(entry, change, told):
    chunk = entry / "flow/c/0/0/0/0"
    data = bytearray(chunk.read_bytes())
    change(data)
    chunk.write_bytes(data)
    forge(entry, lambda meta: relist(entry, meta))
    with pytest.raises(DamagedEntryError, match=rf"flow/c/0/0/0/0 has .*{told}|flow/c/0/0/0/0 {told}"):
        Store([entry.parents[3]]).get("flow", entry.name).array("flow")[0]
