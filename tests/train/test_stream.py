import dataclasses
import shutil
import time

import numpy as np
import pytest
import torch

from weclick.datasets.frames import pack_frames
from weclick.geometry import backward_warp, move_points
from weclick.manifest.read import read_clip
from weclick.manifest.window import Window
from weclick.models import normalize
from weclick.store import decode_flow
from weclick.train.data.ahead import AHEAD_STEPS
from weclick.train.data.assemble import Part, Read, assemble, jitter_colours
from weclick.train.data.image_files import FileReader
from weclick.train.data.sample import Jitter
from weclick.train.data.stream import Caches, Stream

CPU = torch.device("cpu")


def make_stream(street, window=None, **options):
    rank, world = options.pop("rank", 0), options.pop("world", 1)
    occlusion = options.pop("occlusion", "none")
    return Stream(
        street.train,
        street.clicks,
        options.pop("caches", Caches(street.store, street.frames, street.flow, {})),
        window=window or Window(**street.config["window"]),
        options={**street.config["student"], **options},
        stride_px=4,
        occlusion=occlusion,
        seed=5,
        rank=rank,
        world=world,
    )


def whole_frame(street):
    """A stream whose crop is the image itself, unscaled and unflipped."""
    return make_stream(street, crop=[64, 96], scale=[1.0, 1.0], flip=False)


def test_an_identity_crop_gives_back_what_is_stored(street):
    stream = whole_frame(street)
    (first, *_), batch = stream.plan(0), next(stream.batches(0, 1, CPU))
    image = list(read_clip(street.train, first.clip))[first.target]
    expected = normalize(torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float())
    torch.testing.assert_close(batch.images[:1], expected)
    assert batch.inside.all()
    clicks = street.clicks.of(first.clip.id, first.clip.frames[first.target].name)
    mine = batch.points[batch.points[:, 0] == 0]
    np.testing.assert_allclose(mine[:, 1:], np.stack([clicks["y"], clicks["x"]], 1), atol=1e-4)
    np.testing.assert_array_equal(batch.classes[: len(clicks)], clicks["class_id"])


def test_flow_of_an_identity_crop_is_the_cached_flow(street):
    stream = whole_frame(street)
    first, batch = stream.plan(0)[0], next(stream.batches(0, 1, CPU))
    entry = street.store.get("flow", street.flow[first.clip.id])
    digests = [first.clip.frames[i].digest for i in (first.target, first.neighbours[0])]
    stored = entry.array("flow")[entry.meta["inputs"]["pairs"].index(digests)]
    torch.testing.assert_close(batch.flow[0], torch.from_numpy(decode_flow(stored)))


def test_points_of_a_scribble_come_with_their_share(street):
    clip = street.train.clips[0]
    name = clip.id, clip.frames[clip.targets[0]].name
    numbers = np.zeros(len(street.clicks.of(*name)), np.int32)
    numbers[:3] = 1
    scribbled = dataclasses.replace(street.clicks, scribbles={name: numbers})
    stream, plain = make_stream(dataclasses.replace(street, clicks=scribbled)), make_stream(street)
    seen = 0
    for step, (batch, other) in enumerate(
        zip(stream.batches(0, 6, CPU), plain.batches(0, 6, CPU), strict=True)
    ):
        assert torch.equal(batch.points, other.points)
        assert other.point_weights is None
        drawn = [(sample.clip.id, sample.clip.frames[sample.target].name) for sample in stream.plan(step)]
        if name not in drawn:
            assert batch.point_weights is None
            continue
        of_it = batch.points[:, 0] == drawn.index(name)
        seen += int((batch.point_weights[of_it] == np.float32(1 / 3)).sum())
        assert (batch.point_weights[of_it] == np.float32(1 / 3)).sum() <= 3
        assert set(batch.point_weights[~of_it].tolist()) <= {1.0}
    assert seen


def test_clicks_stay_on_the_colour_they_were_put_on(street):
    """Whatever scale and flip, the image under a moved click is that under the click; mirrored, it is not."""
    right, mirrored = [], []
    stream = make_stream(street, scale=[2.0, 2.0], crop=[64, 96])
    for step in range(4):
        plan, batch = stream.plan(step), next(stream.batches(step, step + 1, CPU))
        for i, sample in enumerate(plan):
            frame = torch.from_numpy(list(read_clip(street.train, sample.clip))[sample.target].copy())
            at = torch.from_numpy(np.stack([sample.clicks["y"], sample.clicks["x"]], 1))
            at = at[move_points(at, sample.crop)[1]].long()
            wanted = normalize(frame[at[:, 0], at[:, 1]].float()[:, :, None, None])[:, :, 0, 0]
            y, x = batch.points[batch.points[:, 0] == i][:, 1:].round().long().clamp(min=0).unbind(1)
            right.append((batch.images[i][:, y, x].T - wanted).abs().mean())
            mirrored.append((batch.images[i].flip(-1)[:, y, x].T - wanted).abs().mean())
    assert sum(right) < 0.25 * sum(mirrored)


def test_neighbours_warp_onto_their_targets(street):
    """On the logit grid, the neighbour warped along the batch's flow is nearer to the target than itself."""
    better = []
    stream = make_stream(street, crop=[64, 96], scale=[1.0, 1.5])
    for batch in stream.batches(0, 6, CPU):
        small = torch.nn.functional.avg_pool2d(batch.images, 4)
        target, neighbour = small[batch.target_of], small[batch.targets :]
        warped, valid = backward_warp(neighbour, batch.flow)
        valid = valid & batch.inside[batch.target_of]
        better.append([((x - target).abs() * valid).sum() for x in (warped, neighbour)])
    along, still = (sum(column) for column in zip(*better, strict=True))
    assert along < 0.93 * still


def test_a_plan_is_a_function_of_the_step(street):
    one, two = make_stream(street), make_stream(street)
    assert [s.crop for s in one.plan(7)] == [s.crop for s in two.plan(7)]
    batches = list(one.batches(0, 4, CPU))
    (later,) = two.batches(3, 4, CPU)
    torch.testing.assert_close(later.images, batches[3].images, rtol=0, atol=0)


def test_every_target_is_seen_once_an_epoch(street):
    stream = make_stream(street, batch_size=1)
    count = sum(len(clip.targets) for clip in street.train.clips)
    for epoch in range(2):
        seen = [stream.plan(epoch * count + i)[0] for i in range(count)]
        assert len({(sample.clip.id, sample.target) for sample in seen}) == count


def test_processes_share_a_batch(street):
    both = make_stream(street).plan(2)
    shares = [make_stream(street, rank=rank, world=2).plan(2) for rank in range(2)]
    assert [share[0].crop for share in shares] == [sample.crop for sample in both]
    with pytest.raises(ValueError, match="batch_size is 2, which does not divide among 3"):
        make_stream(street, world=3)


def test_masks_that_were_not_stored_are_refused(street):
    make_stream(street, occlusion="photometric")
    with pytest.raises(
        ValueError, match=r"'both', but the flow of clip .* stored with masks \['photometric'\]"
    ):
        make_stream(street, occlusion="both")


def test_crops_are_padded_to_the_stride_and_beyond_the_image(street):
    stream = make_stream(street, crop=[90, 100], scale=[0.5, 0.5])
    batch = next(stream.batches(0, 1, CPU))
    assert batch.input_size == (96, 112)
    assert 0 < batch.inside.float().mean() < 0.5
    outside = torch.nn.functional.interpolate(batch.inside.float(), scale_factor=4) == 0
    deep = torch.nn.functional.max_pool2d((~outside).float(), 9, 1, 4) == 0
    assert (batch.images * deep == 0).all()


def test_a_stream_without_targets_says_so(street):
    clips = tuple(dataclasses.replace(clip, targets=()) for clip in street.train.clips)
    with pytest.raises(ValueError, match="no target frame to train on"):
        make_stream(dataclasses.replace(street, train=dataclasses.replace(street.train, clips=clips)))


def test_errors_of_the_reading_thread_reach_the_caller(street):
    lost = dataclasses.replace(street, frames={clip.id: "0" * 64 for clip in street.train.clips})
    with pytest.raises(LookupError, match="has no frames entry"):
        next(make_stream(lost).batches(0, 1, CPU))


def test_unpacked_frames_give_the_same_batches(street):
    keys = pack_frames(street.train, chunk_px=32, store=street.store, pack=False)
    assert set(keys.values()).isdisjoint(street.frames.values())
    files = make_stream(street, caches=Caches(street.store, keys, street.flow, {}))
    packed = make_stream(street)
    for one, two in zip(files.batches(0, 3, CPU), packed.batches(0, 3, CPU), strict=True):
        torch.testing.assert_close(one.images, two.images, rtol=0, atol=0)
        torch.testing.assert_close(one.flow, two.flow, rtol=0, atol=0)


def test_a_lost_image_file_is_told(street):
    clip = street.train.clips[0]
    frames = tuple(dataclasses.replace(frame, image="gone.png") for frame in clip.frames)
    broken = dataclasses.replace(street.train, clips=(dataclasses.replace(clip, frames=frames),))
    keys = pack_frames(broken, chunk_px=32, store=street.store, pack=False)
    stream = make_stream(
        dataclasses.replace(street, train=broken), caches=Caches(street.store, keys, street.flow, {})
    )
    with pytest.raises(FileNotFoundError, match=r"gone\.png: .* restore the file or drop the frame"):
        next(stream.batches(0, 1, CPU))


def test_the_file_reader_remembers_no_more_than_it_may(street):
    clip, frame_bytes = street.train.clips[0], 64 * 96 * 3
    reader = FileReader(street.train, max_bytes=2 * frame_bytes)
    images = list(read_clip(street.train, clip))
    for t in (0, 1, 2, 1, 3, 0):
        window = reader.read(clip, [t], (slice(5, 9), slice(0, 7))).result()
        np.testing.assert_array_equal(window[0], images[t][5:9, :7])
        assert sum(image.nbytes for image in reader._frames.values()) == reader._held_bytes <= 2 * frame_bytes


def test_soft_labels_of_two_codecs_do_not_mix(street):
    first, second = make_stream(street).read(make_stream(street).plan(0))
    labels = [
        Part(
            torch.zeros(3, 9, 16, 24, dtype=torch.uint8), (0, 0), 4, {"codec": codec, "classes": "abcdefghi"}
        )
        for codec in ("root6", "log8")
    ]
    both = [
        Read(read.sample, {**read.parts, "soft_labels": part})
        for read, part in zip((first, second), labels, strict=True)
    ]
    with pytest.raises(ValueError, match="by the codecs log8 and root6, expected one"):
        assemble(both, stride_px=4, mask_bits=0, device=CPU)


def test_soft_labels_of_two_grids_do_not_mix(street):
    reads = make_stream(street).read(make_stream(street).plan(0))
    attributes = {"codec": "root6", "classes": "abcdefghi"}
    parts = [Part(torch.zeros(3, 9, 16, 24, dtype=torch.uint8), (0, 0), px, attributes) for px in (8, 4)]
    both = [
        Read(read.sample, {**read.parts, "soft_labels": part})
        for read, part in zip(reads, parts, strict=True)
    ]
    with pytest.raises(ValueError, match="soft labels on grids of 4 and 8 px, expected one"):
        assemble(both, stride_px=4, mask_bits=0, device=CPU)


def test_jitter_is_a_function_of_the_sample_and_spares_all_else(street):
    plain, one, two = make_stream(street), *(make_stream(street, colour_jitter=0.4) for _ in range(2))
    assert (
        [s.jitter for s in one.plan(3)]
        == [s.jitter for s in two.plan(3)]
        != [s.jitter for s in plain.plan(3)]
    )
    assert [s.crop for s in one.plan(3)] == [s.crop for s in plain.plan(3)]
    assert len({s.jitter for step in range(4) for s in one.plan(step)}) == 8
    jittered, still = (next(stream.batches(3, 4, CPU)) for stream in (one, plain))
    assert (jittered.images - still.images).abs().mean() > 0.05
    torch.testing.assert_close(jittered.flow, still.flow)


def test_jitter_by_hand():
    rgb = torch.tensor([100.0, 150.0, 200.0]).view(1, 3, 1, 1)
    grey = 0.299 * 100 + 0.587 * 150 + 0.114 * 200
    by_hand = {
        Jitter(brightness=1.2): [120, 180, 240],
        Jitter(brightness=2.0): [200, 255, 255],
        Jitter(contrast=0.5): [113.75, 138.75, 163.75],
        Jitter(saturation=0.0): [grey] * 3,
        Jitter(1.1, 0.9, 0.5): None,
    }
    for jitter, expected in by_hand.items():
        brighter = rgb * jitter.brightness
        contrasted = 127.5 + (brighter - 127.5) * jitter.contrast
        greys = (contrasted * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)
        steps = (greys + (contrasted - greys) * jitter.saturation).clamp(0, 255)
        out = jitter_colours(rgb, [jitter])
        torch.testing.assert_close(out, steps)
        if expected:
            torch.testing.assert_close(out.flatten(), torch.tensor(expected, dtype=torch.float32))


def test_reads_wait_in_a_short_queue(street, monkeypatch):
    """However slow the step, no more steps are read ahead than are told."""
    stream, read = make_stream(street), []
    whole = stream.read
    monkeypatch.setattr(stream, "read", lambda plan: (read.append(len(read)), whole(plan))[1])
    batches = stream.batches(0, 20, CPU)
    next(batches)
    most, until = 1 + AHEAD_STEPS + 1, time.monotonic() + 60
    while len(read) < most:
        assert time.monotonic() < until, f"{len(read)} steps were read, {most} are read ahead"
        time.sleep(0.01)
    time.sleep(0.3)  # for one that is read too many
    assert len(read) == most
    batches.close()
    assert len(read) == most


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_gives_the_same_batches(street):
    ours, theirs = (make_stream(street, occlusion="photometric", colour_jitter=0.2) for _ in range(2))
    on_gpu = ours.batches(0, 4, torch.device("cuda"))
    for one, two in zip(on_gpu, theirs.batches(0, 4, CPU), strict=True):
        for name in ("images", "inside", "points", "classes", "target_of", "flow", "flow_valid"):
            torch.testing.assert_close(getattr(one, name).cpu(), getattr(two, name), rtol=1e-4, atol=1e-4)


def test_an_image_file_exchanged_after_the_manifest_is_told(street, tmp_path):
    shutil.copytree(street.train.root, tmp_path / "data")
    moved = dataclasses.replace(street.train, root=str(tmp_path / "data"))
    for path in (tmp_path / "data").rglob("*_leftImg8bit.png"):
        path.write_bytes(path.read_bytes() + b"\0")
    keys = pack_frames(moved, chunk_px=32, store=street.store, pack=False)
    stream = make_stream(
        dataclasses.replace(street, train=moved), caches=Caches(street.store, keys, street.flow, {})
    )
    with pytest.raises(ValueError, match=r"leftImg8bit\.png: changed since its digest was taken"):
        next(stream.batches(0, 1, CPU))
