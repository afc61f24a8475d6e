"""YAML as people write it: bounds, twins and words, in files of all kinds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from weclick.common.config import ConfigError, complete_config, load_config, load_configs
from weclick.common.errors import InputError
from weclick.common.yaml_files import DEEPEST, MOST_BYTES, Plain, number, parse_yaml, read_yaml, resolved


def bomb(levels: int, kind: str = "list") -> str:
    """A text of a few lines that stands for 9^levels values."""
    inner = {"list": "[{}]", "section": "{{{}}}"}[kind]

    def line(level: int) -> str:
        value = f"*a{level - 1}" if level else "x"
        parts = (f"k{i}: {value}" if kind == "section" else value for i in range(9))
        return f"a{level}: &a{level} {inner.format(', '.join(parts))}\n"

    return "".join(map(line, range(levels)))


class TestBounds:
    @pytest.mark.parametrize("kind", ["list", "section"])
    @pytest.mark.parametrize("levels", [8, 60])
    def test_aliases_that_stand_for_too_much(self, kind, levels):
        with pytest.raises(InputError, match=r"mine: line \d: holds more than 100000 values"):
            parse_yaml(bomb(levels, kind), "mine")

    def test_a_bomb_takes_little_memory(self, tmp_path):
        """A process with 500 MB may read it, and ends with one error."""
        (tmp_path / "bomb.yaml").write_text(bomb(12) + "data: {val_clips: *a11}\n")
        code = (
            "import resource; resource.setrlimit(resource.RLIMIT_AS, (500 * 2**20,) * 2)\n"
            "from weclick.common.config import load_config; load_config('bomb.yaml')"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60
        )
        assert "ConfigError: bomb.yaml: line 6: holds more than" in done.stderr

    def test_merges_of_merges(self):
        lines = ["m0: &m0 {k: v}"]
        lines += [f"m{i}: &m{i} {{<<: [*m{i - 1}, *m{i - 1}, *m{i - 1}], k{i}: v}}" for i in range(1, 40)]
        with pytest.raises(InputError, match="holds more than"):
            parse_yaml("\n".join(lines), "mine")

    @pytest.mark.parametrize("text", ["[" * 5000, "{a: " * 5000, '{"a": ' * 5000 + "1" + "}" * 5000])
    def test_what_is_nested_deep(self, text):
        with pytest.raises(
            InputError, match=rf"nested more than {DEEPEST} levels deep|maximum nesting depth"
        ):
            parse_yaml(text, "mine")

    def test_a_file_that_is_too_large(self, tmp_path):
        with (tmp_path / "large.yaml").open("wb") as file:
            file.truncate(MOST_BYTES + 1)
        with pytest.raises(InputError, match=r"large\.yaml: holds \d+ bytes, expected at most"):
            read_yaml(tmp_path / "large.yaml")

    def test_what_is_no_file(self, tmp_path):
        os.mkfifo(tmp_path / "pipe.yaml")
        for path in (tmp_path, tmp_path / "pipe.yaml", Path("/dev/zero")):
            with pytest.raises(InputError, match="it is no regular file"):
                read_yaml(path)

    @pytest.mark.parametrize("tag", ["!!python/object/apply:os.system", "!!python/name:os.system", "!mine"])
    @pytest.mark.parametrize("value", ["[ls]", "{a: b}", "ls"])
    def test_tags_are_refused(self, tag, value):
        with pytest.raises(InputError, match=r"line 2: the tag .* is not read"):
            parse_yaml(f"a: 1\nb: {tag} {value}\n", "mine")

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("a: 1\n---\na: 2\n", "line 2: a second document begins"),
            ("a: *b\n", r"line 1: \*b stands for nothing that came before; put quotes around"),
            ("? [a]\n: b\n", "a section or list stands where a key is expected"),
            ("a: &a [*a]\n", "a section holds itself"),
            ("a: \t- b\n\tc", "cannot be read as YAML"),
            ("a: {<<: 3}\n", "<< takes a section"),
        ],
    )
    def test_what_is_no_configuration(self, text, told):
        with pytest.raises(InputError, match=f"mine: .*{told}"):
            parse_yaml(text, "mine")


class TestTwins:
    TWO = "student: {steps: 3}\nseed: 1\nstudent: {steps: 4}\n"

    def test_a_key_that_stands_twice_is_an_error_with_both_lines(self, tmp_path):
        (tmp_path / "c.yaml").write_text(self.TWO)
        with pytest.raises(
            ConfigError, match=r"c\.yaml: line 3: 'student' stands twice .* line 1 and on line 3; keep one"
        ):
            load_config(tmp_path / "c.yaml")

    @pytest.mark.parametrize(
        "text", ["a:\n  b: {c: 1,\n  c: 2}", "- {b: 1,\n   b: 1}", '{"a": {"b": 1,\n"b": 2}}', "'a': 1\na: 2"]
    )
    def test_also_inside_of_sections_and_in_json(self, text):
        with pytest.raises(InputError, match="stands twice in one section, on line"):
            parse_yaml(text, "mine")

    def test_one_key_in_two_sections_is_no_twin(self):
        assert parse_yaml("a: {c: 1}\nb: {c: 1}", "mine") == {"a": {"c": "1"}, "b": {"c": "1"}}

    def test_a_key_beside_a_merged_section_wins(self):
        text = "a: &a {c: 1, d: 2}\nb: {<<: *a, c: 3}"
        assert parse_yaml(text, "mine")["b"] == {"c": "3", "d": "2"}

    def test_every_file_of_several_is_looked_at(self, tmp_path):
        (tmp_path / "a.yaml").write_text("seed: 1\nstudent: {steps: 3, crop: [48, 64]}\n")
        (tmp_path / "b.yaml").write_text("student: {steps: 5}\n")
        files = [tmp_path / "a.yaml", tmp_path / "b.yaml"]
        merged = load_configs(files, {"student": {"crop": ["32", "32"]}})
        assert (merged["seed"], merged["student"]["steps"], merged["student"]["crop"]) == (1, 5, [32, 32])
        (tmp_path / "a.yaml").write_text(self.TWO)
        with pytest.raises(ConfigError, match=r"a\.yaml: line 3: 'student' stands twice"):
            load_configs(files, {})


class TestWords:
    @pytest.mark.parametrize(
        "word", ["no", "on", "yes", "off", "true", "y", "1.10", "010", "1:30", "0x10", "1_000", "2024-01-01"]
    )
    def test_names_are_kept_as_they_were_written(self, word):
        given = load_config(f"{{data: {{val_clips: [{word}, '{word}']}}}}")
        assert given["data"]["val_clips"] == [word, word]
        assert type(given["data"]["val_clips"][0]) is str

    @pytest.mark.parametrize("word", ["no", "on", "1.10", "2024-01-01", "010"])
    def test_splits_too(self, word):
        text = f"data: {{train: {word}, toy: {{clips: {{{word}: 1, val: 1}}}}}}"
        data = complete_config(parse_yaml(text, "mine"))["data"]
        assert (data["train"], data["toy"]["clips"]) == (word, {word: 1, "val": 1})

    @pytest.mark.parametrize("word", ["null", "~", ""])
    def test_null_as_a_name_wants_quotes(self, word):
        with pytest.raises(ConfigError, match=r"which is not of type 'string'; .*put quotes around it"):
            load_config(f"{{data: {{train: {word}}}}}")

    @pytest.mark.parametrize("word", ["no", "true"])
    def test_a_switch_is_no_path(self, word):
        with pytest.raises(ConfigError, match=r"student\.pretrained: .* put quotes around it"):
            load_config(f"{{student: {{pretrained: {word}}}}}")

    def test_null_where_it_is_allowed(self):
        for text in ("null", "~", "", "Null"):
            assert load_config(f"{{student: {{pretrained: {text}}}}}")["student"]["pretrained"] is None
        assert load_configs([], {"student": {"pretrained": "null"}})["student"]["pretrained"] is None

    @pytest.mark.parametrize("word", ["yes", "On", "TRUE", "true"])
    def test_switches(self, word):
        assert load_config(f"{{student: {{deterministic: {word}}}}}")["student"]["deterministic"] is True

    def test_options_of_an_estimator_are_what_they_look_like(self):
        text = "flow: {options: {a: 3, b: 0.5, c: true, d: medium, e: '3', f: 1e-3, g: [1, x], h: 010}}"
        assert complete_config(parse_yaml(text, "mine"))["flow"]["options"] == {
            "a": 3, "b": 0.5, "c": True, "d": "medium", "e": "3", "f": 0.001, "g": [1, "x"], "h": "010",
        }  # fmt: skip


class TestNumbers:
    @pytest.mark.parametrize(
        "text", ["4000", "4.0e+3", "4e3", "4000.0", "4_000", "4__000_", "0xfa0", "0xf_a0", "+4000"]
    )
    def test_whole_numbers_in_all_spellings(self, text):
        steps = load_config(f"{{student: {{steps: {text}}}}}")["student"]["steps"]
        assert (steps, type(steps)) == (4000, int)

    @pytest.mark.parametrize("text", ["010", "1:30", "-010", "1:30:00"])
    @pytest.mark.parametrize("key", ["steps", "learning_rate"])
    def test_what_readers_of_yaml_disagree_on_is_an_error(self, key, text):
        for given in (text, f"'{text}'"):
            with pytest.raises(ConfigError, match="write it without a leading 0 or ':'"):
                load_config(f"{{student: {{{key}: {given}}}}}")

    @pytest.mark.parametrize("text", ["2024-01-01", "1.5", "many", "1,000", "١٢", "1e400"])
    def test_what_is_no_whole_number(self, text):
        with pytest.raises(ConfigError, match=r"student\.steps: .* is not of type 'integer'"):
            load_config(f"{{student: {{steps: '{text}'}}}}")

    @pytest.mark.parametrize("text", ["9" * 5000, "9" * 350, "0x" + "f" * 5000, "1e999"])
    def test_numbers_that_no_float_holds(self, text):
        for given in (f"{{seed: {text}}}", f'{{"gated_crf": {{"weight": {text}}}}}'):
            with pytest.raises(ConfigError, match=r"seed|gated_crf"):
                load_config(given)

    @pytest.mark.parametrize(
        ("text", "value"),
        [("1", 1), ("1.0", 1.0), ("1e-3", 1e-3), (".5", 0.5), ("5.", 5.0), ("-1_0.5", -10.5), ("0b1", None)],
    )
    def test_number(self, text, value):
        assert number(text) == value
        assert type(number(text)) is type(value)

    def test_an_int_of_a_file_stays_one_where_numbers_are_wanted(self):
        """Keys of networks hold these numbers as they were written before."""
        rate = load_config("{student: {learning_rate: 1}}")["student"]["learning_rate"]
        assert type(rate) is int


def test_class_weights():
    weights = [
        load_config(f"{{partial_cross_entropy: {{class_weights: {text}}}}}")
        for text in ("[1, 2e0]", "balanced")
    ]
    assert [given["partial_cross_entropy"]["class_weights"] for given in weights] == [[1, 2.0], "balanced"]
    for text in ("[1, 010]", "[a]", "balance", "2", "[-1]"):
        with pytest.raises(ConfigError, match=r"partial_cross_entropy\.class_weights"):
            load_config(f"{{partial_cross_entropy: {{class_weights: {text}}}}}")


def test_texts_of_json_are_exact():
    text = '{"a": "\\ud83d\\ude00", "b": "caf\\udce9", "c": 1e-05, "d": null}'
    assert parse_yaml(text, "mine") == {"a": "\U0001f600", "b": "caf\udce9", "c": 1e-05, "d": None}


def test_a_tag_of_yaml_itself_is_read():
    assert parse_yaml("[!!str 1, !!int 2, !!null x]", "mine") == ["1", "2", "x"]
    assert [type(value) for value in parse_yaml("[!!str 1, !!int 2]", "mine")] == [str, Plain]
    assert resolved(parse_yaml("[!!str 1, !!int 2]", "mine")) == ["1", 2]


def test_a_byte_order_mark_is_no_part_of_a_key(tmp_path):
    (tmp_path / "c.yaml").write_bytes(b"\xef\xbb\xbfseed: 3\n")
    assert load_config(tmp_path / "c.yaml")["seed"] == 3


def test_a_file_in_latin_1_is_told(tmp_path):
    (tmp_path / "c.yaml").write_bytes("results: grün\n".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"c\.yaml: cannot be read as YAML .* save it as UTF-8"):
        load_config(tmp_path / "c.yaml")
