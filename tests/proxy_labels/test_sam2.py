"""Proxy labels of SAM 2, with the real network in a tiny configuration and random weights."""

import dataclasses
import importlib.machinery
import json
import shutil
import socket
import sys
import types

import numpy as np
import pytest
import torch

from helpers.tiny_sam2 import (
    DOG,
    NAMES,
    SIDE,
    SIZE,
    SWAN,
    clicks_of,
    clip_of,
    manifest_of,
    write_tiny_sam2,
)
from weclick.common.config import complete_config
from weclick.common.digest import file_digest
from weclick.common.errors import InputError, MissingFileError
from weclick.common.schemas import schema_fault
from weclick.proxy_labels import sam2_tracking
from weclick.proxy_labels.proxy_labels import make_proxy_labels, proxy_labels_inputs, read_proxy_labels
from weclick.proxy_labels.sam2 import Sam2
from weclick.proxy_labels.sam2_frames import square_frames, to_square
from weclick.proxy_labels.sam2_model import load_sam2, model_files
from weclick.proxy_labels.sam2_prompts import prompts_of
from weclick.proxy_labels.sam2_tracking import track
from weclick.store import Store, entry_key

pytest.importorskip("transformers", reason="needs weclick[sam2]")

CLIP = clip_of(6)
CLICKS = clicks_of({1: [(3, 40, DOG), (20, 5, SWAN)], 4: [(25, 30, DOG)]})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tiny_sam2(tmp_path_factory.mktemp("sam2"))


@pytest.fixture(scope="module")
def model(folder):
    return load_sam2(digests(model_files(str(folder))), "cpu")


@pytest.fixture
def store(tmp_path):
    return Store([tmp_path / "store"])


def digests(files):
    return {file: file_digest(file) for file in files}


def images_of(clip):
    """Noise; brighter to the right and from frame to frame."""
    rng = np.random.default_rng(len(clip.frames))
    ramp = np.linspace(0, 120, SIZE[1])[None, :, None]
    for t in range(len(clip.frames)):
        yield (ramp + 20 * t + rng.integers(0, 30, (*SIZE, 3))).astype(np.uint8)


def source_of(folder, clicks=CLICKS, classes=NAMES, **options):
    section = complete_config({"proxy_labels": {"sam2": {"model": str(folder), **options}}})
    return Sam2(section["proxy_labels"]["sam2"], classes, clicks, images_of, digests)


def key_of(source, clip=CLIP):
    return entry_key("proxy_labels", proxy_labels_inputs(clip, manifest_of(clip).classes.names, source, 32))


def labels_of(store, source, clip=CLIP):
    keys = make_proxy_labels(manifest_of(clip), source, chunk_px=32, store=store)
    return dict(read_proxy_labels(store.get("proxy_labels", keys[clip.id]), clip))


@pytest.fixture
def seen(model):
    """What the network is given: points and labels by call, and squares by call."""
    found = {"points": [], "frames": [], "sessions": []}

    def prompted(module, args, kwargs):
        if (kwargs["input_labels"] != -1).any():
            found["points"].append((kwargs["input_points"][0, 0], kwargs["input_labels"][0, 0].tolist()))

    hooks = [
        model.prompt_encoder.register_forward_pre_hook(prompted, with_kwargs=True),
        model.vision_encoder.register_forward_pre_hook(lambda _, args: found["frames"].append(args[0])),
        model.register_forward_pre_hook(lambda _, args: found["sessions"].append(args[0])),
    ]
    yield found
    for hook in hooks:
        hook.remove()


def swept(model, clip=CLIP, clicks=CLICKS, reverse=False):
    prompts = prompts_of(clip, clicks, 4)
    with square_frames(images_of(clip), SIDE) as frames:
        return list(track(model, frames, prompts, clip.size, reverse=reverse))


def test_the_network_gets_points_as_x_y_on_its_squares(model, seen):
    swept(model)
    (dog, dog_labels), (swan, swan_labels), (late, late_labels) = seen["points"]
    assert (dog_labels, swan_labels, late_labels) == ([1, 0], [1, 0], [1])
    expected = [
        [40.5 * SIDE / 48 - 0.5, 3.5 * SIDE / 32 - 0.5],
        [5.5 * SIDE / 48 - 0.5, 20.5 * SIDE / 32 - 0.5],
    ]
    torch.testing.assert_close(dog, torch.tensor(expected))
    torch.testing.assert_close(swan, torch.tensor(expected[::-1]))
    torch.testing.assert_close(late, to_square(np.float32([[30, 25]]), SIZE, SIDE))


@pytest.mark.parametrize(
    ("reverse", "expected"),
    [
        (False, {1: [1, 2], 2: [1, 2], 3: [1, 2], 4: [1, 2, 3], 5: [1, 2, 3]}),
        (True, {4: [3], 3: [3], 2: [3], 1: [3, 1, 2], 0: [3, 1, 2]}),
    ],
)
def test_objects_are_followed_from_their_click_to_the_end_of_the_sweep(model, seen, reverse, expected):
    found = swept(model, reverse=reverse)
    assert {t: ids for t, ids, _ in found} == expected
    assert [t for t, _, _ in found] == list(expected), "in the order of the sweep"
    assert all(logits.shape == (len(ids), SIDE // 4, SIDE // 4) for _, ids, logits in found)
    levels = [float(square.mean()) for square in seen["frames"]]
    assert len(levels) == len(expected), "each frame is encoded once"
    assert levels == sorted(levels, reverse=reverse)
    for square in seen["frames"]:
        assert square.shape == (1, 3, SIDE, SIDE)
        assert square[..., SIDE // 2 :].mean() > square[..., : SIDE // 2].mean() + 0.5


@pytest.mark.parametrize("reverse", [False, True])
def test_masks_are_those_of_transformers_which_keeps_everything(model, reverse):
    """All frames in memory, nothing forgotten, and transformers' own loop. A clip beyond any memory."""
    from transformers import Sam2VideoInferenceSession

    clip = clip_of(9)
    clicks = clicks_of({8 if reverse else 0: [(3, 40, DOG), (20, 5, SWAN)]})
    ours = swept(model, clip, clicks, reverse)
    with square_frames(images_of(clip), SIDE) as frames:
        video = torch.stack([frames[t] for t in range(9)])
    session = Sam2VideoInferenceSession(video=video, video_height=32, video_width=48, dtype=torch.float32)
    ((at, prompts),) = prompts_of(clip, clicks, 4).items()
    for prompt in prompts:
        points = to_square(prompt.points, SIZE, SIDE)[None, None]
        labels = torch.from_numpy(prompt.labels)[None, None]
        index = session.obj_id_to_idx(prompt.object_id)
        session.add_point_inputs(index, at, {"point_coords": points, "point_labels": labels})
    session.obj_with_new_inputs = [1, 2]
    theirs = list(model.propagate_in_video_iterator(session, start_frame_idx=at, reverse=reverse))
    assert [t for t, _, _ in ours] == [each.frame_idx for each in theirs]
    for (_, ids, logits), each in zip(ours, theirs, strict=True):
        assert ids == each.object_ids
        torch.testing.assert_close(logits, each.pred_masks[:, 0], rtol=1e-5, atol=1e-6)
    assert len({float(logits.sum()) for _, _, logits in ours}) == 9, "frames differ"


def test_squares_and_points_are_those_of_transformers_own_processor():
    from transformers import Sam2ImageProcessor, Sam2VideoProcessor, Sam2VideoVideoProcessor

    side = {"height": SIDE, "width": SIDE}
    processor = Sam2VideoProcessor(Sam2ImageProcessor(size=side), Sam2VideoVideoProcessor(size=side))
    images = list(images_of(CLIP))
    session = processor.init_video_session(video=images)
    processor.add_inputs_to_inference_session(session, 1, [7], [[[[40, 3]]]], [[[1]]])
    with square_frames(images, SIDE) as frames:
        for t in range(len(images)):
            torch.testing.assert_close(frames[t], session.get_frame(t), rtol=0, atol=1.01 / 255 / 0.224)
    theirs = session.point_inputs_per_obj[0][1]["point_coords"][0, 0]
    ours = to_square(np.float32([[40, 3]]), SIZE, SIDE)
    assert (ours - theirs).abs().max() <= 0.5 * SIDE / 32, "they take the corner of a pixel for its centre"


@pytest.mark.parametrize("reverse", [False, True])
def test_a_session_keeps_no_more_of_a_longer_clip(model, seen, reverse):
    clip = clip_of(14)
    swept(model, clip, clicks_of({13 if reverse else 0: [(3, 4, DOG)]}), reverse)
    (held,) = seen["sessions"][-1].output_dict_per_obj.values()
    assert len(held["non_cond_frame_outputs"]) <= 4
    assert len(held["cond_frame_outputs"]) == 1
    kept = [outputs for each in held.values() for outputs in each.values()]
    assert not any({"pred_masks", "high_res_masks"} & set(outputs) for outputs in kept)
    assert len(seen["sessions"][-1].cache._vision_features) == 1


def test_every_frame_gets_the_class_of_its_surest_object(store, folder, model):
    found = labels_of(store, source_of(folder))
    assert list(found) == list(range(6))
    size, classes = SIZE, {1: DOG, 2: SWAN, 3: DOG}
    best = np.zeros((6, *size))
    expected = np.zeros((6, *size), np.uint8)
    for reverse in (False, True):
        for t, ids, logits in swept(model, reverse=reverse):
            fine = torch.nn.functional.interpolate(logits[None], size, mode="bilinear")[0].numpy()
            for object_id, plane in zip(ids, fine, strict=True):
                surer = plane > best[t]
                best[t][surer], expected[t][surer] = plane[surer], classes[object_id]
    assert np.array_equal(np.stack([*found.values()]), expected)
    assert set(np.unique(expected)) == {0, DOG, SWAN}


def test_pixels_on_no_object_are_ignored_without_a_class_background(store, folder):
    names = ("road", "dog", "swan")
    clicks = dataclasses.replace(CLICKS, classes=names)
    with_background = source_of(folder).make(CLIP)
    without = source_of(folder, clicks, names).make(CLIP)
    for (_, first), (_, second) in zip(with_background, without, strict=True):
        assert np.array_equal(np.where(first == 0, 255, first), second)
        assert (second == 255).any()


def test_every_second_frame_and_clicked_ones(store, folder):
    assert list(labels_of(store, source_of(folder, every=2))) == [0, 1, 2, 4]
    assert list(labels_of(store, source_of(folder, every=99))) == [0, 1, 4]


def test_one_frame_is_a_clip(folder):
    ((t, label),) = source_of(folder, clicks_of({0: [(3, 40, DOG)]})).make(clip_of(1))
    assert (t, label.shape) == (0, SIZE)


def test_a_clip_without_a_click_has_no_label_and_loads_nothing(store, folder, monkeypatch):
    monkeypatch.setattr("weclick.proxy_labels.sam2.load_sam2", lambda *_: pytest.fail("loaded"))
    assert labels_of(store, source_of(folder, clicks_of({}))) == {}


def test_an_entry_is_whole_and_made_once(store, folder, monkeypatch):
    keys = make_proxy_labels(manifest_of(CLIP), source_of(folder), chunk_px=32, store=store)
    entry = store.get("proxy_labels", keys["park"])
    assert entry.attributes["source"] == "sam2"
    assert not schema_fault(dict(entry.attributes), "proxy_labels")
    monkeypatch.setattr(Sam2, "make", lambda *_: pytest.fail("made again"))
    assert make_proxy_labels(manifest_of(CLIP), source_of(folder), chunk_px=32, store=store) == keys


def test_a_run_that_is_killed_leaves_no_half_entry(store, folder, monkeypatch):
    whole = sam2_tracking._forget

    def dies(session, t, *args, **kwargs):
        if t == 3:
            raise KeyboardInterrupt
        whole(session, t, *args, **kwargs)

    monkeypatch.setattr(sam2_tracking, "_forget", dies)
    with pytest.raises(KeyboardInterrupt):
        labels_of(store, source_of(folder))
    assert not list(store.roots[0].glob("proxy_labels/*/*/*/entry.json"))
    monkeypatch.setattr(sam2_tracking, "_forget", whole)
    assert len(labels_of(store, source_of(folder))) == 6


def test_the_key_follows_weights_clicks_and_options(folder, tmp_path):
    changed = shutil.copytree(folder, tmp_path / "changed")
    weights = changed / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    moved = clicks_of({1: [(3, 40, DOG), (20, 5, SWAN)], 4: [(25, 31, DOG)]})
    sources = [
        source_of(folder),
        source_of(changed),
        source_of(folder, moved),
        source_of(folder, every=2),
        source_of(folder, negatives=0),
    ]
    assert len({key_of(source) for source in sources}) == len(sources)


def test_the_key_counts_no_path_no_device_and_no_click_of_other_clips(folder, tmp_path):
    base = source_of(folder)
    elsewhere = source_of(shutil.copytree(folder, tmp_path / "elsewhere"))
    frames = {**CLICKS.frames, ("yard", "00000"): CLICKS.of("park", "00001")}
    others = [elsewhere, dataclasses.replace(base, device="cuda")]
    others.append(source_of(folder, dataclasses.replace(CLICKS, frames=frames)))
    assert {key_of(source) for source in others} == {key_of(base)}


def test_a_folder_asks_nothing_of_the_network(folder, monkeypatch):
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("asked the network"))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: pytest.fail("asked the network"))
    assert len(source_of(folder).make(CLIP)) == 6


def test_a_name_of_the_hub_is_told_if_it_cannot_be_fetched(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        InputError, match=r"hub:made/up', which could not be downloaded .*hf download made/up"
    ):
        key_of(source_of("hub:made/up"))
    with pytest.raises(InputError, match="is 'hub:made-up', expected hub: and a name on Hugging Face's hub"):
        key_of(source_of("hub:made-up"))


def test_an_earlier_download_is_taken_without_the_network(folder, tmp_path, monkeypatch):
    from huggingface_hub import constants

    commit = "0" * 40
    here = tmp_path / "models--made--up"
    shutil.copytree(folder, here / "snapshots" / commit)
    (here / "refs").mkdir()
    (here / "refs" / "main").write_text(commit, encoding="utf-8")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("asked the network"))
    assert key_of(source_of("hub:made/up")) == key_of(source_of(folder))


def test_no_model_is_told():
    source = dataclasses.replace(source_of("."), options={"model": None, "every": 1, "negatives": 4})
    with pytest.raises(InputError, match=r"source is sam2, but proxy_labels\.sam2\.model is null; name the"):
        key_of(source)


def test_a_folder_that_is_none_of_a_model_is_told(folder, tmp_path):
    with pytest.raises(MissingFileError, match=r"none: is no folder; proxy_labels\.sam2\.model names"):
        key_of(source_of(tmp_path / "none"))
    with pytest.raises(MissingFileError, match=r"has no config\.json"):
        key_of(source_of(tmp_path))
    shutil.copy(folder / "config.json", tmp_path)
    with pytest.raises(MissingFileError, match=r"has no \.safetensors"):
        key_of(source_of(tmp_path))


def copy_with(folder, to, **config):
    shutil.copytree(folder, to)
    told = json.loads((to / "config.json").read_text(encoding="utf-8"))
    (to / "config.json").write_text(json.dumps({**told, **config}), encoding="utf-8")
    return to


def test_another_network_is_told(folder, tmp_path):
    with pytest.raises(InputError, match="is of a model of type 'sam2', expected 'sam2_video'"):
        source_of(copy_with(folder, tmp_path / "image", model_type="sam2")).make(CLIP)
    with pytest.raises(InputError, match=r"cannot be loaded as a SAM 2 video model|lacks .* tensors"):
        source_of(copy_with(folder, tmp_path / "large", memory_attention_num_layers=2)).make(CLIP)
    (tmp_path / "image" / "config.json").write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match="is no JSON"):
        source_of(tmp_path / "image").make(CLIP)


def test_damaged_weights_are_told(folder, tmp_path):
    damaged = shutil.copytree(folder, tmp_path / "damaged")
    (damaged / "model.safetensors").write_bytes(b"\x10" * 64)
    with pytest.raises(InputError, match="damaged: cannot be loaded as a SAM 2 video model"):
        source_of(damaged).make(CLIP)


def test_weights_that_change_meanwhile_are_told(folder, tmp_path):
    source = source_of(shutil.copytree(folder, tmp_path / "changing"))
    source.key_inputs(CLIP)
    write_tiny_sam2(tmp_path / "changing", seed=1)
    with pytest.raises(InputError, match=r"model\.safetensors"):
        source.make(CLIP)


def test_a_missing_package_is_told(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    source = source_of(folder)
    assert key_of(source), "keys need no package"
    with pytest.raises(
        InputError, match=r"transformers is not installed; run `pip install -U 'weclick\[sam2\]'"
    ):
        source.make(CLIP)


def test_an_old_package_is_told(folder, monkeypatch):
    old = types.ModuleType("transformers")
    old.__spec__ = importlib.machinery.ModuleSpec("transformers", None)
    monkeypatch.setitem(sys.modules, "transformers", old)
    with pytest.raises(InputError, match="transformers has no Sam2VideoModel: it is too old"):
        source_of(folder).make(CLIP)


def test_clicks_of_other_classes_are_told(folder):
    with pytest.raises(InputError, match="the clicks are of the classes background, dog, swan, but the data"):
        key_of(source_of(folder, classes=("background", "hound", "swan")))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_gives_what_the_cpu_gives(folder):
    here = source_of(folder).make(CLIP)
    there = dataclasses.replace(source_of(folder), device="cuda").make(CLIP)
    same = [(first == second).mean() for (_, first), (_, second) in zip(here, there, strict=True)]
    assert min(same) > 0.95
