import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from weclick.cli.log_file import _Tee, open_log
from weclick.common.errors import InputError

WITH_A_BAR = """
import sys, time, warnings
from pathlib import Path
from weclick.cli.log_file import open_log
from weclick.common.progress import progress_bar

open_log(Path(sys.argv[1]))
print("a terminal:", sys.stderr.isatty(), sys.stderr.fileno(), file=sys.stderr)
with progress_bar("flow", 3, "pairs") as bar:
    for i in range(3):
        time.sleep(0.2)
        warnings.warn(f"pair {i}")
        bar.advance()
"""

WITH_A_CRASH = """
import ctypes, sys
from pathlib import Path
from weclick.cli.log_file import open_log

def reads_nowhere():
    ctypes.string_at(0)

open_log(Path(sys.argv[1]))
reads_nowhere()
"""


def weclick(*words, **environment) -> subprocess.CompletedProcess:
    return subprocess.run(
        [Path(sys.executable).with_name("weclick"), *map(str, words)],
        env={**os.environ, **environment},
        text=True,
        capture_output=True,
    )


def on_a_terminal(*command) -> str:
    """What a command shows on a terminal of its own."""
    here, there = pty.openpty()
    terminal = {**os.environ, "TERM": "xterm"}
    with subprocess.Popen(command, stdin=there, stdout=there, stderr=there, env=terminal):
        os.close(there)
        shown = b""
        try:
            while more := os.read(here, 4096):
                shown += more
        except OSError:  # how Linux says that the other end is closed
            pass
    os.close(here)
    return shown.decode()


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def test_a_failed_job_leaves_its_error_in_the_log(tmp_path):
    log, config = tmp_path / "logs" / "a b.log", json.dumps({"data": {"toy": {"height": -1}}})
    silent, told = (weclick(*words, "toy", "--config", config) for words in ((), ("--log", log)))
    assert silent.returncode == told.returncode == 1
    assert told.stderr == silent.stderr
    begins, version, *said, ends = lines(log)
    assert f"begins: weclick --log '{log}' toy --config '{config}'" in begins
    assert "weclick 0." in version
    assert said == told.stderr.splitlines()
    assert said[0].startswith("weclick: error: ")
    assert "ends after " in ends
    weclick("--log", log, "toy", "--config", config)
    assert lines(log)[:4] == [begins, version, *said], "a second try erases nothing of the first"
    assert len(lines(log)) > 2 * len(said)


def test_tracebacks_stand_in_the_log(tmp_path):
    log = tmp_path / "toy.log"
    weclick("--log", log, "toy", "--config", "none.yaml", WECLICK_TRACEBACK="1")
    assert "Traceback (most recent call last):" in lines(log)
    assert "ends after " in lines(log)[-1]


def test_so_does_the_stack_of_a_native_crash(tmp_path):
    crashed = subprocess.run([sys.executable, "-c", WITH_A_CRASH, tmp_path / "log"], capture_output=True)
    assert crashed.returncode != 0
    told = (tmp_path / "log").read_text(encoding="utf-8")
    assert "Fatal Python error: Segmentation fault" in told
    assert "reads_nowhere" in told
    assert "ends after" not in told


def test_a_terminal_keeps_its_bar_and_the_log_is_plain(tmp_path):
    log = tmp_path / "flow.log"
    shown = on_a_terminal(sys.executable, "-c", WITH_A_BAR, log)
    assert shown.count("\x1b[2K") > 3, "the bar is drawn again and again"
    assert "a terminal: True 2" in shown
    told = log.read_text(encoding="utf-8")
    assert not [sign for sign in told if ord(sign) < 32 and sign != "\n"]
    assert "a terminal: True 2" in told
    assert [f"pair {i}" in told for i in range(3)] == [True] * 3
    (bar,) = (line for line in lines(log) if line.startswith("flow"))
    assert " 3/3 " in bar, "its last state alone"


def test_elsewhere_no_bar_is_shown(tmp_path):
    piped = subprocess.run(
        [sys.executable, "-c", WITH_A_BAR, tmp_path / "log"], text=True, capture_output=True, check=True
    )
    assert "a terminal: False 2" in piped.stderr
    assert "pair 2" in piped.stderr
    assert " 3/3 " not in piped.stderr + (tmp_path / "log").read_text(encoding="utf-8")


@pytest.mark.parametrize("log", ["a folder", "a file/log"])
def test_a_log_that_cannot_be_written_is_one_clear_error(tmp_path, log):
    (tmp_path / "a folder").mkdir()
    (tmp_path / "a file").touch()
    failed = weclick("--log", tmp_path / log, "toy", "--config", "{}")
    assert failed.returncode == 1
    assert f"weclick: error: {tmp_path / log}: the log cannot be written (" in failed.stderr
    assert "Traceback" not in failed.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a file that is always full")
def test_a_pipe_without_a_reader_is_told_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="the log cannot be written"):
        open_log(tmp_path / "pipe")


def test_a_full_disk_ends_the_log_and_not_the_job():
    failed = weclick("--log", "/dev/full", "toy", "--config", "none.yaml")
    assert failed.stderr.count("/dev/full: the log ends here (No space left on device)") == 1
    assert "weclick: error: none.yaml: cannot be read" in failed.stderr


@pytest.mark.parametrize(
    ("texts", "told"),
    [
        (["one", "\ntw", "o\n"], "one\ntwo\n"),
        (["with\r\n", "with\r", "\n"], "with\nwith\n"),
        (["10 %\r", "20 %\r", "100 %\n"], "100 %\n"),
        (["\r\x1b[2Ksaid\nbar 1/2", "\r\x1b[2Kbar 2/2\n", "\x1b[?25h", "\n"], "said\nbar 2/2\n"),
        (["\x1b]8;;https://a.b\x07link\x1b]8;;\x1b\\\n", "\x1b[31mred\x1b[0m\ttab\n"], "link\nred\ttab\n"),
        (["above\n", "\n", "below\n"], "above\n\nbelow\n"),
        (["\udcff\n"], "\\udcff\n"),
        (["no end"], ""),
    ],
)
def test_lines_are_whole_and_plain(tmp_path, texts, told):
    stream = io.StringIO()
    file = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    tee = _Tee(stream, tmp_path / "log", file)
    tee.writelines(texts)
    os.close(file)
    assert stream.getvalue() == "".join(texts)
    assert (tmp_path / "log").read_text(encoding="utf-8") == told


def test_a_bar_of_days_takes_no_memory(tmp_path):
    file = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    tee = _Tee(io.StringIO(), tmp_path / "log", file)
    tee.writelines([f"\r\x1b[2K{i} steps" for i in range(1000)])
    os.close(file)
    assert len(tee._begun) < 30
