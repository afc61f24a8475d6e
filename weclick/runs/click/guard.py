"""What may reach the server: pages that it gave out itself, with the token of this user.

The server listens on 127.0.0.1 alone. Any page in the same browser can send requests there, so the name of
the host, the origin and a token are checked. The token comes in the address's fragment, which no browser
sends and no log keeps, and goes back as a header.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from starlette.responses import JSONResponse

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

TOKEN_HEADER = "x-weclick-token"
BODY_BYTES = 64 * 2**10
_HOST = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:\d{1,5})?", re.ASCII | re.IGNORECASE)

CSP = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
)
HEADERS = (
    (b"content-security-policy", CSP.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)


class Guard:
    """Refuses a request before the application sees it, and adds the headers of security to all answers.

    Args:
        app: the application.
        token: that requests below /api/ must bring.
    """

    def __init__(self, app: Callable[..., Awaitable[None]], token: str) -> None:
        self._app, self._token = app, token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            return

        async def send_guarded(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *HEADERS]
            await send(message)

        status, why = self._fault(scope)
        if status:
            await JSONResponse({"error": why}, status)(scope, receive, send_guarded)
            return
        await self._app(scope, receive, send_guarded)

    def _fault(self, scope: Scope) -> tuple[int, str]:
        """Status and reason of a refusal; 0 if there is none."""
        given = _headers(scope["headers"])
        host = given.get("host", "")
        if not _HOST.fullmatch(host):
            return 403, "the address must begin with localhost, 127.0.0.1 or [::1]"
        origin, writes = given.get("origin"), scope["method"] not in ("GET", "HEAD")
        if (origin is not None or writes) and origin != f"http://{host}":
            return 403, "another page asks; only the page that this server gave out may"
        if given.get("sec-fetch-site", "none") not in ("same-origin", "none"):
            return 403, "another site asks; only the page that this server gave out may"
        if scope["path"].startswith("/api/"):
            if not hmac.compare_digest(given.get(TOKEN_HEADER, "").encode(), self._token):
                return 401, "the token is missing or wrong; open the address that weclick click printed"
            if writes and given.get("content-type", "").partition(";")[0].strip() != "application/json":
                return 415, "only JSON is taken"
        length = given.get("content-length", "0")
        if not length.isdecimal() or int(length[:20]) > BODY_BYTES:
            return 413, f"at most {BODY_BYTES} bytes are taken"
        return 0, ""


def _headers(pairs: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Names in small letters -> values. A name that comes twice has both values, so that neither fits."""
    found: dict[str, str] = {}
    for name, value in pairs:
        key = name.decode("latin-1").lower()
        told = value.decode("latin-1")
        found[key] = f"{found[key]},{told}" if key in found else told
    return found
