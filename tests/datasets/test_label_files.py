"""Which label belongs to which frame, and what is told where none does."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from weclick.common.errors import InputError
from weclick.datasets import open_dataset
from weclick.datasets.folder import CLASSES_EXAMPLE

GREEN, GREEN_OF_A_MAC = "gr\u00fcn", "gru\u0308n"


def save(path: Path, value: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 8), value, np.uint8)).save(path)
    return path


@pytest.fixture
def root(tmp_path) -> Path:
    """Clip a of frames 000 to 004 with a label on 000, and the held-out clip val."""
    for clip in ("a", "val"):
        for i in range(5):
            save(tmp_path / "frames" / clip / f"{i:03d}.png")
        save(tmp_path / "labels" / clip / "000.png")
    (tmp_path / "classes.yaml").write_text(CLASSES_EXAMPLE)
    return tmp_path


def clips(root: Path, split: str = "train", **data):
    return open_dataset({"name": "folder", "root": root, "val_clips": ["val"], **data}).clips(split)


@pytest.mark.parametrize("suffix", ["tif", "tiff", "bmp", "PNG"])
def test_formats_that_keep_values_are_labels(root, suffix):
    save(root / "labels" / "a" / f"002.{suffix}")
    assert clips(root)[0].targets == (0, 2)


@pytest.mark.parametrize("suffix", ["jpg", "webp", "npy"])
@pytest.mark.parametrize("kind", ["labels", "instances"])
def test_other_formats_are_told_by_name(root, suffix, kind):
    path = root / kind / "a" / f"002.{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    with pytest.raises(InputError, match=rf"{kind}/a/002\.{suffix}: is not read, since {kind} are PNG"):
        clips(root)


@pytest.mark.parametrize(
    ("kind", "name", "told"),
    [
        ("frames", "000.jpg", r"frames/a: '000\.jpg' and '000\.png' are two files of one name"),
        ("labels", "000.tif", r"labels/a: '000\.png' and '000\.tif' are two files of one name"),
        ("labels", "0.png", r"labels/a: '0\.png' and '000\.png' belong to one frame"),
        ("labels", "../loose.png", r"labels.*loose\.png: belongs to no clip \(1 such files\)"),
        (
            "labels",
            "masks/002.png",
            r"labels/a/masks/002\.png: lies too deep .* put labels into ",
        ),
        ("instances", "../b/000.png", r"instances/b: holds instances without frames; the clips are a, val"),
        ("labels", "../Val/000.png", r"labels/Val: holds labels without .* did you mean 'val'\?"),
    ],
)
def test_what_has_two_meanings_or_none_is_an_error(root, kind, name, told):
    save(root / kind / "a" / name)
    with pytest.raises(InputError, match=told):
        clips(root)


def test_labels_that_count_from_another_number_are_found_out(root):
    (root / "labels/a/000.png").unlink()
    for i in range(1, 6):
        save(root / "labels" / "a" / f"{i:03d}.png")
    with pytest.raises(
        InputError,
        match=r"005\.png: belongs to no frame; .* the 5 files count from 1, its frames from 0, and all would "
        r"fit if 1 were taken from their numbers",
    ):
        clips(root)


def test_unicode_forms_of_a_name_are_one_name(root):
    for i in range(2):
        save(root / "frames" / GREEN_OF_A_MAC / f"{GREEN}{i}.png")
    save(root / "labels" / GREEN / f"{GREEN_OF_A_MAC}1.png")
    clip = next(clip for clip in clips(root) if clip.id == GREEN_OF_A_MAC)
    assert clip.targets == (1,)
    assert (root / clip.frames[1].label).is_file()
    assert [clip.id for clip in clips(root, "val", val_clips=[GREEN])] == [GREEN_OF_A_MAC]
    save(root / "frames" / GREEN / "1.png")
    with pytest.raises(InputError, match="is there more than once in frames/ and videos/"):
        clips(root)


def test_the_name_of_a_clip_is_no_pattern(root):
    for name in ("run[1]", "run1"):
        save(root / "frames" / name / "0.png")
        save(root / "labels" / name / "0.png")
    assert [clip.id for clip in clips(root, "val", val_clips=["run[1]"])] == ["run[1]"]
    assert [clip.id for clip in clips(root, "val", val_clips=["run?"])] == ["run1"]
    with pytest.raises(InputError, match=r"'Run1' matches none of .* did you mean 'run1'\?"):
        clips(root, "val", val_clips=["Run1"])


def test_images_beside_the_folders_of_clips_are_told(tmp_path):
    save(tmp_path / "frames" / "000.png")
    (tmp_path / "classes.yaml").write_text(CLASSES_EXAMPLE)
    with pytest.raises(InputError, match=r"holds no clips \(1 images lie in frames/ itself\)"):
        clips(tmp_path)
