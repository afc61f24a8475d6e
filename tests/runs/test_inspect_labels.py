"""`weclick inspect` of proxy labels, confident labels and instances: alone, and over their frames."""

import numpy as np
import pytest
from PIL import Image

from helpers.instance_run import boxes, write_boxes, write_confident_labels
from helpers.proxy_run import copied, make_proxy_run
from helpers.report_run import SIZE, H, Run, W, make_manifest
from weclick.common.errors import InputError
from weclick.evaluate.instances.drawing import COLORS
from weclick.manifest import Manifest, write_manifest
from weclick.manifest.read import read_clip
from weclick.runs.inspect.instances import GROUND, instance_pictures
from weclick.runs.inspect.labels import label_pictures
from weclick.runs.inspect.show import show
from weclick.runs.layout import Layout
from weclick.runs.report.pictures import WIDTH_PX, fit, hatched
from weclick.store import DamagedEntryError, Entry, Store


@pytest.fixture
def clips(tmp_path) -> tuple[Manifest, Store]:
    """Three frames of one clip, with a manifest beside them."""
    manifest = make_manifest(tmp_path, "train")
    write_manifest(manifest, tmp_path / "manifest.json")
    return manifest, Store([tmp_path / "store"])


@pytest.fixture
def labels(clips) -> Entry:
    """Half road, a quarter car, a quarter unlabelled."""
    manifest, store = clips
    (clip,) = manifest.clips
    return store.get("confident_labels", write_confident_labels(store, manifest, clip))


@pytest.fixture
def found(clips) -> Entry:
    """Nothing, a car, and two cars beside each other."""
    manifest, store = clips
    (clip,) = manifest.clips
    one, two = boxes((8, 24, 4, 20, 1, 0.83)), boxes((8, 24, 0, 20, 1, 0.5), (8, 24, 30, 50, 1, 0.9))
    return store.get("instances", write_boxes(store, clip, [boxes(), one, two]))


def test_labels_lie_over_their_frames_and_shares_are_told(clips, labels, tmp_path):
    manifest, _ = clips
    pictures = label_pictures(labels, [tmp_path / "manifest.json"], 2)
    assert [title for title, _ in pictures] == [
        f"{name}: road 50 %, car 25 %, unlabelled 25 %" for name in ("00000", "00002")
    ]
    ids = np.full(SIZE, 255, np.uint8)
    ids[:, : W // 2], ids[:, W // 2 : 3 * W // 4] = 0, 1
    frames = [*read_clip(manifest, manifest.clips[0])]
    for (_, drawn), image in zip(pictures, (frames[0], frames[2]), strict=True):
        np.testing.assert_array_equal(drawn, hatched(image, ids, manifest.classes.palette))


def test_instances_lie_over_their_frames_or_on_a_plain_ground(clips, found, tmp_path):
    over = instance_pictures(found, [tmp_path / "manifest.json"], 12)
    alone = instance_pictures(found, [], 12)
    titles = ["00000: 0 instances", "00001: 1 instance", "00002: 2 instances"]
    assert [title for title, _ in over] == [title for title, _ in alone] == titles
    assert (alone[0][1] == GROUND).all()
    frame = next(read_clip(clips[0], clips[0].clips[0]))
    np.testing.assert_array_equal(over[0][1], fit(frame))
    scale = WIDTH_PX / W
    left, right = (alone[2][1][int(22 * scale), int(x * scale)].astype(int) for x in (10, 40))
    for seen, color in ((left, COLORS[1]), (right, COLORS[0])):  # the surer one has the first colour
        np.testing.assert_allclose(seen, 0.55 * GROUND + 0.45 * color, atol=1)


def test_frames_of_another_split_are_told(clips, labels, found, tmp_path):
    write_manifest(make_manifest(tmp_path, "val"), tmp_path / "val.json")
    for pictures, entry in ((label_pictures, labels), (instance_pictures, found)):
        with pytest.raises(InputError, match="its 3 frames are those of no clip of split 'val'"):
            pictures(entry, [tmp_path / "val.json"], 12)


@pytest.mark.parametrize("with_frames", [True, False])
def test_entries_become_a_file(labels, found, clips, tmp_path, with_frames):
    manifests = [tmp_path / "manifest.json"] if with_frames else []
    for entry in (labels, found):
        show(entry.path, tmp_path / "drawn.png", manifests=manifests, store=clips[1])
        with Image.open(tmp_path / "drawn.png") as drawn:
            assert min(drawn.size) > 100
        (tmp_path / "drawn.png").unlink()


def test_a_damaged_entry_is_told(found, tmp_path):
    path = found.path / "instances.jsonl"
    path.chmod(0o644)
    path.write_bytes(path.read_bytes().replace(b'"classes":[1]', b'"classes":[9]'))
    with pytest.raises(DamagedEntryError, match=r"line 2 of instances\.jsonl"):
        instance_pictures(found, [], 12)


@pytest.fixture(scope="module")
def proxied(tmp_path_factory) -> Run:
    """Not to be changed."""
    return make_proxy_run(tmp_path_factory.mktemp("proxied"))


def test_an_index_of_proxy_labels_is_drawn_over_frames(proxied, tmp_path):
    layout = Layout(copied(proxied, tmp_path).folder)
    (index,) = layout.shards("proxy_labels", "train", 1)
    for manifests in ([], layout.shards("manifest", "train", 1)):
        show(index, tmp_path / "drawn.png", manifests=manifests, store=proxied.store)
        with Image.open(tmp_path / "drawn.png") as drawn:
            assert drawn.width > drawn.height * W / H / 2
