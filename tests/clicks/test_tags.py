"""Tags from labels, tables, folders and VOC XML: the same classes as a look at the files, or one error."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from weclick.clicks.tags import SourcedTags, make_tags, read_tags, write_tags, write_tags_json
from weclick.common.config import complete_config
from weclick.common.errors import InputError
from weclick.common.schemas import schema_fault
from weclick.manifest import Classes, Clip, Frame, Manifest
from weclick.manifest.read import read_label_of
from weclick.manifest.tag_table import TagTable, tags_digest

NAMES = ("background", "dog", "cat")


def options(**given):
    return complete_config({"tags": given})["tags"]


def clip(name: str, frames: int = 3) -> Clip:
    listed = tuple(Frame(f"{i:03d}", i, f"frames/{name}/{i:03d}.png") for i in range(frames))
    return Clip(name, listed, targets=(0,), height_px=8, width_px=10)


def manifest(root: Path, *clips: Clip) -> Manifest:
    classes = Classes(NAMES, ((0, 0, 0),) * len(NAMES))
    return Manifest("folder", str(root), "train", 0, 1, classes, clips)


class TestTable:
    table = TagTable(
        NAMES, True, {("a", ""): frozenset([1]), ("a", "000"): frozenset([0, 2]), ("b", "7"): frozenset([2])}
    )

    def test_a_frame_has_its_own_tags_or_else_those_of_its_clip(self):
        assert self.table.of("a", "000") == {0, 2}
        assert self.table.of("a", "001") == {1}
        assert self.table.of("b", "001") == self.table.of("c", "000") == frozenset()

    def test_a_clip_has_those_of_all_its_rows(self):
        assert self.table.of_clip("a") == {0, 1, 2}
        assert self.table.of_clip("b") == {2}
        assert self.table.of_clip("c") == frozenset()

    def test_the_digest_is_of_the_tags_and_not_of_their_order_or_source(self):
        turned = dict(reversed(self.table.rows.items()))
        sourced = SourcedTags(NAMES, True, turned, split="train", sources=dict.fromkeys(turned, "file"))
        assert tags_digest(sourced) == tags_digest(self.table)
        for other in (
            replace(self.table, complete=False),
            replace(self.table, classes=("background", "cat", "dog")),
            replace(self.table, rows={**turned, ("a", ""): frozenset([2])}),
        ):
            assert tags_digest(other) != tags_digest(self.table)


class TestLabels:
    def test_on_the_street_they_are_the_classes_of_every_label_file(self, street):
        tags = make_tags(street.train, street.config["tags"])
        labelled = 0
        for each in street.train.clips:
            for frame in each.frames:
                found = np.unique(read_label_of(street.train, each, frame))
                assert tags.of(each.id, frame.name) == set(found[found != 255].tolist())
                labelled += 1
        assert labelled == len(tags.rows) == 8
        assert tags.complete
        assert set(tags.sources.values()) == {"labels"}

    @pytest.fixture
    def labelled(self, tmp_path):
        """Frame 000 with 6 px of dog and 1 px of cat, 001 with nothing that is known, 002 without a label."""
        ids = np.zeros((8, 10), np.uint8)
        ids[0, :6], ids[1, 0] = 1, 2
        for name, values in (("000", ids), ("001", np.full_like(ids, 255))):
            Image.fromarray(values).save(tmp_path / f"{name}.png")
        frames = [replace(f, label=f"{f.name}.png" if f.name != "002" else None) for f in clip("park").frames]
        return manifest(tmp_path, replace(clip("park"), frames=tuple(frames)))

    @pytest.mark.parametrize(
        ("given", "found"),
        [
            ({}, {0, 1, 2}),
            ({"min_pixels": 2, "min_pixels_at": None}, {0, 1}),
            ({"min_pixels": 6, "min_pixels_at": None}, {0, 1}),
            ({"min_pixels": 7, "min_pixels_at": None}, {0}),
            ({"min_pixels": 24, "min_pixels_at": [16, 20]}, {0, 1}),
            ({"min_pixels": 28, "min_pixels_at": [16, 20]}, {0}),
        ],
    )
    def test_a_class_counts_from_min_pixels_on_scaled_by_area(self, labelled, given, found):
        tags = make_tags(labelled, options(**given))
        assert tags.rows == {("park", "000"): found}

    def test_a_clip_without_a_tag_is_told(self, labelled):
        with pytest.raises(InputError, match=r"1 of 1 clips have no tag \('park'\); label some .*min_pixels"):
            make_tags(labelled, options(min_pixels=100, min_pixels_at=None))

    def test_instances_tell_where_there_is_no_label(self, tmp_path):
        values = np.zeros((8, 10), np.uint16)
        values[2:4], values[5, 0], values[0] = 1001, 2000, 999
        Image.fromarray(values).save(tmp_path / "i.png")
        frames = tuple(replace(frame, instances="i.png") for frame in clip("park", 1).frames)
        listed = manifest(tmp_path, replace(clip("park"), frames=frames))
        assert make_tags(listed, options()).of("park", "000") == {1, 2}
        Image.fromarray(values * 2).save(tmp_path / "i.png")
        with pytest.raises(InputError, match=r"i\.png: holds objects of class 4, expected ids 0\.\.2"):
            make_tags(listed, options())


class TestFile:
    @pytest.fixture
    def given(self, tmp_path):
        listed = manifest(tmp_path, clip("park"), clip("zoo"))

        def make(text: str | bytes, **more):
            content = text.encode() if isinstance(text, str) else text
            (tmp_path / "tags.csv").write_bytes(content)
            return make_tags(listed, options(source="file", **more))

        return make

    def test_rows_name_frames_and_whole_clips_by_names_and_ids(self, given):
        tags = given(
            "clip,frame,class\npark,,dog\npark,001,2\npark,1.png,background\nzoo,2,cat\nother,,dog\n"
        )
        assert tags.rows == {("park", ""): {1}, ("park", "001"): {0, 2}, ("zoo", "002"): {2}}
        assert tags.complete
        assert not given("clip,frame,class\npark,,dog\nzoo,,cat\n", complete=False).complete

    @pytest.mark.parametrize(
        "text",
        [
            "sep=;\nClip;FRAME;class\n\npark;;dog\nzoo;;dog\n",
            "label\tvideo\tframe_number\ndog\tpark\t\ndog\tzoo\n",
            b"\xef\xbb\xbfclip,frame,class,note\r\n park , , dog ,good\r\nzoo,,1.0,\r\n",
        ],
    )
    def test_dialects_of_spreadsheets_are_read(self, given, text):
        assert given(text).rows == {("park", ""): {1}, ("zoo", ""): {1}}

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("", r"tags\.csv: is empty; write a header clip,frame,class"),
            ("\n\n", r"tags\.csv: is empty"),
            ("clip,frame,class\n", r"tags\.csv: holds no tag; write a row such as"),
            ("clip,class\npark,dog\n", r"tags\.csv: its header lacks frame; .*may be empty"),
            ("clip,frame,class,class\n", r"its header has 2 columns for class: class, class; name one"),
            ("clip,frame,frame,class\n", r"its header has 2 columns for frame"),
            ("video,sequence,frame,class\n", r"its header has 2 columns for clip: video, sequence"),
            ("clip,frame,class\npark,,\n", r"tags\.csv, line 2: has no class"),
            ("clip,frame,class\npark,,dog\n,,dog\n", r"tags\.csv, line 3: has no clip"),
            ("clip,frame,class\npark,,dog,cat\n", r"line 2: has 4 values for 3 columns; .*a row of its own"),
            ("clip,frame,class\npark,,dgo\n", r"line 2: class 'dgo' is unknown; did you mean 'dog'\?; exp"),
            ("clip,frame,class\npark,,255\n", r"line 2: class '255' is unknown.*or an id 0\.\.2"),
            ("clip,frame,class\npark,,3\n", r"line 2: class '3' is unknown.*or an id 0\.\.2"),
            (f"clip,frame,class\npark,,{'9' * 900}\n", r"line 2: class '9+' is unknown"),
            (f"clip,frame,class\npark,,{'9' * 5000}\n", r"line 2: has a value of more than 1000 letters"),
            ("clip,frame,class\npark,-1,dog\n", r"line 2: clip 'park' has no frame '-1'.*'000' to '002'"),
            ("clip,frame,class\npark,003,dog\n", r"no frame '003'; it has 3"),
            ("clip,frame,class\npark,,dog\nzo,,dog\n", r"1 of 2 clips have no tag \('zoo'\).*it names 'zo'"),
            (
                "clip,frame,class\n\npark,,dog\n",
                r"no tag \('zoo'\); add rows such as zoo,,cat to .*tags\.csv",
            ),
            (b"clip,frame,class\nz\xfc,,dog\n", r"tags\.csv: is no CSV in UTF-8"),
            (b"PK\x03\x04", r"tags\.csv: is an Excel or OpenDocument workbook"),
            ('clip,frame,class\n"' + "x" * 200_000, r"tags\.csv: cannot be read as CSV"),
        ],
    )
    def test_each_fault_is_one_error_with_its_line(self, given, text, told):
        with pytest.raises(InputError, match=told):
            given(text)

    def test_a_file_that_is_missing_or_too_long_is_told(self, given, tmp_path):
        with pytest.raises(
            InputError, match=r"none\.csv: there is no such table of tags; .*clip,frame,class"
        ):
            given("", file=str(tmp_path / "none.csv"))
        with (tmp_path / "long.csv").open("wb") as file:
            file.truncate(2**26)
        with pytest.raises(InputError, match=r"long\.csv: has 64.0 MiB, expected at most 32.0 MiB"):
            given("", file=str(tmp_path / "long.csv"))


class TestFolders:
    def test_the_folder_is_the_one_tag_and_says_nothing_of_others(self, tmp_path):
        tags = make_tags(
            manifest(tmp_path, clip("dog/a"), clip("dog/b/1"), clip("cat/a")), options(source="folders")
        )
        assert tags.rows == {("dog/a", ""): {1}, ("dog/b/1", ""): {1}, ("cat/a", ""): {2}}
        assert not tags.complete

    @pytest.mark.parametrize(
        ("name", "told"),
        [
            ("dgo/a", r"the folder of clip 'dgo/a': class 'dgo' is unknown; did you mean 'dog'\?"),
            ("park", r"clip 'park' lies in no folder of a class.*frames/<class>/<clip>/"),
        ],
    )
    def test_other_folders_are_told(self, tmp_path, name, told):
        with pytest.raises(InputError, match=told):
            make_tags(manifest(tmp_path, clip(name)), options(source="folders"))


def voc(*names: str) -> str:
    objects = "".join(
        f"<object><name>{name}</name><difficult>1</difficult><part><name>head</name></part></object>"
        for name in names
    )
    return f"<annotation><folder>V</folder><size><width>9</width></size>{objects}</annotation>"


class TestVoc:
    @pytest.fixture
    def files(self, tmp_path):
        def write(**texts: str):
            for name, text in texts.items():
                path = tmp_path / "Annotations" / f"{name.replace('__', '/')}.xml"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            return tmp_path

        return write

    def image(self, name: str) -> Clip:
        return replace(clip(name), frames=(Frame(name, 0, f"{name}.jpg"),))

    def test_objects_are_tags_difficult_ones_too_and_parts_are_none(self, files):
        root = files(img1=voc("dog", "dog", " cat "), img2=voc("dog"), other=voc("horse"))
        tags = make_tags(manifest(root, self.image("img1"), self.image("img2")), options(source="voc"))
        assert tags.rows == {("img1", "img1"): {1, 2}, ("img2", "img2"): {1}}

    def test_clips_may_have_folders_of_their_own(self, files):
        root = files(park__000=voc("dog"), park__002=voc("cat"), zoo__000=voc("cat"))
        tags = make_tags(manifest(root, clip("park"), clip("zoo")), options(source="voc"))
        assert tags.rows == {("park", "000"): {1}, ("park", "002"): {2}, ("zoo", "000"): {2}}

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            (voc("dgo"), r"img\.xml, line 1: class 'dgo' is unknown; did you mean 'dog'\?"),
            (voc(), r"1 of 1 clips have no tag \('img'\); .*Annotations/img\.xml with an object"),
            (
                "<annotation>\n<object><pose/></object></annotation>",
                r"img\.xml, line 2: has an object without",
            ),
            ("<svg/>", r"img\.xml: is no annotation of PASCAL VOC \(its root is <svg>"),
            ("", r"img\.xml: cannot be read as XML"),
            ("<annotation><object>", r"img\.xml: cannot be read as XML"),
            (f"<!DOCTYPE a [<!ENTITY b 'dog'>]>{voc('&b;')}", r"img\.xml, line 1: has a DOCTYPE"),
            (voc("&undefined;"), r"img\.xml: cannot be read as XML"),
            (f"<annotation>{'<a>' * 40}{'</a>' * 40}</annotation>", r"has more elements .*levels deep"),
            (f"<annotation>{' ' * 2**22}</annotation>", r"img\.xml: has 4.0 MiB, expected at most 4.0 MiB"),
        ],
    )
    def test_each_fault_is_one_error(self, files, text, told):
        with pytest.raises(InputError, match=told):
            make_tags(manifest(files(img=text), self.image("img")), options(source="voc"))

    def test_files_that_may_be_of_two_clips_are_told(self, files, tmp_path):
        with pytest.raises(
            InputError, match=r"Annotations: there is no such folder, but tags.source is 'voc'"
        ):
            make_tags(manifest(tmp_path, clip("park")), options(source="voc"))
        with pytest.raises(InputError, match=r"000\.xml: may belong to .* clip 'park' or of clip 'zoo'"):
            make_tags(
                manifest(files(**{"000": voc("dog")}), clip("park"), clip("zoo")), options(source="voc")
            )


ROWS = {("ü", ""): frozenset([1]), ("ü", "000"): frozenset([0, 2]), ("b", "7"): frozenset([2])}
SOURCED = SourcedTags(
    NAMES,
    False,
    ROWS,
    split="train",
    sources={("ü", ""): "folders", ("ü", "000"): "labels", ("b", "7"): "voc"},
)


class TestTableOnDisk:
    def test_it_is_read_as_it_was_written_and_equal_tables_give_equal_files(self, tmp_path):
        write_tags(SOURCED, tmp_path / "train.h5")
        assert read_tags(tmp_path / "train.h5") == SOURCED
        write_tags(replace(SOURCED, rows=dict(reversed(ROWS.items()))), tmp_path / "other.h5")
        assert (tmp_path / "train.h5").read_bytes() == (tmp_path / "other.h5").read_bytes()

    def test_an_empty_one_too(self, tmp_path):
        write_tags(SourcedTags(NAMES, True), tmp_path / "train.h5")
        assert read_tags(tmp_path / "train.h5") == SourcedTags(NAMES, True)

    def test_as_json_it_meets_its_schema(self, tmp_path):
        write_tags_json(SOURCED, tmp_path / "train.json")
        raw = json.loads((tmp_path / "train.json").read_text())
        assert schema_fault(raw, "tags") == ""
        assert raw["tags"][1] == {"clip": "ü", "frame": None, "classes": ["dog"], "source": "folders"}

    @pytest.mark.parametrize(
        ("harm", "told"),
        [
            (lambda file: file.attrs.__delitem__("sha256"), r"digest differs or is missing"),
            (lambda file: file.attrs.__setitem__("complete", "true"), r"digest differs or is missing"),
            (lambda file: file.attrs.__setitem__("schema_version", 9), r"version 9 with columns"),
            (lambda file: file.__setitem__(0, ("a", "b", 9, "voc")), r"digest differs or is missing"),
            (lambda file: file.file.move("tags", "clicks"), r"is no table of tags \(.*no dataset 'tags'"),
        ],
    )
    def test_what_was_changed_is_one_error(self, tmp_path, harm, told):
        path = tmp_path / "train.h5"
        write_tags(SOURCED, path)
        with h5py.File(path, "a") as file:
            harm(file["tags"])
        with pytest.raises(InputError, match=rf"train\.h5: .*{told}.*make it again with `weclick tags`"):
            read_tags(path)

    @pytest.mark.parametrize(
        ("rows", "told"),
        [
            ({("a", ""): frozenset([3])}, "has no class of its 3"),
            ({("a", ""): frozenset([255])}, "has no class of its 3"),
        ],
    )
    def test_a_class_that_is_none_is_told(self, tmp_path, rows, told):
        write_tags(replace(SOURCED, rows=rows, sources=dict.fromkeys(rows, "voc")), tmp_path / "t.h5")
        with pytest.raises(InputError, match=rf"t\.h5: is no table of tags .*{told}"):
            read_tags(tmp_path / "t.h5")

    def test_a_source_that_is_none_is_told(self, tmp_path):
        rows = {("a", ""): frozenset([1])}
        write_tags(SourcedTags(NAMES, True, rows, sources={("a", ""): "guess"}), tmp_path / "t.h5")
        with pytest.raises(InputError, match="comes from 'guess', expected one of labels, file"):
            read_tags(tmp_path / "t.h5")

    @pytest.mark.parametrize("content", [b"", b"\x89HDF\r\n\x1a\n", b"no HDF5 at all" * 99])
    def test_what_is_no_hdf5_is_told(self, tmp_path, content):
        (tmp_path / "t.h5").write_bytes(content)
        with pytest.raises(InputError, match=r"t\.h5: is no table of tags"):
            read_tags(tmp_path / "t.h5")

    def test_a_file_cut_short_is_told(self, tmp_path):
        write_tags(SOURCED, tmp_path / "t.h5")
        content = (tmp_path / "t.h5").read_bytes()
        for length in range(0, len(content), len(content) // 9):
            (tmp_path / "t.h5").write_bytes(content[:length])
            with pytest.raises(InputError, match=r"t\.h5: is no"):
                read_tags(tmp_path / "t.h5")

    @pytest.mark.parametrize("seed", range(40))
    def test_flipped_bytes_are_told_or_change_nothing(self, tmp_path, seed):
        rng = random.Random(seed)
        write_tags(SOURCED, tmp_path / "t.h5")
        content = bytearray((tmp_path / "t.h5").read_bytes())
        for _ in range(rng.choice([1, 20])):
            content[rng.randrange(len(content))] ^= rng.randrange(1, 256)
        (tmp_path / "t.h5").write_bytes(content)
        refusal = ""
        try:
            assert read_tags(tmp_path / "t.h5") == SOURCED
        except InputError as error:
            refusal = str(error)
        assert not refusal or "t.h5: " in refusal

    def test_a_missing_one_is_told(self, tmp_path):
        with pytest.raises(InputError, match=r"t\.h5: there is no such table of tags; make it"):
            read_tags(tmp_path / "t.h5")
