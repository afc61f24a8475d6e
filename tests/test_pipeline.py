"""The rules, as Snakemake reads them: each has a log, and the code of its verb in its digest."""

import ast
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from string import Formatter
from types import SimpleNamespace

import pytest

from helpers.places import ROOT
from helpers.workflow import Rule, load_rules
from weclick.common import code_digest as digests
from weclick.common.code_digest import imported_modules
from weclick.common.stages import METHODS, STEPS

COMPUTES_NOTHING = tuple(
    f"weclick.{name}."
    for name in (
        *("cli", "common", "store", "train.watch"),
        *("runs.cost", "runs.metered", "runs.layout", "runs.wanted"),
    )
)
"""What only opens, checks, shows, keeps, meters and asks: no stage runs again for an edit there."""
ONLINE = {"student": {"online": {"teacher": "a teacher.safetensors"}}}
OF_CLICKS = {"weclick.manifest.annotation"}
OF_TAGS = {"weclick.clicks.tags", "weclick.manifest.tagged"}
"""What a training imports to learn from clicks and masks, or from tags."""
QUOTED = {"params.data", "params.manifests", "params.made_from", "params.optional"}
"""Texts of many words, whose words are quoted already."""


@pytest.fixture
def load(monkeypatch):
    """Reads the rules with the names of modules in the place of their digest."""
    monkeypatch.setattr(digests, "code_digest", lambda *modules: " ".join(modules))
    monkeypatch.setenv("WECLICK_COMMAND", "pytest")  # which the workflow would set for good

    def with_a_shell(root=ROOT, **config) -> dict[str, Rule]:
        return {name: rule for name, rule in load_rules(root, **config).items() if rule.shellcmd}

    return with_a_shell


def verb_of(rule: Rule) -> str:
    """The verb in `weclick --log FILE <verb> ...`."""
    program, option, _, verb, *_ = rule.shellcmd.split()
    assert (program, option) == ("weclick", "--log")
    return verb


def test_every_rule_has_a_log_of_its_own(load):
    rules = load(results="my results")
    assert rules.keys() >= {"toy", "flow_shard", "teacher", "lock", "experiment_student", "ablation"}
    for name, rule in rules.items():
        (log,) = map(str, rule.log)
        assert log.startswith((f"my results/logs/{name}.log", f"my results/logs/{name}/"))
        assert log.endswith(".log")
        assert "--log {log:q} " in rule.shellcmd


def test_a_verb_has_one_shell_line_whose_fields_are_quoted(load):
    lines: dict[str, set[str]] = {}
    for rule in load().values():
        lines.setdefault(verb_of(rule), set()).add(rule.shellcmd)
    for verb, (line, *others) in lines.items():
        assert not others, f"{verb} is spelled twice"
        fields = {name: spec for _, name, spec, _ in Formatter().parse(line) if name}
        assert {name for name, spec in fields.items() if spec != "q"} <= QUOTED, verb


def bare_fields(source: str) -> Iterator[str]:
    """What a rule file gives to a shell without quotes: bare fields, and lines that are not literal texts."""
    for block in re.findall(r"(?m)^ *shell:\s*\n((?:^ {8,}.*\n?)+)|^ *shell: *(\S.*)$", source):
        text = "".join(block)
        try:
            line = ast.literal_eval(f"({text})")
        except (ValueError, SyntaxError):
            yield text.strip()
            continue
        fields = [(name, spec) for _, name, spec, _ in Formatter().parse(line) if name is not None]
        yield from (name for name, spec in fields if spec != "q" and name not in QUOTED)


def rule_files() -> list[Path]:
    return [ROOT / "Snakefile", *sorted((ROOT / "pipeline").rglob("*.smk"))]


@pytest.mark.parametrize("path", rule_files(), ids=lambda path: path.stem)
def test_all_that_reaches_a_shell_is_quoted(path):
    source = path.read_text(encoding="utf-8")
    assert list(bare_fields(source)) == []
    others = r"(?m)^ *(run|script|notebook|wrapper):|\bshell\(|os\.system|subprocess|Popen"
    assert not re.search(others, source), "a command that this test does not read"


@pytest.mark.parametrize(
    "lines",
    [
        '"weclick {wildcards.split} --output {output:q}"',
        '"weclick {input}"',
        '"weclick {config[device]}"',
        '"weclick {params.folder:s}"',
        'f"weclick {RESULTS}"',
        '"weclick %s" % RESULTS',
        '"weclick " + RESULTS',
        '"weclick {}".format(RESULTS)',
        '"weclick {output:q}"\n        f" {RESULTS}"',
    ],
)
def test_a_bare_field_is_found(lines):
    assert list(bare_fields(f"rule x:\n    output:\n        'a',\n    shell:\n        {lines}\n"))
    if "\n" not in lines:
        assert list(bare_fields(f"rule x:\n    shell: {lines}\n"))


def test_the_texts_of_many_words_quote_each_of_them():
    """QUOTED names parameters that only `flags` and `training_data` and their like may make."""
    source = "".join(path.read_text(encoding="utf-8") for path in rule_files())
    makers = set(
        re.findall(r"(?m)^ +(?:data|manifests|made_from)=(?:lambda wildcards, input: )?(\w+)", source)
    )
    assert makers - {"shards_of", "fed_shards", "rules"} == {
        "flags",
        "instances_made_from",
        "labels_made_from",
        "maps_made_from",
        "proxies_made_from",
        "scored_data",
        "training_data",
        "timed_data",
    }


@pytest.mark.parametrize("name", ["a b", "a'b", "$(touch x)", "-x", "a;b", "a\nb", "grün", 'a"b', "run[1]"])
def test_flags_survive_a_shell(load, name):
    made = load_rules(ROOT)["clicks"].params["manifests"](None, SimpleNamespace(manifests=[name, "b"]))
    told = subprocess.run(["sh", "-c", f"printf '%s\\0' {made}"], capture_output=True, check=True).stdout
    assert told.decode().split("\0") == ["--manifest", name, "--manifest", "b", ""]


@pytest.mark.parametrize(
    ("cams", "by_tags", "weights"),
    [
        ({}, True, []),
        ({"source": "imagenet"}, False, []),
        ({"source": "imagenet", "pretrained": "README.md"}, False, ["README.md"]),
        ({"sources": {"sky": "imagenet", "car": "none"}, "pretrained": "README.md"}, True, ["README.md"]),
        ({"source": "iconic", "iconic": "docs", "pretrained": "README.md"}, False, ["README.md"]),
        ({"source": "iconic", "iconic": "docs", "sources": {"car": "tags"}}, True, []),
    ],
)
def test_maps_are_made_by_the_classifier_or_by_given_weights(load, monkeypatch, cams, by_tags, weights):
    monkeypatch.chdir(ROOT)
    rule = load_rules(ROOT, method="f2f", cams=cams)["cams_shard"]
    classifier = ["results/classifier/model.safetensors"] if by_tags else []
    assert [str(path) for path in rule.input] == [
        "results/manifest/train/{shard}.json",
        "results/tags/train.h5",
        *classifier,
        *weights,
    ]
    made = SimpleNamespace(classifier=classifier[0] if by_tags else [])
    told = "--classifier results/classifier/model.safetensors" if by_tags else ""
    assert rule.params["made_from"](SimpleNamespace(), made) == told


def test_maps_are_made_anew_when_iconic_images_change(load, tmp_path):
    def sign(**cams):
        rule = load_rules(ROOT, method="f2f", cams=cams, results=str(tmp_path / "results"))["cams_shard"]
        return rule.params["files"](SimpleNamespace())

    iconic, signs = {"source": "iconic", "iconic": str(tmp_path / "iconic")}, [sign()]
    (tmp_path / "iconic/car").mkdir(parents=True)
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / "iconic/car" / name).write_bytes(b"1")
        signs.append(sign(**iconic))
    assert (signs[0], len(set(signs))) == ("", 3)


def functions_of(verb: str) -> Iterator[tuple[ast.FunctionDef, ast.Module]]:
    """A verb's function in weclick/cli and the ones there that it calls, each with its file."""
    files = sorted((ROOT / "weclick" / "cli").glob("*.py"))
    trees = {f"weclick.cli.{path.stem}": ast.parse(path.read_text(encoding="utf-8")) for path in files}
    waiting = [
        (tree, each) for tree in trees.values() for each in functions_in(tree) if verb in verbs_of(each)
    ]
    done: set[str] = set()
    while waiting:
        tree, function = waiting.pop()
        done.add(function.name)
        yield function, tree
        yield from asked_by(function)
        calls = (node for node in ast.walk(function) if isinstance(node, ast.Call))
        called = {call.func.id for call in calls if isinstance(call.func, ast.Name)} - done
        imports = (node for node in tree.body if isinstance(node, ast.ImportFrom))
        shared = [trees[node.module] for node in imports if node.module in trees.keys() - {"weclick.cli.app"}]
        waiting += [
            (home, each) for home in (tree, *shared) for each in functions_in(home) if each.name in called
        ]


def functions_in(tree: ast.Module) -> list[ast.FunctionDef]:
    return [node for node in tree.body if isinstance(node, ast.FunctionDef)]


def asked_by(function: ast.FunctionDef) -> Iterator[tuple[ast.FunctionDef, ast.Module]]:
    """The methods of `Wanted` that a verb's function uses, and those that they use."""
    tree = ast.parse((ROOT / "weclick" / "runs" / "wanted.py").read_text(encoding="utf-8"))
    (wanted,) = (node for node in tree.body if isinstance(node, ast.ClassDef))
    methods = {node.name: node for node in wanted.body if isinstance(node, ast.FunctionDef)}
    if wanted.name not in {node.id for node in ast.walk(function) if isinstance(node, ast.Name)}:
        return
    waiting, done = {function.name: function}, set()
    while waiting:
        _, user = waiting.popitem()
        used = {node.attr for node in ast.walk(user) if isinstance(node, ast.Attribute)}
        for name in (used & methods.keys()) - done:
            done.add(name)
            waiting[name] = methods[name]
            yield methods[name], tree


def verbs_of(function: ast.FunctionDef) -> list[str]:
    """The verbs that `@app.command()` makes of a function."""
    calls = [node for node in function.decorator_list if isinstance(node, ast.Call)]
    names = [call.args[0].value if call.args else function.name for call in calls if is_command(call)]
    return [name.replace("_", "-") for name in names]


def is_command(call: ast.Call) -> bool:
    return ast.unparse(call.func) == "app.command"


@cache
def computing_modules(verb: str) -> frozenset[str]:
    """The modules that a verb imports, inside its functions or for them, to compute its result."""
    found = set()
    for function, file in functions_of(verb):
        used = {node.id for node in ast.walk(function) if isinstance(node, ast.Name)}
        for node in (*ast.walk(function), *file.body):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("weclick."):
                names = [alias.name for alias in node.names if (alias.asname or alias.name) in used]
                found |= {digests._home(node.module or "", name) for name in names}
    assert found, f"there is no verb {verb}, or it imports nothing"
    return frozenset(module for module in found if not f"{module}.".startswith(COMPUTES_NOTHING))


def not_asked_for(rule: Rule, online: bool) -> set[str]:
    """What a training verb imports for the sake of options that the rule does not give."""
    left_out = set()
    if verb_of(rule) == "student" and "made" not in rule.wildcard_names:
        left_out.add("weclick.runs.experiment.pace")
    if verb_of(rule) != "student" or not online:
        left_out.add("weclick.train.online")
    if verb_of(rule) != "detector":
        left_out.add("weclick.runs.consist")
    if verb_of(rule) == "evaluate":  # of a student; LAST says which network a run scores
        left_out.add("weclick.evaluate.instances.stage")
    if verb_of(rule) in ("relation", "detector"):
        return left_out | OF_CLICKS | OF_TAGS
    return left_out | (OF_CLICKS if verb_of(rule) == "classifier" else OF_TAGS)


def code_of(rule: Rule) -> str:
    """What its digest is of. Where the job of an experiment tells, it is that of the run's own method."""
    code = rule.params.get("code", "")
    return code(None) if callable(code) else code


def uncovered(rules: dict[str, Rule], online: bool = False) -> dict[str, set[str]]:
    """Rule -> the modules its verb computes with that its digest does not see; only rules that lack some."""
    lacking = {}
    for name, rule in rules.items():
        needed = computing_modules(verb_of(rule)) - not_asked_for(rule, online)
        lacking[name] = needed - imported_modules(*code_of(rule).split())
    return {name: modules for name, modules in lacking.items() if modules}


@pytest.mark.parametrize("method", METHODS)
def test_the_code_of_a_step_is_a_text_that_a_lock_can_hold(load, method):
    rules = load(method=method)
    assert all(isinstance(rules[step.rule].params.code, str) for step in STEPS)


@pytest.mark.parametrize("config", [{}, ONLINE], ids=["stored", "online"])
def test_the_digest_of_a_rule_sees_what_its_verb_computes_with(load, config):
    assert uncovered(load(**config), online=bool(config)) == {}


@pytest.mark.parametrize(
    ("file", "right", "wrong", "lacking"),
    [
        ("flow", "weclick.flow.stage", "weclick.flow.dis", {"flow_shard", "experiment_flow"}),
        (
            "manifest",
            "weclick.datasets.findings",
            "weclick.datasets",
            {"manifest_shard", "experiment_manifest"},
        ),
        ("clicks", ', "weclick.manifest.manifest_file"', "", {"clicks", "experiment_clicks"}),
        (
            "teacher",
            "weclick.train.stage",
            "weclick.train.loop",
            {"teacher", "teacher_of_seed", "experiment_teacher"},
        ),
        ("student", "weclick.train.online", "weclick.train.log", {"student", "experiment_student"}),
        (
            "experiment",
            'STUDENT_CODE, "weclick.runs.experiment.pace"',
            "STUDENT_CODE",
            {"experiment_student"},
        ),
        ("experiment", '"weclick.runs.experiment.files"', '"weclick.runs.lock"', {"experiment_summary"}),
        ("ablation", "weclick.runs.experiment.files", "weclick.runs.ablation", {"ablation_summary"}),
        ("report", "weclick.runs.report", "weclick.runs.lock", {"report", "ablation"}),
    ],
    ids=["flow", "manifest", "clicks", "teacher", "student", "time", "experiment", "ablation", "report"],
)
def test_a_rule_that_names_the_wrong_module_is_found(load, tmp_path, file, right, wrong, lacking):
    for name in ("pipeline", "config"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copy(ROOT / "Snakefile", tmp_path)
    rules = tmp_path / "pipeline" / "rules" / f"{file}.smk"
    text = rules.read_text(encoding="utf-8")
    assert right in text
    rules.write_text(text.replace(right, wrong), encoding="utf-8")
    assert uncovered(load(tmp_path, **ONLINE), online=True).keys() == lacking
