"""The environment in which tests run, whatever that of the user is: it names nothing of theirs."""

import os
import tempfile

USERS_OWN = ("WECLICK_", "AWS_", "BOTO_", "SNAKEMAKE_", "SLURM_", "LC_", "XDG_")
"""Variables that begin so change what weclick, or a program that it calls, reads and writes."""

ALSO = ("LANG", "LANGUAGE", "LOCAL_RANK", "FORCE_COLOR", "NO_COLOR", "COLUMNS", "PYTHONIOENCODING")
PROXIES = tuple(f"{scheme}_proxy" for scheme in ("http", "https", "all", "no"))
UMASK = 0o022
HOMES = ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME")
_kept = tempfile.TemporaryDirectory(prefix="weclick-tests-", ignore_cleanup_errors=True)


def clean_environment() -> None:
    """Take away what is the user's own, for this process and all that it starts.

    Call it before any test. Workers of pytest-xdist inherit it, so their encoding is UTF-8, too.
    """
    for name in tuple(os.environ):
        if name.startswith(USERS_OWN) or name in ALSO or name.lower() in PROXIES:
            del os.environ[name]
    os.environ.update(dict.fromkeys(HOMES, _kept.name))  # a Snakemake that is killed leaves its cache behind
    os.environ["LC_ALL"] = "C.UTF-8"
    os.environ["AWS_CONFIG_FILE"] = os.environ["AWS_SHARED_CREDENTIALS_FILE"] = os.devnull
    os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
    os.umask(UMASK)
