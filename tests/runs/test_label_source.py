"""Which teachers a configuration needs, and where their files lie."""

from pathlib import Path

import pytest

from weclick.common.config import ConfigError, complete_config, load_config
from weclick.common.config_checks import check_source
from weclick.common.errors import InputError, MissingFileError
from weclick.datasets.digests import file_digests
from weclick.runs.label_source import given_source, label_listing, label_source
from weclick.runs.layout import Layout
from weclick.runs.teachers import labels_words, teacher_files, teachers_of, trained_seeds, trains_teacher

LAYOUT = Layout(Path("results"))


def test_the_run_s_own_teacher_is_the_default():
    config = complete_config({"seed": 3})
    assert teachers_of(config) == trained_seeds(config) == [3]
    assert trains_teacher(config)
    assert teacher_files(config, LAYOUT) == [Path("results/teacher/model.safetensors")]
    assert trains_teacher({"data": {}}), "as a lock of an earlier version has it"


def test_seeds_and_files_stand_side_by_side(tmp_path):
    (tmp_path / "mine.yaml").write_text("soft_labels: {teachers: [0, 2, theirs.safetensors, ./7]}")
    config = load_config(tmp_path / "mine.yaml")
    assert teachers_of(config) == [0, 2, "theirs.safetensors", "./7"]
    assert trained_seeds(config) == [0, 2]
    assert teacher_files(config, LAYOUT) == [
        Path("results/teacher/model.safetensors"),
        Path("results/teachers/2/model.safetensors"),
        Path("theirs.safetensors"),
        Path("7"),
    ]


@pytest.mark.parametrize("change", ["soft_labels.teachers=[1, '2']", "soft_labels.teachers=['1', 2]"])
def test_digits_are_a_seed_however_they_are_written(tmp_path, change):
    config = load_config("{}", [change])
    assert teachers_of(config) == [1, 2]
    assert not trains_teacher(config)


@pytest.mark.parametrize("given", [[-1], [1, 1], [1.5], [None], ["-rf"], ["{seed}.safetensors"]])
def test_what_is_neither_is_refused(given):
    with pytest.raises(ConfigError, match=r"soft_labels\.teachers"):
        complete_config({"soft_labels": {"teachers": given}})


def test_there_is_no_source_while_a_teacher_is_missing(tmp_path):
    config = complete_config({"soft_labels": {"teachers": [0, 1]}})
    layout = Layout(tmp_path)
    own, other = teacher_files(config, layout)
    own.parent.mkdir(parents=True)
    own.write_bytes(b"own")
    assert label_source(config, ["car"], teacher_files(config, layout)) is None
    other.parent.mkdir(parents=True)
    other.write_bytes(b"other")
    source = label_source(config, ["car"], teacher_files(config, layout))
    assert sorted(source.files.values()) == [own, other]


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ({}, "the run's own teacher"),
        ({"teachers": [0]}, "the run's own teacher"),
        ({"teachers": [0, 4, "a/b.safetensors"]}, "the mean of 3 teachers: seed 0, seed 4, a/b.safetensors"),
        ({"teachers": [4]}, "the teacher seed 4"),
        ({"source": "onnx", "onnx": {"path": "x.onnx"}}, "the network x.onnx"),
        ({"source": "folder", "folder": {"path": "m", "kind": "probabilities"}}, "the probabilities in m"),
    ],
)
def test_the_source_in_words(section, told):
    assert labels_words(complete_config({"soft_labels": section})) == told


def test_other_sources_need_no_teacher():
    config = complete_config({"soft_labels": {"source": "folder", "teachers": [0, 1]}})
    assert teachers_of(config) == teacher_files(config, LAYOUT) == trained_seeds(config) == []
    assert not trains_teacher(config)
    with pytest.raises(ConfigError, match=r"soft_labels\.folder\.path is null; name the folder there"):
        check_source(config)


def test_the_stage_takes_teachers_where_they_are_wanted(tmp_path):
    (tmp_path / "t.safetensors").write_bytes(b"t")
    teacher = [tmp_path / "t.safetensors"]
    own = complete_config({})
    folder = complete_config({"soft_labels": {"source": "folder", "folder": {"path": str(tmp_path)}}})
    assert given_source(own, ["car"], teacher, tmp_path / "x").files
    assert given_source(folder, ["car"], [], tmp_path / "x").path == tmp_path
    with pytest.raises(InputError, match=r"source is 'teacher', but no teacher is given; name its model"):
        given_source(own, ["car"], [], tmp_path / "x")
    with pytest.raises(InputError, match=r"source is 'folder', but .*t\.safetensors is given as a teacher"):
        given_source(folder, ["car"], teacher, tmp_path / "x")


def test_what_reruns_the_stage_is_content(tmp_path):
    """An edit that keeps size and time counts; touching, and what is no prediction, do not."""
    masks, memory = tmp_path / "masks" / "a", tmp_path / "digests.sqlite"
    masks.mkdir(parents=True)
    for name in ("0.png", "1.png"):
        (masks / name).write_bytes(b"one")
    config = complete_config({"soft_labels": {"source": "folder", "folder": {"path": str(masks.parent)}}})
    assert label_listing(complete_config({}), memory) == ""
    file_digests(sorted(masks.iterdir()), memory)
    first = label_listing(config, memory)
    (masks / "0.png").touch()
    (masks / "notes.txt").write_text("x")
    (masks / ".hidden.png").write_text("x")
    assert label_listing(config, memory) == first
    (masks / "0.png").write_bytes(b"two")
    edited = label_listing(config, memory)
    assert edited != first
    (masks / "0.png").write_bytes(b"one")
    assert label_listing(config, memory) == first
    (masks / "2.png").write_bytes(b"two")
    assert label_listing(config, memory) not in (first, edited)
    for path in masks.iterdir():
        path.unlink()
    with pytest.raises(MissingFileError, match=r"folder\.path is .*masks, but there is no file that ends in"):
        label_listing(config, memory)
    onnx = complete_config({"soft_labels": {"source": "onnx", "onnx": {"path": str(tmp_path / "x.onnx")}}})
    (tmp_path / "x.onnx").write_bytes(b"one")
    alone = label_listing(onnx, memory)
    (tmp_path / "x.onnx.data").write_bytes(b"weights")
    assert label_listing(onnx, memory) != alone
