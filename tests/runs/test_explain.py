"""`weclick cache explain`: where an entry is, or in what the nearest one differs."""

import json
from dataclasses import replace

import pytest
from PIL import Image
from typer.testing import CliRunner

from weclick.cli import app
from weclick.clicks import write_clicks
from weclick.common.config import complete_config
from weclick.common.errors import InputError
from weclick.manifest import write_manifest
from weclick.proxy_labels.masks import pack_masks
from weclick.proxy_labels.soft_labels import compute_soft_labels
from weclick.runs.explain.differences import differences
from weclick.runs.label_source import label_source, stored_as
from weclick.store import Store, Summary, write_index


@pytest.fixture
def ask(street, tmp_path, monkeypatch):
    """The verb in a folder whose results are the street's manifests; changes are in YAML."""
    monkeypatch.setenv("WECLICK_CACHE", str(street.store.local))
    monkeypatch.chdir(tmp_path)
    for manifest in (street.train, street.val):
        write_manifest(manifest, tmp_path / f"results/manifest/{manifest.split}/0.json")

    def run(*words: object, **sections: dict) -> str:
        config = {**street.config, "frames": {"chunk_px": 32}, "evaluate": {"max_gap_frames": 2}}
        text = json.dumps(
            {**config, **{name: config.get(name, {}) | part for name, part in sections.items()}}
        )
        given = ["cache", "explain", *map(str, words), "--config", text]
        ended = CliRunner().invoke(app, given, catch_exceptions=False)
        assert ended.exit_code == 0, ended.output
        return ended.stdout

    return run


@pytest.fixture
def clip(street):
    return street.train.clips[0]


def test_what_is_there_is_told_with_root_and_maker(ask, street, clip):
    told = ask(clip.id)
    root = street.store.local
    meta = root.find_meta("frames", street.frames[clip.id])
    assert (
        f"frames: found, {street.frames[clip.id][:12]}… in {root}, made by {meta['producer']['user']} on"
        in told
    )
    assert f"flow: found, {street.flow[clip.id][:12]}… in {root}" in told
    assert "soft_labels: not asked for: results/teacher/model.safetensors is not there" in told


def test_other_options_are_told_by_name_with_both_values(ask, street, clip):
    told = ask(clip.id, "--set", "flow.options={preset: fast}", frames={"codec": "zstd", "chunk_px": 64})
    assert f"in {street.store.local}; the nearest is {street.flow[clip.id][:12]}…" in told
    assert "\n  estimator.preset: asked 'fast', the nearest entry has 'medium'\n" in told
    assert "\n  chunk_px: asked 64, the nearest entry has 32\n" in told
    assert "\n  codec: asked 'zstd', the nearest entry has 'lz4'\n" in told
    assert told.count("\n  ") == 3


def test_other_content_of_a_frame_is_told_by_its_name(ask, street, clip, tmp_path):
    frames = (*clip.frames[:1], replace(clip.frames[1], digest="f" * 64), *clip.frames[2:])
    manifest = replace(street.train, clips=(replace(clip, frames=frames),))
    write_manifest(manifest, tmp_path / "other.json")
    told = ask(clip.id, "--manifest", tmp_path / "other.json")
    assert f"1 of 4 frames have other content: {clip.frames[1].name}\n" in told
    assert told.count("other content") == 2  # of frames and flow
    more = replace(clip, frames=(*clip.frames, replace(clip.frames[1], name="new", digest="e" * 64)))
    write_manifest(replace(manifest, clips=(more,)), tmp_path / "other.json")
    told = ask(clip.id, "--manifest", tmp_path / "other.json")
    assert "1 of 5 frames are not in the nearest entry: new\n" in told
    fewer = replace(clip, frames=clip.frames[:3], targets=(0, 2))
    write_manifest(replace(manifest, clips=(fewer,)), tmp_path / "other.json")
    assert "the nearest entry has frames that are not asked for: 1\n" in ask(
        clip.id, "--manifest", tmp_path / "other.json"
    )


def test_other_pairs_of_the_same_frames_are_told(ask, clip):
    told = ask(clip.id, window={"max_gap_frames": 1})
    assert "the nearest entry has pairs that are not asked for: 2\n" in told
    told = ask(clip.id, window={"max_gap_frames": 3})
    first, last = clip.frames[0].name, clip.frames[3].name
    assert f"1 of 6 pairs are not in the nearest entry: {first} -> {last}\n" in told


def test_where_no_frame_is_known_it_says_so(ask, street, clip, tmp_path):
    frames = tuple(replace(frame, digest=f"{i:064x}") for i, frame in enumerate(clip.frames))
    write_manifest(replace(street.train, clips=(replace(clip, frames=frames),)), tmp_path / "other.json")
    told = ask(clip.id, "--manifest", tmp_path / "other.json")
    assert told.count(f"in {street.store.local}, and no entry shares its frames") == 2


def test_a_clip_of_validation_asks_for_flow_alone(ask, street):
    told = ask(street.val.clips[0].id, "--set", "data.val=val")
    assert "frames: not asked for: the clip is of split 'val'" in told
    assert "flow: found" in told
    assert "frames.pack is false" in ask(street.train.clips[0].id, frames={"pack": False})


def test_every_need_of_flow_is_asked_for(ask, street, clip):
    told = ask(clip.id, "--set", "serves=[weclick, f2f]")
    assert f"flow: found, {street.flow[clip.id][:12]}…" in told
    assert "flow (chain): not found as" in told
    assert "flow (chain): not asked for: the clip has no pair of frames that chain needs" in ask(
        street.val.clips[0].id, "--set", "data.val=val", "--set", "serves=[weclick, f2f]"
    )


def test_soft_labels_of_another_teacher(ask, street, clip, tmp_path):
    from weclick.proxy_labels.soft_labels import soft_labels_inputs

    (tmp_path / "mine.safetensors").write_bytes(b"mine")
    options = street.config["soft_labels"]
    inputs = soft_labels_inputs(clip, {"teacher_sha256": "7" * 64}, options["chunk_px"], options["codec"])
    with Store([tmp_path / "store"]).create("soft_labels", inputs) as entry:
        entry.attributes["frames"] = [frame.name for frame in clip.frames]
    told = ask(clip.id, "--teacher", tmp_path / "mine.safetensors")
    assert "soft_labels: not found" in told
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WECLICK_CACHE", str(tmp_path / "store"))
        told = ask(clip.id, "--teacher", tmp_path / "mine.safetensors")
    assert "the nearest entry has 777777777777…\n" in told
    assert "teacher_sha256: asked " in told


def test_soft_labels_of_files_and_of_several_teachers(ask, street, clip, tmp_path):
    (tmp_path / "masks" / clip.id).mkdir(parents=True)
    for frame in clip.frames:
        Image.new("L", (96, 64), 3).save(tmp_path / "masks" / clip.id / f"{frame.name}.png")
    section = {"source": "folder", "folder": {"path": "masks"}}
    given = complete_config({**street.config, "soft_labels": section})
    source = label_source(given, street.train.classes.names, ())
    store, manifest = Store([tmp_path / "mine"]), replace(street.train, clips=(clip,))
    compute_soft_labels(manifest, source, store=store, **stored_as(given))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WECLICK_CACHE", str(tmp_path / "mine"))
        assert "soft_labels: found" in ask(clip.id, soft_labels=section)
        told = ask(clip.id, soft_labels={**section, "codec": "root8"})
        assert "\n  codec: asked 'root8', the nearest entry has 'root6'\n" in told
        told = ask(clip.id, soft_labels={"teachers": [0, 4]})
        assert "results/teacher/model.safetensors, results/teachers/4/model.safetensors are not there" in told
    with pytest.raises(InputError, match=r"soft_labels\.folder\.path is 'gone', and there is no such folder"):
        ask(clip.id, soft_labels={"source": "folder", "folder": {"path": "gone"}})


def test_a_network_is_compared_with_the_most_alike_of_its_role(ask, street, tmp_path):
    write_clicks(street.clicks, tmp_path / "results/clicks/train.h5")
    write_index(tmp_path / "results/frames/train/0.json", "frames", street.frames)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WECLICK_CACHE", str(tmp_path / "store"))
        assert "and no entry shares its role" in ask("teacher")
        _store_teacher(street, tmp_path)
        assert "models: found" in ask("teacher")
        told = ask("teacher", "--set", "seed=3", teacher={"steps": 7})
        assert told.count("\n  ") == 2
        assert "\n  seed: asked 3, the nearest entry has 0\n" in told
        assert "\n  options.steps: asked 7, the nearest entry has 3\n" in told
        first = street.train.clips[0].id
        write_index(tmp_path / "results/frames/train/0.json", "frames", street.frames | {first: "0" * 64})
        assert f"frames: the nearest network had others, or none, of 1 clips: {first}\n" in ask("teacher")
        with pytest.raises(InputError, match="flow stage makes it"):
            ask("student")


def _store_teacher(street, tmp_path):
    """An entry under the teacher's real inputs, as after a training."""
    from weclick.common.config import complete_config
    from weclick.runs.explain.explain import network_question

    config = complete_config({**street.config, "frames": {"chunk_px": 32}, "evaluate": {"max_gap_frames": 2}})
    store = Store([tmp_path / "store"])
    with store.create(
        "models", network_question("teacher", tmp_path / "results", config, store).inputs
    ) as entry:
        entry.write_file("model.safetensors", b"weights")


def test_an_unknown_clip_is_refused(ask):
    with pytest.raises(
        InputError, match=r"'street_x' is no clip of these manifests; they list 3, e\.g\. street_"
    ):
        ask("street_x")


def test_masks_are_asked_for_where_they_are_learned_from(ask, street, clip, tmp_path):
    assert "masks:" not in ask(clip.id)
    store = Store([tmp_path / "store"])
    keys = pack_masks(street.train, store=store, **street.config["masks"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WECLICK_CACHE", str(tmp_path / "store"))
        masks = ("--set", "supervision=masks")
        assert f"masks: found, {keys[clip.id][:12]}…" in ask(clip.id, *masks)
        told = ask(clip.id, *masks, masks={"chunk_px": 64})
        assert "\n  chunk_px: asked 64, the nearest entry has 256\n" in told
        target = clip.targets[1]
        frames = [*clip.frames]
        frames[target] = replace(frames[target], label_digest="f" * 64)
        other = replace(street.train, clips=(replace(clip, frames=tuple(frames)),))
        write_manifest(other, tmp_path / "other.json")
        told = ask(clip.id, *masks, "--manifest", tmp_path / "other.json")
        assert f"\n  1 of 2 labels have other content: {frames[target].name}\n" in told
        bare = [replace(frame, label=None, label_digest=None) for frame in clip.frames]
        write_manifest(replace(other, clips=(replace(clip, frames=tuple(bare)),)), tmp_path / "other.json")
        told = ask(clip.id, *masks, "--manifest", tmp_path / "other.json")
        assert "masks: not asked for: the clip has no target with a label" in told


def test_stacks_of_two_networks_are_compared_by_clip_and_by_what_makes_them():
    def inputs(scale_px: float, **flow: str) -> dict:
        stack = {"length": 2, "scale_px": scale_px, "flow": flow}
        return {"role": "student", "stack": stack, "validation_stack": flow}

    nearest = Summary("store", "models", "k", inputs(8, left="a", right="b"), {}, 1, "anna", 0)
    assert list(differences(inputs(4, left="a", right="c"), {}, nearest)) == [
        "stack.flow: the nearest network had others, or none, of 1 clips: right",
        "validation_stack: the nearest network had others, or none, of 1 clips: right",
        "stack.scale_px: asked 4, the nearest entry has 8",
    ]
    without = Summary("store", "models", "k", {"role": "student"}, {}, 1, "anna", 0)
    told = list(differences(inputs(4, left="a"), {}, without))
    assert told[0] == "stack.flow: the nearest network had others, or none, of 1 clips: left"
    assert "stack.length: asked 2, the nearest entry has nothing" in told
