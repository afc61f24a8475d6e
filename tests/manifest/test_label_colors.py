"""Labels in the colours of the list of classes."""

import numpy as np
import pytest
from PIL import Image

from weclick.common.errors import InputError
from weclick.manifest import Classes, Frame, Manifest
from weclick.manifest.read import read_instances, read_label

BLACK, CAR, TREE = (0, 0, 0), (64, 0, 128), (9, 99, 9)


def read(folder, pixels, palette=(BLACK, CAR, TREE), label_map=None, suffix="png"):
    path = folder / f"label.{suffix}"
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(np.array(pixels, np.uint8))
    image.save(path)
    classes = Classes(("background", "car", "tree")[: len(palette)], palette, label_map=label_map)
    manifest = Manifest("made_up", str(folder), "train", 0, 1, classes, ())
    return read_label(manifest, Frame("0", 0, "0.png", label=path.name)).tolist()


def test_every_colour_of_the_list_is_its_class(tmp_path):
    assert read(tmp_path, [[BLACK, CAR], [TREE, CAR]]) == [[0, 1], [2, 1]]
    assert read(tmp_path, [[(*CAR, 255), (*BLACK, 255)]]) == [[1, 0]]


def test_palette_and_grey_files_are_ids_whatever_their_colours(tmp_path):
    image = Image.fromarray(np.array([[0, 1]], np.uint8))
    image.putpalette([*CAR, *BLACK])
    assert read(tmp_path, image) == [[0, 1]]
    assert read(tmp_path, Image.fromarray(np.array([[False, True]]))) == [[0, 1]]
    grey = Image.merge("LA", [Image.fromarray(np.full((1, 2), value, np.uint8)) for value in (1, 255)])
    assert read(tmp_path, grey) == [[1, 1]]


@pytest.mark.parametrize(
    ("pixels", "told"),
    [
        (
            [[BLACK, CAR], [(1, 2, 3), (1, 2, 3)], [(4, 4, 5), CAR]],
            r"holds 2 colours that no class has: \(1, 2, 3\) on 2 px, first at \(y 1, x 0\), and others on 1 "
            r"px; name the colour in the list",
        ),
        ([[BLACK, (1, 1, 1), (2, 2, 2)]], "its three channels are equal and look like class ids: save it in"),
        ([[(i, 1, 0) for i in range(20)]], "edges that were smoothed, or JPEG, make such colours"),
        ([[(*CAR, 255), (*BLACK, 0)]], "1 of its pixels are transparent, so their class is not known"),
    ],
)
def test_a_colour_that_no_class_has_is_one_error(tmp_path, pixels, told):
    with pytest.raises(InputError, match=rf"label\.png: .*{told}"):
        read(tmp_path, pixels)


def test_two_classes_of_one_colour_cannot_be_told_apart(tmp_path):
    assert read(tmp_path, [[BLACK]], palette=(BLACK, CAR, CAR)) == [[0]]
    with pytest.raises(InputError, match=r"\(64, 0, 128\), which is that of 'car' and of 'tree'"):
        read(tmp_path, [[CAR]], palette=(BLACK, CAR, CAR))


def test_a_file_without_any_listed_colour_is_no_label(tmp_path):
    listed = {"colors": {"64,0,128": 1}}
    assert read(tmp_path, [[BLACK, CAR]], label_map=listed) == [[255, 1]]
    assert read(tmp_path, [[BLACK]], label_map=listed) == [[255]]
    with pytest.raises(InputError, match="holds none of the data set's colours; are red and blue exchanged"):
        read(tmp_path, [[(128, 0, 64)]], label_map=listed)


def test_instances_as_colours_are_an_error(tmp_path):
    Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(tmp_path / "i.png")
    manifest = Manifest("made_up", str(tmp_path), "train", 0, 1, Classes(("a",), (BLACK,)), ())
    with pytest.raises(InputError, match=r"i\.png: holds colours, expected class id \* 1000"):
        read_instances(manifest, Frame("0", 0, "0.png", instances="i.png"))
