"""`weclick --version` tells the version at once."""

import subprocess
import sys

from typer.testing import CliRunner

import weclick
from weclick import cli

HEAVY = {"torch", "numpy", "torchvision", "zarr", "h5py", "av", "cv2", "scipy", "matplotlib", "tensorstore"}


def test_it_loads_nothing_heavy():
    code = (
        "import sys; sys.argv = ['weclick', '--version']\n"
        "from weclick.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: print(end.code)\n"
        "print(*{name.partition('.')[0] for name in sys.modules})\n"
    )
    done = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, check=True)
    said, status, loaded = done.stdout.splitlines()
    assert said == f"weclick {weclick.__version__}"
    assert status == "0"
    assert not HEAVY & set(loaded.split())


def test_python_m_weclick_is_the_same_command(tmp_path):
    def told(*words, **more):
        return subprocess.run(
            [sys.executable, "-m", "weclick", *words], text=True, capture_output=True, **more
        )

    assert told("--version").stdout == f"weclick {weclick.__version__}\n"
    failed = told("inspect", "none", cwd=tmp_path)
    assert (failed.returncode, failed.stderr.count("weclick: error: none: ")) == (1, 1)


def test_verbs_are_not_built_for_it_and_the_rest_of_the_line_does_not_count():
    words = ["--version", "no-such-verb"]
    app = cli.app_for(words)
    assert app.registered_commands == []
    told = CliRunner().invoke(app, words)
    assert (told.exit_code, told.output) == (0, f"weclick {weclick.__version__}\n")


def test_it_stands_in_the_help_and_after_other_options(tmp_path):
    assert "--version" in CliRunner().invoke(cli.app, ["--help"], terminal_width=200).output
    log = tmp_path / "run.log"
    told = CliRunner().invoke(cli.app, ["--log", str(log), "--version"])
    assert (told.exit_code, told.output) == (0, f"weclick {weclick.__version__}\n")
    assert not log.exists()
