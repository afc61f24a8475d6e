"""What is checked of every point, whatever its format."""

import pytest

from helpers.click_root import CLASSES, rows
from weclick.clicks.checks import Click
from weclick.clicks.importing import SHOWN, ImportOptions, import_files
from weclick.common.errors import InputError

HEAD = "clip,frame,y,x,class\n"


def test_a_click_that_comes_twice_counts_once(importer):
    done = importer.take("a.csv", HEAD + "park,00001,5,5,car\npark,1,5.2,4.9,car\n")
    assert rows(done) == [("park", "00001", 5, 5, "car")]
    assert done.left == {"duplicate": 1}


def test_a_pixel_of_two_classes_is_an_error_that_names_both_lines(importer):
    one = importer.file("a.csv", HEAD + "park,00001,5,5,car\n")
    two = importer.file("b.csv", HEAD + "\npark,00001,5,5,tree\n")
    done = importer.take_paths([one, two])
    assert done.errors == {"two_classes": 1}
    assert f"{two}, line 3, clip 'park', frame '00001', label 'tree': the pixel (y 5, x 5) " in done.told[0]
    assert f"is 'car' by {one}, line 2; keep one of the two" in done.told[0]


def test_what_the_log_has_comes_not_again_and_is_not_contradicted(importer):
    path = importer.file("a.csv", HEAD + "park,00001,5,5,car\npark,00001,6,6,car\npark,00001,7,7,car\n")
    known = [Click("park", "00001", 5, 5, "car"), Click("park", "00001", 6, 6, "tree")]
    done = import_files([path], importer.clips, importer.root, CLASSES, ImportOptions(), known=known)
    assert rows(done) == [("park", "00001", 7, 7, "car")]
    assert (done.left, done.errors) == ({"in_the_log": 1}, {"two_classes": 1})


def test_labels_by_map_by_form_of_unicode_and_to_nothing(importer):
    text = HEAD + "park,00001,1,1,Ba\u0308ume\npark,00001,11,11,auto\npark,00001,21,21,dust\n"
    done = importer.take("a.csv", text, classes={"auto": "car", "dust": None})
    assert [name for *_, name in rows(done)] == ["Bäume", "car"]
    assert done.left == {"dropped": 1}
    with pytest.raises(InputError, match="gives 'auto' the class 'cars', which is none; did you mean 'car'"):
        importer.take("a.csv", text, classes={"auto": "cars"})


def test_fractions_are_refused(importer):
    points = [(0.31, 0.2), (0.5, 0.11), (0.9, 0.77)]
    done = importer.take("a.csv", HEAD + "".join(f"park,00001,{y},{x},car\n" for y, x in points))
    assert (done.errors, rows(done)) == ({"wrong_unit": 1}, [])
    assert "line 2, clip 'park', frame '00001', label 'car': all 3 points lie within 0..1" in done.told[0]


def test_the_clip_that_a_person_names_wins(importer):
    done = importer.take("a.csv", HEAD + "lake,00001,5,5,car\n", clip="park")
    assert rows(done) == [("park", "00001", 5, 5, "car")]
    done = importer.take("a.csv", HEAD + "lake,00001,5,5,car\n", clip="pork")
    assert (
        "there is no clip 'pork' (there are Fußweg 1, drive, park, walk); did you mean 'park'?"
        in done.told[0]
    )


def test_many_errors_are_counted_and_the_first_are_told(importer):
    done = importer.take("a.csv", HEAD + "park,00001,5,5,no\n" * 50)
    assert done.errors == {"unknown_class": 50}
    assert len(done.told) == SHOWN


def test_near_doubles_are_told(importer):
    done = importer.take("a.csv", HEAD + "park,00001,5,5,car\npark,00001,9,9,car\npark,00001,9,9.9,tree\n")
    assert "1 click lies within 6 px of another of the same class" in done.warnings["near_doubles"][0]


def test_the_report_holds_the_counts(importer):
    done = importer.take("a.csv", HEAD + "park,00001,5,5,car\npark,00001,5,5,car\npark,00001,5,5,no\n")
    assert done.report() == {
        "taken": 1,
        "skipped": {"duplicate": 1},
        "errors": 1,
        "error_reasons": {"unknown_class": 1},
        "warnings": [],
    }
