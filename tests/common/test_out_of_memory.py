"""A lack of memory ends in one sentence."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from weclick.cli import main
from weclick.common.errors import out_of_memory


@pytest.mark.parametrize(
    "take", [lambda: bytearray(2**60), lambda: np.empty(2**55), lambda: torch.empty(2**55)]
)
def test_it_is_known_by_what_was_raised(take):
    with pytest.raises((MemoryError, RuntimeError)) as raised:
        take()
    assert str(out_of_memory(raised.value)).startswith("there is not enough memory (")


@pytest.mark.parametrize("error", [ValueError("out of memory"), RuntimeError("no"), OSError(12, "x")])
def test_other_errors_are_other_errors(error):
    assert out_of_memory(error) is None


def test_a_verb_shows_no_password_and_no_traceback(tmp_path, monkeypatch, capsys):
    config = tmp_path / "config.yaml"
    config.write_text("cache: {s3: {endpoint_url: 'https://me:hidden@host'}}\n")
    monkeypatch.setattr("sys.argv", ["weclick", "cache", "ls", "--config", str(config)])
    with pytest.raises(SystemExit) as ended:
        main()
    told = capsys.readouterr().err
    assert ended.value.code == 1
    assert "cache.s3.endpoint_url: holds a password or a key" in told
    assert "hidden" not in told
