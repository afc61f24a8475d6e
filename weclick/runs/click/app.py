"""The server's answers: files of the page, frames, events, and the one request that writes."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from typing import Any

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from weclick import __version__
from weclick.common.bounded_json import parse_json
from weclick.common.errors import InputError, UnreadableError
from weclick.manifest.click_event import CONTROLS
from weclick.manifest.video_seek import Dropped
from weclick.runs.click.asks import Asks
from weclick.runs.click.board import NEAR_PX, Board
from weclick.runs.click.frames import Frames
from weclick.runs.click.ghosts import REACH, Ghosts
from weclick.runs.click.guard import BODY_BYTES, Guard
from weclick.runs.click.media import Media, Place
from weclick.runs.click.present_net import PresentNet

KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
WAIT_S = 20.0
"""So long a page's question for new events stays open."""

LOOK_S = 0.5
"""So often the log is looked at for what other programs appended, and whether the server ends."""


@dataclass(frozen=True)
class Desk:
    """What the answers are made of."""

    media: Media
    board: Board
    frames: Frames
    ghosts: Ghosts
    net: PresentNet
    asks: Asks
    who: str
    ends: Callable[[], bool]


class Refused(Exception):  # noqa: N818 (an answer)
    """A request that is answered with a status and a reason."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


def make_app(desk: Desk, token: str) -> Guard:
    """The application behind its guard."""
    api = _Api(desk)
    page = {path.name: path.read_bytes() for path in files(__package__).joinpath("page").iterdir()}

    async def page_file(request: Request) -> Response:
        name = request.path_params.get("name", "index.html")
        if name not in page:
            raise Refused(404, "there is no such file")
        kind = KINDS[name[name.rindex(".") :]]
        return Response(page[name], media_type=f"{kind}; charset=utf-8")

    at = "{clip:int}/{frame:int}"
    routes = [
        Route("/", page_file, methods=["GET"]),
        Route("/page/{name}", page_file, methods=["GET"]),
        Route("/api/state", api.state, methods=["GET"]),
        Route("/api/asks", api.asks, methods=["GET"]),
        Route("/api/events", api.events, methods=["GET"]),
        Route(f"/api/frame/{at}", api.frame, methods=["GET"]),
        Route(f"/api/ghosts/{at}", api.ghosts, methods=["GET"]),
        Route(f"/api/prediction/{at}", api.prediction, methods=["GET"]),
        Route("/api/clicks", api.add, methods=["POST"]),
    ]
    told = {Refused: _refused, InputError: _fault, UnreadableError: _fault, OSError: _fault, Dropped: _gone}
    return Guard(Starlette(routes=routes, exception_handlers=told), token)


class _Api:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._decode = ThreadPoolExecutor(4, "decode")  # three ahead, and the one to be seen
        self._think = ThreadPoolExecutor(1, "think")  # flow and networks take seconds, and one core is enough
        self._write = ThreadPoolExecutor(1, "write")
        self._changed = asyncio.Event()

    async def state(self, _: Request) -> Response:
        media = self._desk.media
        classes = media.classes
        clips = [
            {
                "name": clip.id,
                "frames": len(clip.frames),
                "names": None if clip.frames[0].video_frame is not None else [f.name for f in clip.frames],
            }
            for clip in media.clips
        ]
        return JSONResponse(
            {
                "version": __version__,
                "root": media.root.resolve().name,
                "root_id": hashlib.sha256(str(media.root.resolve()).encode()).hexdigest()[:12],
                "digest": media.digest,
                "who": self._desk.who,
                "classes": [
                    {"name": name, "color": color}
                    for name, color in zip(classes.names, classes.palette, strict=True)
                ],
                "clips": clips,
                "queue": media.queue,
                "near_px": NEAR_PX,
                "reach": REACH,
                "prediction": self._desk.net.is_there,
            }
        )

    async def events(self, request: Request) -> Response:
        """Events since the page last asked; it waits for some if there are none."""
        generation, count = request.query_params.get("of", ""), request.query_params.get("since", "0")
        if not count.isdecimal() or len(count) > 9:
            raise Refused(400, "since is no number")
        board = self._desk.board
        end = asyncio.get_running_loop().time() + WAIT_S
        while True:
            changed = self._changed
            await self._in(self._write, board.look)
            found = board.since(generation, int(count))
            left = end - asyncio.get_running_loop().time()
            if found["events"] or found["generation"] != generation or left <= 0 or self._desk.ends():
                return JSONResponse(found)
            if await request.is_disconnected():
                return Response(status_code=204)
            try:
                await asyncio.wait_for(changed.wait(), min(LOOK_S, left))
            except TimeoutError:
                continue

    async def asks(self, _: Request) -> Response:
        """Places that `weclick ask` proposed, and what the answers say so far."""
        return JSONResponse(await self._in(self._decode, self._desk.asks.told))

    async def frame(self, request: Request) -> Response:
        place = self._place(request)
        jpeg = self._desk.frames.cached(place)
        if jpeg is None:
            jpeg = await self._while_wanted(request, partial(self._desk.frames.jpeg, place))
        return Response(jpeg, media_type="image/jpeg")

    async def ghosts(self, request: Request) -> Response:
        place = self._place(request)
        clicks = self._desk.board.near(*place, REACH)

        def carry(stop: Callable[[], bool]) -> list[dict[str, Any]]:
            if stop():
                raise Dropped
            return self._desk.ghosts.at(place, clicks)

        return JSONResponse({"ghosts": await self._while_wanted(request, carry, self._think)})

    async def prediction(self, request: Request) -> Response:
        place = self._place(request)

        def predict(stop: Callable[[], bool]) -> bytes:
            if stop():
                raise Dropped
            return self._desk.net.picture(place)

        return Response(await self._while_wanted(request, predict, self._think), media_type="image/png")

    async def add(self, request: Request) -> Response:
        """Write down clicks and undos. The answer comes when they are on disk."""
        body = _asked(await _bounded_body(request))
        if body["digest"] != self._desk.media.digest:
            raise Refused(409, "the clips or classes changed: load the page again")
        answers = await self._in(self._write, partial(self._desk.board.add, body["who"], body["wishes"]))
        self._changed.set()
        self._changed = asyncio.Event()
        return JSONResponse({"answers": answers})

    def _place(self, request: Request) -> Place:
        place = request.path_params["clip"], request.path_params["frame"]
        if not self._desk.media.has(place):
            raise Refused(404, "there is no such frame")
        return place

    async def _in(self, pool: ThreadPoolExecutor, act: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(pool, act)

    async def _while_wanted(
        self, request: Request, act: Callable[..., Any], pool: ThreadPoolExecutor | None = None
    ) -> Any:
        """What `act` gives, unless the page drops its request meanwhile, or the server ends.

        Raises:
            Dropped: the page dropped its request.
            Refused: the server ends. Then nobody waits for what is in work or in the queue.
        """
        gone = threading.Event()
        act = partial(act, stop=gone.is_set)
        work = asyncio.ensure_future(self._in(pool or self._decode, act))
        watch = asyncio.ensure_future(_until_gone(request))
        while not (work.done() or watch.done() or self._desk.ends()):
            await asyncio.wait({work, watch}, timeout=LOOK_S, return_when=asyncio.FIRST_COMPLETED)
        watch.cancel()
        if not work.done():
            gone.set()
            if self._desk.ends():
                work.cancel()
                raise Refused(503, "weclick click ends")
        return await work


async def _until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _bounded_body(request: Request) -> bytes:
    """The body, which may come in pieces that tell no length."""
    body = b""
    try:
        async for piece in request.stream():
            body += piece
            if len(body) > BODY_BYTES:
                raise Refused(413, f"at most {BODY_BYTES} bytes are taken")
    except ClientDisconnect as error:
        raise Refused(400, "the request ended too early") from error
    return body


def _asked(content: bytes) -> dict[str, Any]:
    """What a page asks to write: {"digest": ..., "who": ..., "wishes": [...]}."""
    try:
        body = parse_json(content)
    except ValueError as error:
        raise Refused(400, f"the request is no JSON that is read: {error}") from error
    if not isinstance(body, dict) or {"digest", "who", "wishes"} - set(body):
        raise Refused(400, "the request lacks digest, who or wishes")
    who, wishes = body["who"], body["wishes"]
    if not isinstance(who, str) or not 0 < len(who) <= 100 or CONTROLS.search(who):
        raise Refused(400, "who is a name of at most 100 letters")
    if not isinstance(wishes, list) or not all(isinstance(wish, dict) for wish in wishes):
        raise Refused(400, "wishes is a list of objects")
    return body


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return JSONResponse({"error": str(error)}, error.status)


async def _fault(_: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, 503 if isinstance(error, OSError) else 422)


async def _gone(_: Request, __: Exception) -> Response:
    return Response(status_code=204)
