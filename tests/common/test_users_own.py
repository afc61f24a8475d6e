"""What the tests leave in the folders of whoever runs them: nothing."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("kind", ["cache", "config", "state"])
def test_programs_keep_what_they_remember_in_a_folder_of_the_tests(kind):
    command = f"import platformdirs; print(platformdirs.user_{kind}_dir('snakemake'))"
    done = subprocess.run([sys.executable, "-c", command], text=True, capture_output=True, check=True)
    folder = Path(done.stdout.strip())
    assert not folder.is_relative_to(Path.home())
    assert folder.parent.is_dir()
