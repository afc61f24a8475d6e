"""A classes file as people write it: names are what stands there, colours are whole numbers."""

import pytest

from weclick.common.errors import InputError
from weclick.datasets.folder import read_classes


@pytest.fixture
def read(tmp_path):
    def read(text: str):
        (tmp_path / "classes.yaml").write_text(text, encoding="utf-8")
        return read_classes(tmp_path / "classes.yaml")

    return read


WORDS = (
    "no",
    "on",
    "null",
    "~",
    "1.10",
    "yes",
    "off",
    "True",
    "010",
    "1:30",
    "2024-01-01",
    "0x1",
    "Straße",
    "a b",
)


def test_names_are_kept_as_they_were_written(read):
    lines = "".join(f"- {{name: {word}, color: [{i}, 0, 0]}}\n" for i, word in enumerate(WORDS))
    classes = read(f"instance_classes: [no, ~, 1.10]\nclasses:\n{lines}")
    assert classes.names == WORDS
    assert [classes.names[i] for i in classes.instance_classes] == ["no", "~", "1.10"]


def test_a_json_file_may_have_numbers_as_names(read):
    classes = read('{"classes": [{"name": 5, "color": [1, 2, 3]}], "instance_classes": null}')
    assert (classes.names, classes.palette, classes.instance_classes) == (("5",), ((1, 2, 3),), ())


@pytest.mark.parametrize("nothing", ["", "~", "null", "[]"])
def test_no_instance_classes(read, nothing):
    assert (
        read(f"classes: [{{name: a, color: [0, 0, 0]}}]\ninstance_classes: {nothing}").instance_classes == ()
    )


@pytest.mark.parametrize("color", ["[220.0, 20, 60]", "[220, 2.0e+1, 60]", "[0xdc, 20, 60]"])
def test_whole_numbers_in_all_spellings(read, color):
    assert read(f"classes: [{{name: a, color: {color}}}]").palette == ((220, 20, 60),)


def test_black_is_no_fraction(read):
    assert read("classes: [{name: a, color: [0.0, 0.0, 0.0]}]").palette == ((0, 0, 0),)


@pytest.mark.parametrize(
    "color",
    ["[0.5, 0, 0]", "[1.0, 0, 0]", "[1.0, 1.0, 1.0]", "[0, 0.25, 1]", "[220, 20, 060]", "[1:30, 0, 0]",
     "[300, 0, 0]", "[-1, 0, 0]", "[1, 2]", "[1, 2, 3, 4]", "red", "'#ff0000'", "[a, b, c]", "[no, 0, 0]"],
)  # fmt: skip
def test_what_is_no_colour(read, color):
    with pytest.raises(InputError, match=r"(?s)classes\.yaml: is no classes file .*it should read like this"):
        read(f"classes: [{{name: a, color: {color}}}]")


@pytest.mark.parametrize("color", ["[0.5, 0, 0]", "[1.0, 0, 0]"])
def test_fractions_are_told(read, color):
    with pytest.raises(InputError, match="multiply"):
        read(f"classes: [{{name: a, color: {color}}}]")


@pytest.mark.parametrize("name", ["[a]", "{a: b}", "", '"a\\nb"', '"\\x1b[2J"'])
def test_what_is_no_name(read, name):
    with pytest.raises(InputError, match="is empty or holds control characters"):
        read(f"classes: [{{name: {name}, color: [0, 0, 0]}}]")


def test_twins_and_bombs(read):
    with pytest.raises(InputError, match=r"'classes' stands twice in one section, on line 1 and on line 2"):
        read("classes: []\nclasses: []")
    with pytest.raises(InputError, match="'name' stands twice"):
        read("classes: [{name: a, name: b, color: [0, 0, 0]}]")
    lines = ["a: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 20)]
    with pytest.raises(InputError, match="holds more than"):
        read("\n".join([*lines, "classes: [{name: *a19, color: [0, 0, 0]}]"]))


def test_forms_of_unicode_make_no_other_name(read):
    nfc, nfd = "gr\u00fcn", "gru\u0308n"
    classes = read(f"classes: [{{name: {nfd}, color: [0, 0, 0]}}]\ninstance_classes: [{nfc}]")
    assert (classes.names, classes.instance_classes) == ((nfd,), (0,))
    with pytest.raises(InputError, match="holds 2 classes, expected 1 to 254 with different names"):
        read(f"classes: [{{name: {nfd}, color: [0, 0, 0]}}, {{name: {nfc}, color: [1, 1, 1]}}]")


def test_an_instance_class_that_is_none_is_named(read):
    with pytest.raises(
        InputError, match="instance_classes names 'Car', which is no class; did you mean 'car'"
    ):
        read("classes: [{name: car, color: [0, 0, 0]}]\ninstance_classes: [Car]")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "it has no list 'classes'"),
        ("[]", "it has no list 'classes'"),
        ("classes: {a: [0, 0, 0]}", "it has no list 'classes'"),
        ("classes: [{name: a, color: [0, 0, 0]}, {name: b}]", "class 1 has no color"),
        ("classes: [car]", "class 0 has no color and no name"),
        ("classes: [{name: a, color: '#40c000'}]", "the color #40c000 is no list of three numbers"),
        ("classes: [{name: a, color: [0, 0, 0]}]\ninstance_classes: [b]", "names 'b', which is no class"),
        ("classes: [{name: a, color: [0, 0, 0]}]\ninstance_classes: a", "holds a, expected a list of names"),
    ],
)
def test_what_is_wrong_is_said_in_words(read, text, told):
    with pytest.raises(InputError, match=rf"is no classes file \([^()]*{told}"):
        read(text)


def test_a_wrong_folder_is_told_apart_from_a_missing_file(tmp_path):
    with pytest.raises(InputError, match=r"there is no folder \S+/flims; correct the path"):
        read_classes(tmp_path / "flims" / "classes.yaml")
    with pytest.raises(InputError, match="the classes file is missing") as caught:
        read_classes(tmp_path / "classes.yaml")
    assert not str(caught.value).endswith("\n")
