"""A running `weclick click`, and small data sets to click on."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

CLASSES = {"background": (54, 62, 78), "road": (128, 64, 128), "car": (64, 0, 128), "swan": (128, 198, 134)}


class Server:
    """The verb in a process of its own. Close it by `with`; `kill` and `start` again in between.

    Its results lie beside its state by default: those of the checkout may hold a student.
    """

    def __init__(self, root: Path, state: Path, *words: str, port: int = 0) -> None:
        results = () if "--results" in words else ("--results", str(state / "results"))
        self.root, self._state, self._words, self._port = root, state, (*words, *results), port
        self.start()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill(signal.SIGTERM)

    def start(self) -> None:
        program = "from weclick.cli import main; main()"
        command = [sys.executable, "-c", program, "click", "--root", self.root, "--port", self._port]
        self._process = subprocess.Popen(
            [*map(str, command), *self._words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "XDG_STATE_HOME": str(self._state), "PYTHONUNBUFFERED": "1"},
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)/#(\S+)", line)
        if not found:
            raise RuntimeError(line + self._process.communicate()[1])
        self._port, self.token = int(found[1]), found[2]

    def kill(self, how: signal.Signals = signal.SIGKILL) -> str:
        """End it, and return what it said on stderr."""
        self._process.send_signal(how)
        return self._process.communicate(timeout=60)[1]

    @property
    def is_gone(self) -> bool:
        return self._process.poll() is not None

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._port}"

    @property
    def address(self) -> str:
        return f"http://{self.host}/#{self.token}"

    def ask(
        self, path: str, body: Any = None, *, method: str | None = None, **headers: str | None
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and content of an answer. A header that is None is left out."""
        origin = {"origin": f"http://{self.host}"} if body is not None else {}
        sent = {"x-weclick-token": self.token, **origin, "content-type": "application/json"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}  # type: ignore[misc]
        content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        request = urllib.request.Request(f"http://{self.host}{path}", content, method=method)
        for name, value in sent.items():
            if value is not None:
                request.add_header(name, value)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, dict(answer.headers), answer.read()
        except urllib.error.HTTPError as error:
            return error.code, dict(error.headers), error.read()

    def json(self, path: str, body: Any = None) -> Any:
        status, _, content = self.ask(path, body)
        assert status == 200, (status, content)
        return json.loads(content)


def write_classes(root: Path, classes: dict[str, tuple[int, int, int]] = CLASSES) -> None:
    root.mkdir(parents=True, exist_ok=True)
    rows = [f"  - {{name: {name}, color: [{r}, {g}, {b}]}}" for name, (r, g, b) in classes.items()]
    (root / "classes.yaml").write_text("\n".join(["classes:", *rows, ""]), encoding="utf-8")


def write_images(folder: Path, images: Iterable[np.ndarray], suffix: str = ".png") -> None:
    """RGB images as 00000.png, 00001.png, ..."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, image in enumerate(images):
        cv2.imwrite(str(folder / f"{i:05d}{suffix}"), image[..., ::-1])


def scene(t: int, height: int, width: int, shift: float = 3) -> np.ndarray:
    """A smooth pattern above a darker ground, which moves to the right; (height, width, 3) uint8 RGB."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    x = x - shift * t
    waves = sum(np.sin(x / a + y / b) for a, b in ((9, 31), (23, -17), (47, 13), (101, 71)))
    image = np.stack([120 + 25 * waves, 125 + 22 * waves, 130 + 18 * waves], -1)
    image[height * 2 // 3 :] *= 0.62
    return np.clip(image, 0, 255).astype(np.uint8)


def moving(frames: int, height: int, width: int, shift: int = 3) -> Iterator[np.ndarray]:
    """Cuts of one wide `scene`, which move likewise and cost nothing."""
    wide = scene(0, height, width + shift * frames)
    return (wide[:, shift * (frames - t) :][:, :width] for t in range(frames))


def write_video(path: Path, frames: int, height: int, width: int, *, key_every: int = 250) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"x264-params": f"keyint={key_every}:scenecut=0", "preset": "veryfast"}
        for image in moving(frames, height, width):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
