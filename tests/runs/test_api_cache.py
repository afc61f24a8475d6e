"""`weclick.open_cache` gives what the store's own readers give, and no damaged byte."""

import shutil

import numpy as np
import pytest
import torch

import weclick
from helpers.cam_entries import DOG, NAMES, SIZE, SWAN, cell, clip_of, manifest_of, write_cams, write_chain
from helpers.instance_run import write_boxes
from weclick.common.errors import MissingFileError
from weclick.manifest.read import read_clip
from weclick.proxy_labels.cams import read_maps
from weclick.proxy_labels.proxy_labels import read_proxy_labels, write_class_maps
from weclick.runs.api.entries import NoSuchFrameError
from weclick.store import (
    SOFT_LABEL_CODECS,
    DamagedEntryError,
    EntryMissingError,
    Store,
    entry_key,
    write_index,
)
from weclick.store.flow_entries import grid_flow
from weclick.store.instance_entries import FrameInstances, InstanceEntry

CLIP = clip_of(3)


@pytest.fixture
def store(tmp_path):
    return Store([tmp_path / "store"])


@pytest.fixture
def cache(store):
    store.local.path.mkdir()
    return weclick.open_cache(store.local.path)


def write_labels(store, kind, positions):
    """Class maps of some frames of CLIP."""
    labels = [(t, np.full(SIZE, t, np.uint8)) for t in positions]
    inputs = {"format": 1, "frames": [frame.digest for frame in CLIP.frames], "of": kind, "at": positions}
    with store.create(kind, inputs) as entry:
        write_class_maps(entry, manifest_of(CLIP), CLIP, labels, source="cams", chunk_px=16)
    return entry_key(kind, inputs)


def test_frames_and_flow_of_a_run_are_the_stages_own(street, tmp_path):
    index = {kind: tmp_path / f"{kind}.json" for kind in ("frames", "flow")}
    for kind, keys in (("frames", street.frames), ("flow", street.flow)):
        write_index(index[kind], kind, keys)
    cache = weclick.open_cache([street.store.local.path])
    clips = cache.clips(index["frames"])
    assert (clips.kind, set(clips)) == ("frames", {clip.id for clip in street.train.clips})
    for clip in street.train.clips:
        frames = clips[clip.id]
        assert frames.names == tuple(frame.name for frame in clip.frames)
        assert frames.digests == tuple(frame.digest for frame in clip.frames)
        assert frames.size == clip.size
        for t, image in enumerate(read_clip(street.train, clip)):
            np.testing.assert_array_equal(frames[t], image)
            np.testing.assert_array_equal(frames[frames.names[t]], image)
        np.testing.assert_array_equal(frames[1:3], [frames[1], frames[2]])
        np.testing.assert_array_equal(frames[-1], [*frames][3])
        flow, stored = cache.clips(index["flow"])[clip.id], street.store.get("flow", street.flow[clip.id])
        assert (flow.image_size, flow.stride_px) == (clip.size, stored.attributes["stride_px"])
        for i, (target, neighbour) in enumerate(flow.pairs):
            expected, valid = grid_flow(stored, i)
            np.testing.assert_array_equal(flow.between(target, neighbour), expected)
            np.testing.assert_array_equal(flow.valid(target, neighbour), valid)
    assert cache.keys("frames") == tuple(sorted(street.frames.values()))


@pytest.mark.parametrize("codec", ["root6", "top4", "float16"])
def test_soft_labels_are_decoded(store, cache, codec):
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(6), (2, 4, 5)).transpose(0, 3, 1, 2)
    stored = [SOFT_LABEL_CODECS[codec].encode(each) for each in probabilities]
    inputs = {"format": 2, "codec": codec}
    with store.create("soft_labels", inputs) as entry:
        array = entry.create_array(
            "probabilities",
            shape=(2, *stored[0].shape),
            chunks=(1, *stored[0].shape),
            dtype=stored[0].dtype,
            axes="TCHW",
        )
        for t, each in enumerate(stored):
            array[t] = each
        told = {"frames": ["a", "b"], "stride_px": 4, "codec": codec, "teacher_sha256": "0" * 64}
        entry.attributes.update(told | {"classes": list("uvwxyz"), "axes": "TCHW"})
    labels = cache.entry("soft_labels", entry_key("soft_labels", inputs))
    assert (labels.classes, labels.stride_px, labels.names) == (tuple("uvwxyz"), 4, ("a", "b"))
    for t, name in enumerate("ab"):
        expected = SOFT_LABEL_CODECS[codec].decode(torch.from_numpy(stored[t]), 6).numpy()
        np.testing.assert_array_equal(labels[name], expected)
        assert labels[t].dtype == np.float32
        np.testing.assert_allclose(labels[t].sum(0), 1, atol=1e-5)
        if codec != "top4":
            assert np.abs(labels[t] - probabilities[t]).max() < 0.03


def test_maps_flow_labels_and_instances_are_those_of_their_readers(store, cache):
    maps = {k: [cell(t, 2 * k) * (t + 1) for t in range(3)] for k in (DOG, SWAN)}
    key = write_cams(store, CLIP, maps)
    shown, stored = cache.entry("cams", key), store.get("cams", key)
    assert (shown.class_ids, shown.classes, shown.image_size) == ((DOG, SWAN), NAMES, SIZE)
    for t in range(3):
        np.testing.assert_array_equal(shown[t], read_maps(stored, t)[0])
        np.testing.assert_array_equal(shown.scores(t), stored.array("scores")[t])
    flow = cache.entry("flow", write_chain(store, CLIP, step=(-1, 0.5), both=True))
    assert flow.between("00001", "00000")[:, 3, 4].tolist() == [-1, 0.5]
    assert flow.between("00000", "00001")[:, 3, 4].tolist() == [1, -0.5]
    assert flow.valid("00000", "00001").all()
    for kind in ("proxy_labels", "confident_labels"):
        labels = cache.entry(kind, write_labels(store, kind, [0, 2]))
        assert (labels.kind, labels.names, labels.classes) == (kind, ("00000", "00002"), NAMES)
        entry = store.get(kind, labels.key)
        for at, (t, expected) in enumerate(read_proxy_labels(entry, CLIP)):
            np.testing.assert_array_equal(labels[at], expected)
            assert labels[CLIP.frames[t].name][0, 0] == t
    assert list(cache.entry("proxy_labels", write_labels(store, "proxy_labels", []))) == []
    box = np.zeros((1, *SIZE), bool)
    box[:, 4:9, 5:20] = True
    none = FrameInstances(box[:0], np.zeros(0, np.int64), np.zeros(0, np.float32))
    one = FrameInstances(box, np.array([SWAN]), np.array([0.75], np.float32))
    key = write_boxes(store, CLIP, [none, one, none], names=NAMES)
    instances, reader = cache.entry("instances", key), InstanceEntry(store.get("instances", key), SIZE)
    assert (instances.size, instances.classes) == (SIZE, NAMES)
    for t, frame in enumerate(CLIP.frames):
        for part, expected in zip(instances[t], reader.of(frame.digest), strict=True):
            np.testing.assert_array_equal(part, expected)
    np.testing.assert_array_equal(instances["00001"].masks, box)


def test_the_index_of_another_need_is_read(store, cache, tmp_path):
    chain, stack = write_chain(store, CLIP), write_chain(store, CLIP, both=True)
    write_index(tmp_path / "0.json", "flow", {"park": {"chain": chain, "stack": stack}})
    assert len(cache.clips(tmp_path)) == 0, "no window"
    assert cache.clips(tmp_path, need="stack")["park"].key == stack
    with pytest.raises(KeyError, match="lake"):
        cache.clips(tmp_path, need="chain")["lake"]


def test_what_is_not_there_is_told(store, cache, tmp_path):
    flow = cache.entry("flow", write_chain(store, CLIP))
    maps = cache.entry("cams", write_cams(store, CLIP, {DOG: [cell(0, 0)] * 3}))
    with pytest.raises(
        NoSuchFrameError, match=r"has no flow from '00000' to '00009'; it has 2 pairs \(00001"
    ):
        flow.between("00000", "00009")
    for wrong in (3, -4, "lake", None):
        with pytest.raises(NoSuchFrameError, match=rf"has no frame {wrong!r}; it has 3 frames \(00000"):
            maps[wrong]
    with pytest.raises(EntryMissingError, match="the store has no frames entry 000000000000"):
        cache.entry("frames", "0" * 64)
    for kind in ("models", "frame"):
        with pytest.raises(weclick.InputError, match=f"no arrays in entries of the kind '{kind}', expected"):
            cache.entry(kind, "0" * 64)
    with pytest.raises(weclick.InputError, match="is no key of a frames entry"):
        cache.entry("frames", "../../etc")
    with pytest.raises(MissingFileError, match=r"nowhere: there is no such folder; give roots"):
        weclick.open_cache([tmp_path / "nowhere", tmp_path])
    with pytest.raises(weclick.InputError, match=r"cache\.roots is empty"):
        weclick.open_cache([])
    with pytest.raises(MissingFileError, match=r"holds no index"):
        cache.clips(tmp_path)
    with pytest.raises(MissingFileError, match=r"the frames, flow, soft_labels, \.\.\. stage makes it"):
        cache.clips(tmp_path / "frame.json")
    for kind in ("flow", "frames"):
        write_index(tmp_path / f"{kind}.json", kind, {})
    with pytest.raises(weclick.InputError, match="the indexes are of the kinds flow, frames; give"):
        cache.clips(tmp_path)
    (tmp_path / "a.json").write_text('{"kind": "flow", "entries": 3}')
    with pytest.raises(weclick.InputError, match=r"a\.json: is no index of flow entries"):
        cache.clips(tmp_path / "a.json")


def entry_of(street, tmp_path, kind, keys):
    """A copy of one entry of the street's store, and what shows it."""
    key = next(iter(keys.values()))
    source = street.store.get(kind, key).path
    folder = tmp_path / source.relative_to(street.store.local.path)
    shutil.copytree(source, folder)
    return folder, weclick.open_cache(tmp_path), key


def test_a_damaged_byte_is_no_frame(street, tmp_path):
    folder, cache, key = entry_of(street, tmp_path, "frames", street.frames)
    frames = cache.entry("frames", key)
    whole = frames[1]
    chunk = folder / "rgb/c/1/0/0/0"
    data = bytearray(chunk.read_bytes())
    data[len(data) // 2] ^= 1
    chunk.write_bytes(data)
    with pytest.raises(DamagedEntryError, match=r"rgb/c/1/0/0/0 is not what was committed"):
        frames[1]
    assert frames[0].shape == whole.shape, "the others are whole"


def test_a_changed_description_is_no_entry(street, tmp_path):
    folder, cache, key = entry_of(street, tmp_path, "flow", street.flow)
    text = (folder / "entry.json").read_text(encoding="utf-8")
    (folder / "entry.json").write_text(text.replace('"stride_px": 4', '"stride_px": 2'), encoding="utf-8")
    with pytest.raises(DamagedEntryError, match=r"entry\.json is not what was committed"):
        cache.entry("flow", key)


def test_nothing_is_written(street, tmp_path):
    _, cache, key = entry_of(street, tmp_path, "frames", street.frames)
    before = sorted(path for path in tmp_path.rglob("*"))
    array = cache.entry("frames", key)[0]
    array[:] = 0
    assert cache.entry("frames", key)[0].any(), "an array is one's own copy"
    assert sorted(path for path in tmp_path.rglob("*")) == before
    with pytest.raises(TypeError, match="does not support item assignment"):
        cache.entry("frames", key)[0] = array
