"""`weclick clicks-import` and `weclick clicks-export`, as people call them."""

import csv
import json
from pathlib import Path

import pytest

from helpers.click_root import make_root
from helpers.places import SHARED
from weclick.cli.click_files import ExportFormat, ImportFormat
from weclick.clicks import checks
from weclick.clicks.exporting import WRITERS
from weclick.clicks.formats import READERS
from weclick.clicks.formats.marks import ERRORS, LEFT_OUT
from weclick.manifest.click_log import append_events, read_click_log

CASES = SHARED / "cases/click_imports"
TABLE = "clip,frame,y,x,class\npark,00001,5,6,car\npark,00002,47,63,tree\ndrive,00003,0,0,Bäume\n"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return make_root(tmp_path_factory.mktemp("clicked") / "data")


@pytest.fixture
def run(verb):
    """Runs `weclick`; gives exit status, stdout and stderr."""

    def call(*words):
        status, said = verb(*words)
        return status, *said

    return call


@pytest.fixture
def log(root):
    path = root / "clicks.jsonl"
    yield path
    path.unlink(missing_ok=True)


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.skipif(not CASES.is_dir(), reason="../shared/cases/click_imports is not here")
@pytest.mark.parametrize("name", sorted(path.name for path in CASES.glob("*")) or ["none"])
def test_files_of_real_tools_give_the_right_table(run, tmp_path, name):
    case = CASES / name
    told = json.loads((case / "case.json").read_text(encoding="utf-8"))
    out, report = tmp_path / "out.csv", tmp_path / "report.json"
    words = ["clicks-import", case / "input", "--root", case / "root", "--out", out, "--report", report]
    for option, value in told["options"].items():
        words += [f"--{option.replace('_', '-')}", json.dumps(value) if isinstance(value, dict) else value]
    status, _, said = run(*words)
    assert status == 0, said
    assert out.read_text(encoding="utf-8") == (case / "expected.csv").read_text(encoding="utf-8")
    found = json.loads(report.read_text(encoding="utf-8"))
    for key, value in told["expected_report"].items():
        assert found[key] == value, key


def test_an_import_that_is_repeated_adds_nothing(run, root, log, tmp_path):
    table = write(tmp_path / "a.csv", TABLE)
    status, said, _ = run("clicks-import", table, "--root", root, "--who", "anna")
    assert status == 0
    assert said.splitlines() == ["taken 3: on 3 frames of 2 clips", f"{log}: 3 clicks are new"]
    clicks = read_click_log(log)
    assert {(c.source, c.who, c.tool.partition(", ")[2]) for c in clicks} == {("import", "anna", "csv")}
    first = clicks[0]
    assert (first.clip, first.frame, first.y, first.x, first.class_name) == ("park", "00001", 5, 6, "car")
    status, said, _ = run("clicks-import", table, "--root", root)
    assert said.splitlines()[1:] == [
        "left out, in_the_log 3: stand in the log already",
        f"{log}: 0 clicks are new",
    ]
    assert read_click_log(log) == clicks


def test_an_import_tells_which_classes_are_short_of_clicks(run, root, log, tmp_path):
    table = write(tmp_path / "a.csv", TABLE)
    told = run("clicks-import", table, "--root", root)[2]
    assert f"{log}: under 20 clicks: car 1, tree 1, Bäume 1; no click: background; " in told
    near = write(tmp_path / "b.csv", "clip,frame,y,x,class\npark,00001,5,9,car\n")
    told = run("clicks-import", near, "--root", root)[2]
    assert "1 click lies within 6 px of another of the same class" in told
    assert "car 2" in told
    assert run("clicks-import", table, "--root", root, "--out", tmp_path / "out.csv")[2] == ""


def test_a_click_that_was_undone_stays_undone(run, root, log, tmp_path):
    table = write(tmp_path / "a.csv", TABLE)
    run("clicks-import", table, "--root", root)
    (first, *others) = read_click_log(log)
    undo = {
        "id": "0" * 8 + "-0000-0000-0000-" + "0" * 12,
        "time": first.time,
        "undo": first.id,
        "who": "anna",
    }
    append_events(log, [undo])
    assert "0 clicks are new" in run("clicks-import", table, "--root", root)[1]
    assert list(read_click_log(log)) == others


def test_an_error_writes_nothing_and_names_file_frame_and_label(run, root, log, tmp_path):
    table = write(tmp_path / "a.csv", TABLE + "park,00009,1,1,car\npark,00001,1,1,bus\n")
    for out in ((), ("--out", tmp_path / "out.csv")):
        status, said, errors = run("clicks-import", table, "--root", root, *out)
        assert (status, said) == (1, "")
        assert (
            "nothing was written, since 2 points cannot be taken (unknown_class 1, unknown_frame 1)" in errors
        )
        assert (
            f"{table}, line 5, clip 'park', frame '00009', label 'car': clip 'park' has no frame '00009'"
            in errors
        )
        assert f"{table}, line 6, clip 'park', frame '00001', label 'bus': there is no such class" in errors
        assert "Traceback" not in errors
    assert not log.exists()
    assert not (tmp_path / "out.csv").exists()


def test_errors_are_skipped_on_demand_and_counted_by_reason(run, root, log, tmp_path):
    table = write(tmp_path / "a.csv", TABLE + "park,00009,1,1,car\npark,00001,1,1,bus\n")
    status, said, errors = run("clicks-import", table, "--root", root, "--on-error", "skip")
    assert status == 0
    assert "error, unknown_class 1: their label is no class" in said
    assert "error, unknown_frame 1: their frame is not on disk" in said
    assert "3 clicks are new" in said
    assert errors.count("weclick: warning: ") == 3  # one of them tells which classes have few clicks


@pytest.mark.parametrize(
    "given",
    [
        ["--class-map", "bus=car"],
        ["--class-map", '{"bus": "car"}'],
        ["--class-map", "{bus: car}"],
        ["--class-map", "FILE"],
    ],
)
def test_maps_of_classes(run, root, log, tmp_path, given):
    table = write(tmp_path / "a.csv", "clip,frame,y,x,class\npark,00001,1,2,bus\n")
    file = write(tmp_path / "map.yaml", "bus: car\n")
    given = [str(file) if word == "FILE" else word for word in given]
    assert run("clicks-import", table, "--root", root, *given)[0] == 0
    assert [click.class_name for click in read_click_log(log)] == ["car"]


@pytest.mark.parametrize(
    "given", ["hall_3=park/00001", '{"hall_3": ["park", "00001"]}', '{"hall_3.png": "park/1"}']
)
def test_maps_of_names(run, root, log, tmp_path, given):
    table = write(tmp_path / "a.csv", "image,y,x,class\nhall_3.png,1,2,car\n")
    assert run("clicks-import", table, "--root", root)[0] == 1
    assert run("clicks-import", table, "--root", root, "--name-map", given)[0] == 0
    assert [(click.clip, click.frame) for click in read_click_log(log)] == [("park", "00001")]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--class-map", '{"bus": 3}'], "--class-map: 'bus' is given 3, expected the name of a class"),
        (["--class-map", "[a]"], "cannot be read, there is no such file"),
        (["--name-map", '{"a": ["b", "c", "d"]}'], "expected a clip and a frame, such as park/00012"),
    ],
)
def test_maps_that_are_none(run, root, tmp_path, words, told):
    table = write(tmp_path / "a.csv", TABLE)
    status, _, errors = run("clicks-import", table, "--root", root, *words)
    assert status == 1
    assert told in errors


@pytest.mark.parametrize("only", ["park", "drive", None])
@pytest.mark.parametrize(
    ("format", "ending"), [("cvat", "xml"), ("labelstudio", "json"), ("coco", "json"), ("csv", "csv")]
)
def test_what_was_exported_is_imported_as_the_same_table(run, root, log, tmp_path, format, ending, only):
    corners = [(y, x) for y in (0, 47) for x in (0, 63)] + [(13, 37), (40, 2)]
    rows = [
        (clip, frame, y, x, name)
        for clip, frame in (
            ("park", "00001"),
            ("park", "00002"),
            ("Fußweg 1", "00003"),
            ("drive", "00000"),
            ("drive", "00011"),
            ("walk", "00003"),
        )
        for (y, x), name in zip(corners, ["car", "tree", "Bäume", "background", "car", "car"], strict=True)
    ]
    table = tmp_path / "a.csv"
    with table.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("clip", "frame", "y", "x", "class"), *rows])
    assert run("clicks-import", table, "--root", root)[0] == 0
    clip = ["--clip", only] if only else []
    expected = sorted(row for row in rows if only in (None, row[0]))
    for source in ([], ["--clicks", table]) if only is None else ([],):
        made, out = tmp_path / f"made.{ending}", tmp_path / "out.csv"
        status, said, errors = run(
            "clicks-export", "--root", root, "--format", format, "--out", made, *clip, *source
        )
        assert status == 0, errors
        assert said.startswith(f"{len(expected)} clicks on ")
        status, _, errors = run("clicks-import", made, "--root", root, "--out", out)
        assert (status, errors) == (0, "")
        with out.open(encoding="utf-8", newline="") as file:
            found = [(c, f, int(y), int(x), name) for c, f, y, x, name in list(csv.reader(file))[1:]]
        assert found == expected


def test_an_export_without_clicks_says_so(run, root, log, tmp_path):
    words = ["clicks-export", "--root", root, "--format", "csv", "--out", tmp_path / "out.csv"]
    assert "there is no such file of clicks; make it by `weclick click`" in run(*words)[2]
    run("clicks-import", write(tmp_path / "a.csv", TABLE), "--root", root)
    assert (
        "--clip 'lake' is none of the clips Fußweg 1, drive, park, walk" in run(*words, "--clip", "lake")[2]
    )
    assert "holds no click to write" in run(*words, "--clip", "Fußweg 1")[2]
    assert not (tmp_path / "out.csv").exists()


def test_a_click_whose_frame_is_gone_stops_the_export(run, root, log, tmp_path):
    append_events(
        log,
        [
            {
                **{"id": "1" * 8 + "-0000-0000-0000-" + "0" * 12, "time": "2026-01-01T00:00:00.000Z"},
                **{"clip": "park", "frame": "00077", "y": 1, "x": 1, "class": "car"},
                **{"source": "human", "who": "", "tool": ""},
            }
        ],
    )
    words = ["clicks-export", "--root", root, "--format", "coco", "--out", tmp_path / "out.json"]
    status, _, errors = run(*words)
    assert status == 1
    assert "frame '00077' of clip 'park' is not on disk" in errors


def test_the_verbs_know_every_format():
    assert {each.value for each in ImportFormat} == {"auto", *READERS}
    assert {each.value for each in ExportFormat} == set(WRITERS)


def test_what_is_counted_has_words():
    source = "".join(path.read_text(encoding="utf-8") for path in Path(checks.__file__).parent.rglob("*.py"))
    for reason in (*LEFT_OUT, *ERRORS):
        assert source.count(f'"{reason}"') > 1, f"{reason} is counted nowhere"
