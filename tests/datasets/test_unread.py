"""Files that are not read are named."""

import numpy as np
import pytest
from PIL import Image

from weclick.datasets import open_dataset
from weclick.datasets.unread import tell_unread
from weclick.manifest.video import VIDEO_SUFFIXES


def test_files_with_other_endings_are_named_once(tmp_path, capsys):
    for name in ("a.MP4", "b.rmvb", "c.braw", "d.heic", "e.rm", "notes.txt", "a.srt", ".hidden"):
        (tmp_path / name).touch()
    tell_unread(tmp_path, VIDEO_SUFFIXES)
    tell_unread(tmp_path, VIDEO_SUFFIXES)
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert f"{tmp_path}: b.rmvb, c.braw, d.heic and 1 more: not read" in told
    assert ".mpg" in told


@pytest.mark.parametrize("folder", ["frames/a", "videos"])
def test_a_folder_names_what_it_leaves_out(tmp_path, capsys, folder):
    for clip in ("a", "val"):
        for kind in ("frames", "labels"):
            (tmp_path / kind / clip).mkdir(parents=True)
            Image.fromarray(np.zeros((4, 6), np.uint8)).save(tmp_path / kind / clip / "0.png")
    (tmp_path / "videos").mkdir()
    (tmp_path / folder / "1.heic").touch()
    (tmp_path / "classes.yaml").write_text("classes: [{name: all, color: [0, 0, 0]}]")
    open_dataset({"name": "folder", "root": tmp_path, "val_clips": ["val"]}).clips("train")
    assert f"{tmp_path / folder}: 1.heic: not read" in capsys.readouterr().err


def test_a_folder_of_images_inside_of_a_clip_is_named(tmp_path, capsys):
    for name in ("left", "right", "empty"):
        (tmp_path / name).mkdir()
    (tmp_path / "left" / "a.PNG").touch()
    (tmp_path / "right" / "a.png").touch()
    tell_unread(tmp_path, (".png",))
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert f"{tmp_path}: the folders left, right lie too deep, and are not read" in told
