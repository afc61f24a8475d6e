"""A headless Chromium, driven over two pipes by its DevTools protocol, without any further package."""

from __future__ import annotations

import base64
import json
import os
import queue
import shutil
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

BROWSER = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chromium-browser"))), None)
WHY_NOT = "neither chromium nor google-chrome is installed"
PATIENCE_S = 20
KEY_CODES = {"Escape": 27, "Enter": 13, "Tab": 9}
"""Of keys to which the browser itself listens."""


class Page:
    """One page of a browser of its own. Close it by `with`.

    Attributes:
        requests: addresses that the page asked for.
        complaints: what it wrote to the console as errors, and exceptions.
    """

    def __init__(self, profile: Path, *, width: int = 1400, height: int = 900, ratio: float = 1) -> None:
        to_it, from_it = os.pipe(), os.pipe()
        words = [
            str(BROWSER),
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--remote-debugging-pipe",
            "--hide-scrollbars",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-features=Translate,OptimizationHints,MediaRouter",
            f"--user-data-dir={profile}",
            "about:blank",
        ]
        # DevTools read from descriptor 3 and write to 4
        shell = ["bash", "-c", f'exec "$@" 3<&{to_it[0]} 4>&{from_it[1]}', "chromium", *words]
        self._process = subprocess.Popen(
            shell,
            pass_fds=(to_it[0], from_it[1]),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "HOME": str(profile)},
        )
        os.close(to_it[0])
        os.close(from_it[1])
        self._to, self._from = to_it[1], from_it[0]
        self._last, self._answers = 0, queue.Queue[dict[str, Any]]()
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self._session = ""
        threading.Thread(target=self._listen, daemon=True).start()
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        self.resize(width, height, ratio)

    def __enter__(self) -> Page:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(PATIENCE_S)
        os.close(self._to)

    def call(self, method: str, **given: Any) -> dict[str, Any]:
        """What a command of the protocol answers."""
        self._last += 1
        message: dict[str, Any] = {"id": self._last, "method": method, "params": given}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._answers.get(timeout=PATIENCE_S)
            if answer["id"] == self._last:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]

    def resize(self, width: int, height: int, ratio: float = 1, *, touch: bool = False) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": ratio, "mobile": touch}
        self.call("Emulation.setDeviceMetricsOverride", **metrics)
        self.call("Emulation.setTouchEmulationEnabled", enabled=touch)

    def dark(self, on: bool) -> None:
        scheme = {"name": "prefers-color-scheme", "value": "dark" if on else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def open(self, address: str, ready: str = "document.body.dataset.ready === 'yes'") -> None:
        """Go to an address, and wait for an expression to become true."""
        self.call("Page.navigate", url="about:blank")  # an address that differs in its fragment loads nothing
        self.call("Page.navigate", url=address)
        self.wait(ready)

    def ask(self, expression: str) -> Any:
        """The value of an expression in the page; of a promise what it comes to."""
        told = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    def wait(self, expression: str, patience_s: float = PATIENCE_S) -> Any:
        """Wait until an expression is true, and return it."""
        end = time.monotonic() + patience_s
        while time.monotonic() < end:
            try:
                if value := self.ask(expression):
                    return value
            except AssertionError:  # the page is just being loaded
                pass
            time.sleep(0.02)
        raise TimeoutError(f"{expression} did not become true; the page said {self.complaints}")

    def choose(self, selector: str, value: object, event: str = "change") -> None:
        """Give a field a value as a person does."""
        told = f"const e = document.querySelector('{selector}'); e.value = {json.dumps(value)}"
        self.ask(f"(() => {{ {told}; e.dispatchEvent(new Event('{event}')); }})()")

    def box(self, selector: str) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of an element in css px."""
        box = f"document.querySelector('{selector}').getBoundingClientRect()"
        left, top, right, bottom = self.ask(
            f"(() => {{ const b = {box}; return [b.left, b.top, b.right, b.bottom]; }})()"
        )
        return left, top, right, bottom

    def press(self, key: str, *, shift: bool = False, ctrl: bool = False) -> None:
        """A key: a sign, or a name such as Enter."""
        modifiers = (8 if shift else 0) | (2 if ctrl else 0)
        text = key if len(key) == 1 and not ctrl else {"Enter": "\r"}.get(key, "")
        code = f"Key{key.upper()}" if len(key) == 1 and key.isalpha() else ""
        told = {"key": key, "modifiers": modifiers, "code": code}
        told |= {"windowsVirtualKeyCode": KEY_CODES[key]} if key in KEY_CODES else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **told)
        self.call("Input.dispatchKeyEvent", type="keyUp", **told)

    def mouse(self, kind: str, x: float, y: float, button: str = "left") -> None:
        held = 0 if kind == "Released" else 1
        told = {"x": x, "y": y, "button": button, "buttons": held, "clickCount": 1}
        self.call("Input.dispatchMouseEvent", type=f"mouse{kind}", **told)

    def click(self, x: float, y: float) -> None:
        for kind in ("Pressed", "Released"):
            self.mouse(kind, x, y)

    def touch(self, kind: str, *points: tuple[float, float]) -> None:
        """kind: Start, Move or End, with all fingers that are down."""
        told = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(points)]
        self.call("Input.dispatchTouchEvent", type=f"touch{kind}", touchPoints=told)

    def picture(self, path: Path | None = None) -> bytes:
        """A PNG of what is to be seen."""
        content = base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
        if path:
            path.write_bytes(content)
        return content

    def _listen(self) -> None:
        rest = b""
        while piece := os.read(self._from, 2**20):
            *whole, rest = (rest + piece).split(b"\0")
            for text in whole:
                message = json.loads(text)
                if "id" in message:
                    self._answers.put(message)
                else:
                    self._note(message["method"], message["params"])
        os.close(self._from)

    def _note(self, method: str, told: dict[str, Any]) -> None:
        if method == "Network.requestWillBeSent":
            self.requests.append(told["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(told["exceptionDetails"])[:500])
        elif method == "Log.entryAdded" and told["entry"]["level"] == "error":
            url = told["entry"].get("url", "")
            self.complaints += [f"{told['entry']['text']} {url}"] * (not url.endswith("/favicon.ico"))
