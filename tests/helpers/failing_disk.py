"""A disk that fails now and then: a library, loaded before all others, lets some calls of the system fail."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = r"""
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static pthread_mutex_t one = PTHREAD_MUTEX_INITIALIZER;
static unsigned drawn;

/* 1 and errno, with the wanted probability, for a path below FAIL_BELOW */
static int fails(const char *path) {
    const char *below = getenv("FAIL_BELOW");
    if (!below || !path || strncmp(path, below, strlen(below))) return 0;
    pthread_mutex_lock(&one);
    drawn = (drawn ? drawn : (unsigned)atoi(getenv("FAIL_SEED")) * 2654435761u + 1) * 1103515245u + 12345u;
    double chance = ((drawn >> 8) & 0xffff) / 65536.0;
    pthread_mutex_unlock(&one);
    if (chance >= atof(getenv("FAIL_SHARE"))) return 0;
    errno = atoi(getenv("FAIL_ERRNO"));
    return 1;
}

static const char *path_of(int file, char *name) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, name, 4095);
    name[length < 0 ? 0 : length] = 0;
    return name;
}

#define REAL(type, name, ...) \
    static type (*real)(__VA_ARGS__); \
    if (!real) real = (type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)
#define MODE(flags) \
    mode_t mode = 0; \
    if ((flags) & (O_CREAT | O_TMPFILE)) { \
        va_list rest; va_start(rest, flags); mode = va_arg(rest, mode_t); va_end(rest); \
    }
#define OPEN(name) int name(const char *path, int flags, ...) { \
    REAL(int, name, const char *, int, ...); MODE(flags) \
    return fails(path) ? -1 : real(path, flags, mode); }
#define OPENAT(name) int name(int folder, const char *path, int flags, ...) { \
    REAL(int, name, int, const char *, int, ...); MODE(flags) \
    return fails(path) ? -1 : real(folder, path, flags, mode); }
#define STAT(name, kind) int name(const char *path, struct kind *found) { \
    REAL(int, name, const char *, struct kind *); \
    return fails(path) ? -1 : real(path, found); }
#define STATAT(name, kind) int name(int folder, const char *path, struct kind *found, int flags) { \
    REAL(int, name, int, const char *, struct kind *, int); \
    return fails(path) ? -1 : real(folder, path, found, flags); }
#define PREAD(name, position) ssize_t name(int file, void *into, size_t bytes, position at) { \
    REAL(ssize_t, name, int, void *, size_t, position); char path[4096]; \
    return fails(path_of(file, path)) ? -1 : real(file, into, bytes, at); }

OPEN(open) OPEN(open64) OPENAT(openat) OPENAT(openat64)
STAT(stat, stat) STAT(stat64, stat64) STAT(lstat, stat) STAT(lstat64, stat64)
STATAT(fstatat, stat) STATAT(fstatat64, stat64)
PREAD(pread, off_t) PREAD(pread64, off64_t)
ssize_t read(int file, void *into, size_t bytes) {
    REAL(ssize_t, read, int, void *, size_t); char path[4096];
    return fails(path_of(file, path)) ? -1 : real(file, into, bytes);
}
DIR *opendir(const char *path) {
    REAL(DIR *, opendir, const char *);
    return fails(path) ? NULL : real(path);
}
"""


def failing_disk(folder: Path) -> Path:
    """Compile the library into a folder; skips the test where that cannot be done."""
    compiler = shutil.which("cc")
    if not compiler or not sys.platform.startswith("linux"):
        pytest.skip("needs a C compiler on Linux, to let system calls fail")
    source, library = folder / "fails.c", folder / "fails.so"
    source.write_text(SOURCE, encoding="utf-8")
    words = [compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl", "-pthread"]
    subprocess.run(words, check=True, capture_output=True)
    return library


def failing(library: Path, below: Path, share: float, error: int, seed: int = 0) -> dict[str, str]:
    """The environment of a process for which calls fail.

    Args:
        library: see `failing_disk`.
        below: calls for paths that begin so.
        share: of them, 0 to 1.
        error: errno that they give.
        seed: of what is drawn.
    """
    told = {"BELOW": below, "SHARE": share, "ERRNO": error, "SEED": seed}
    more = {f"FAIL_{name}": str(value) for name, value in told.items()}
    return {**os.environ, "LD_PRELOAD": str(library), **more}
