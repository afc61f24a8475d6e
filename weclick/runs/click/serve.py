"""Runs the server until somebody stops it."""

from __future__ import annotations

import getpass
import os
import secrets
import socket
from collections.abc import Callable
from pathlib import Path

from weclick.common.disk import read_plain
from weclick.common.errors import InputError
from weclick.common.files import write_text

HOST = "127.0.0.1"
PORT = 8160


def serve(
    root: Path,
    *,
    results: Path,
    classes: Path | None = None,
    per_clip: int,
    who: str | None,
    port: int,
    tell: Callable[[str], None],
) -> None:
    """Serve the page for a folder of clips until interrupted.

    Args:
        root: of the data set.
        results: folder of a run, whose student is shown.
        classes: another classes file than `<root>/classes.yaml`.
        per_clip: frames of a clip in the queue.
        who: the name under which clicks are written; a page may give another. None: the system's user.
        port: of this machine alone; 0 takes any free one.
        tell: gets the page's address, once requests are answered.

    Raises:
        InputError: the extra is not installed, the port is in use, or clips, classes or log cannot be read.
    """
    try:
        import uvicorn

        from weclick.runs.click.app import Desk, make_app
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("starlette", "uvicorn", "anyio"):
            raise
        raise InputError(
            f"weclick click needs the package {error.name}, which is not installed: pip install "
            "'weclick[click]'"
        ) from error
    from weclick.manifest.click_log import CLICK_LOG, ClickLog
    from weclick.runs.ask.ask_list import ASKS
    from weclick.runs.click.asks import Asks
    from weclick.runs.click.board import Board
    from weclick.runs.click.frames import Frames
    from weclick.runs.click.ghosts import Ghosts
    from weclick.runs.click.media import Media
    from weclick.runs.click.present_net import PresentNet
    from weclick.runs.layout import Layout

    media = Media(root, classes=classes, per_clip=per_clip)
    frames = Frames(media)
    board = Board(ClickLog(media.root / CLICK_LOG), media)
    student = Layout(results).weights("student")
    desk = Desk(
        media=media,
        board=board,
        frames=frames,
        ghosts=Ghosts(frames),
        net=PresentNet(student, frames),
        asks=Asks(media.root / ASKS, student, media, board),
        who=who or _user(),
        ends=lambda: server.should_exit,
    )
    token = own_token()
    with _listening(port) as listener:
        server = uvicorn.Server(
            uvicorn.Config(
                make_app(desk, token),
                http="h11",
                ws="none",
                lifespan="off",
                log_level="warning",
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=60,
                timeout_graceful_shutdown=3,
            )
        )
        frames.start()
        tell(f"http://{HOST}:{listener.getsockname()[1]}/#{token}")
        try:
            server.run(sockets=[listener])
        finally:
            frames.close()


def own_token() -> str:
    """The secret of this user's pages. It stays the same, so that a page goes on when the server restarts.

    It lies in `$XDG_STATE_HOME/weclick/click_token` (by default `~/.local/state`). To make all addresses
    that were given out worthless, delete the file.

    Raises:
        InputError: the file holds something else, or others may read it.
    """
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    path = Path(state) / "weclick" / "click_token"
    if not path.exists():
        before = os.umask(0o077)
        try:
            write_text(path, secrets.token_urlsafe(24))
        finally:
            os.umask(before)
    token = read_plain(path, at_most=1000).decode("ascii", "replace")
    if len(token) != 32 or path.stat().st_mode & 0o077:
        raise InputError(f"{path}: is no token that only you can read; delete the file, and start again")
    return token


def _listening(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise InputError(
            f"port {port} of {HOST} cannot be used ({error.strerror}); another weclick click may run there: "
            "use its page, stop it, or give --port another number"
        ) from error
    return listener


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container without a name for its user
        return "somebody"
