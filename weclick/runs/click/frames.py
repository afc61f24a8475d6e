"""Frames as JPEG for the page: what is asked for first, then what the queue will ask for."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

import cv2
import numpy as np

from weclick.common.errors import InputError, UnreadableError
from weclick.manifest.images import read_image
from weclick.manifest.video_seek import Dropped, VideoFrames
from weclick.runs.click.media import Media, Place

QUALITY = 90
"""17 ms and 223 KiB for 1024x2048 px; WebP takes 24 times as long, PNG 19 times."""

CACHE_BYTES = 512 * 2**20
OPEN_VIDEOS = 16
AROUND = 5
"""Neighbours that are kept when decoding passes them: people step to them, and ghosts come from them."""


class Frames:
    """Decoded frames. Threads may ask at the same time; a thread of its own decodes the queue ahead.

    Args:
        media: what is shown.
    """

    def __init__(self, media: Media) -> None:
        self.media = media
        self._in_queue = frozenset(media.queue)
        self._jpegs: OrderedDict[Place, bytes] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()
        self._asked = _Readers(media)
        self._queued = _Readers(media)
        self._urgent, self._quiet = 0, threading.Condition()
        self._from: Place | None = None
        self._closed = False

    def cached(self, place: Place) -> bytes | None:
        """The JPEG if it is there."""
        with self._lock:
            if place in self._jpegs:
                self._jpegs.move_to_end(place)
            return self._jpegs.get(place)

    def jpeg(self, place: Place, stop: Callable[[], bool] = lambda: False) -> bytes:
        """A frame, upright, at its full size.

        Args:
            place: of the frame.
            stop: says that nobody waits any more.

        Raises:
            Dropped: `stop` said so.
            InputError: the frame cannot be read.
        """
        self._from = place
        if found := self.cached(place):
            return found
        with self._quiet:
            self._urgent += 1
        try:
            return self._decode(place, self._asked, stop)
        finally:
            with self._quiet:
                self._urgent -= 1
                self._quiet.notify_all()

    def image(self, place: Place) -> np.ndarray:
        """A frame as (H, W, 3) uint8 RGB, as the page shows it."""
        found = cv2.imdecode(np.frombuffer(self.jpeg(place), np.uint8), cv2.IMREAD_COLOR_BGR)
        assert found is not None  # this file encoded it
        return cv2.cvtColor(found, cv2.COLOR_BGR2RGB)

    def start(self) -> None:
        """Begin to decode the queue ahead."""
        threading.Thread(target=self._decode_ahead, daemon=True, name="decode ahead").start()

    def close(self) -> None:
        """Decode no further frame ahead."""
        self._closed = True
        with self._quiet:
            self._quiet.notify_all()

    def _decode(self, place: Place, readers: _Readers, stop: Callable[[], bool]) -> bytes:
        with readers.alone(place[0]):
            if found := self.cached(place):  # another thread was first
                return found
            if stop():
                raise Dropped
            images = readers.read(place, stop, self._is_near)
            made = {at: _jpeg(image) for at, image in images.items()}
            for at, jpeg in made.items():
                self._keep(at, jpeg)
        return made[place]

    def _keep(self, place: Place, jpeg: bytes) -> None:
        with self._lock:
            self._bytes += len(jpeg) - len(self._jpegs.pop(place, b""))
            self._jpegs[place] = jpeg
            while self._bytes > CACHE_BYTES and len(self._jpegs) > 1:
                _, oldest = self._jpegs.popitem(last=False)
                self._bytes -= len(oldest)

    def _is_near(self, place: Place, target: Place) -> bool:
        """Whether a frame that is decoded on the way to another one will be wanted."""
        near = place[0] == target[0] and abs(place[1] - target[1]) <= AROUND
        return (near or place in self._in_queue) and self.cached(place) is None

    def _decode_ahead(self) -> None:
        """Decode what the queue asks for next, while nobody waits for another frame."""
        failed: set[Place] = set()
        while not self._closed:
            place = None if self._paused() else self._next_queued(failed)
            if place is None:
                with self._quiet:
                    self._quiet.wait(0.2)
                continue
            try:
                self._decode(place, self._queued, self._paused)
            except Dropped:  # the server ends
                return
            except (InputError, UnreadableError):  # whoever opens the frame is told
                failed.add(place)

    def _paused(self) -> bool:
        """Wait while somebody waits for another frame; then whether the server ends."""
        with self._quiet:
            self._quiet.wait_for(lambda: not self._urgent or self._closed)
        return self._closed

    def _next_queued(self, failed: set[Place]) -> Place | None:
        """The first missing frame of the queue from where people are; none if the cache is full."""
        if self._bytes > 0.9 * CACHE_BYTES:
            return None
        queue = self.media.queue
        begin = queue.index(self._from) if self._from in self._in_queue else 0
        ahead = (*queue[begin:], *queue[:begin])
        with self._lock:
            return next((at for at in ahead if at not in self._jpegs and at not in failed), None)


class _Readers:
    """Open videos, one a clip; each is read by one thread at a time."""

    def __init__(self, media: Media) -> None:
        self._media = media
        self._videos: dict[int, VideoFrames] = {}
        self._locks = [threading.Lock() for _ in media.clips]

    def alone(self, clip: int) -> threading.Lock:
        return self._locks[clip]

    def read(
        self, place: Place, stop: Callable[[], bool], is_near: Callable[[Place, Place], bool]
    ) -> dict[Place, np.ndarray]:
        """BGR images of a frame and of wanted ones on the way to it."""
        clip, _ = place
        at = self._media.video_frame(place)
        if at is None:
            return {place: cv2.cvtColor(read_image(self._media.path(place)), cv2.COLOR_RGB2BGR)}
        if clip not in self._videos:
            self._close_others()
            self._videos[clip] = VideoFrames(self._media.path(place))
        # the frames of a video clip are all of its video, in order
        found = self._videos[clip].read(at, keep=lambda i: is_near((clip, i), place), stop=stop)
        return {(clip, i): image for i, image in found.items()}

    def _close_others(self) -> None:
        """Keep few files open. A reader opens its file again when it is asked."""
        for clip, video in [*self._videos.items()] if len(self._videos) >= OPEN_VIDEOS else []:
            if self._locks[clip].acquire(blocking=False):
                video.close()
                del self._videos[clip]
                self._locks[clip].release()


def _jpeg(image: np.ndarray) -> bytes:
    """(H, W, 3) uint8 BGR as JPEG."""
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()
