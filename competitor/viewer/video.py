"""Rounds as a moving picture, drawn as the rink itself is drawn: GIF with Pillow, MP4 with the extra `video`."""

import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from competitor.errors import needing
from competitor.rink.constants import CENTER_X, CENTER_Y, FPS
from competitor.rink.rendering import Canvas, load_pillow
from competitor.screen import Count
from competitor.viewer.frames import Json
from competitor.viewer.playlist import Item
from dreamer.files import atomic_write

GIF_EVERY = 2  # browsers show a GIF with at most 50 pictures a second, most with fewer
LAST_S = 0.8  # for which the end of a round is shown
COLOURS = 64
LONGEST_NAME = 22  # letters that have room beside the score
Pictures = Iterator[NDArray[np.uint8]]


def need_video(path: Path) -> None:
    """Raise PackageError unless what draws a file of this suffix is installed."""
    Canvas()
    _ffmpeg() if path.suffix.lower() == ".mp4" else load_pillow()


def write_video(items: Sequence[Item], path: Path, on_item: Count) -> None:
    """Write the rounds of `items` one after another as .gif or .mp4, at the speed of the game.

    Raises OSError when the file cannot be written, PackageError like `need_video`, and what an item raises.
    """
    write = _write_mp4 if path.suffix.lower() == ".mp4" else _write_gif
    write(_pictures(items, on_item), path)


def _pictures(items: Sequence[Item], on_item: Count) -> Pictures:
    canvas = Canvas()
    for done, item in enumerate(items, start=1):
        yield from _match_pictures(canvas, item.load())
        on_item(done, len(items))


def _match_pictures(canvas: Canvas, match: Json) -> Pictures:
    left, right = match["names"]
    for played in match["rounds"]:
        score, last = played["score"], len(played["frames"]) - 1
        for step, frame in enumerate(played["frames"]):
            if step == last and played["winner"]:
                score = [score[0] + (played["winner"] > 0), score[1] + (played["winner"] < 0)]
            middle = f"{score[0]} : {score[1]}     {step / FPS:.1f} s"
            picture = canvas.frame(_rink(frame), (_short(left), middle, _short(right)))
            yield picture
        yield from [picture] * round(LAST_S * FPS)


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 3]}..."


def _rink(frame: Sequence[float]) -> Any:
    """As much of a rink as its picture needs."""
    x1, y1, angle1, x2, y2, angle2, x, y, held1, held2 = frame
    one, two = (CENTER_X + x1, CENTER_Y + y1, angle1), (CENTER_X + x2, CENTER_Y + y2, angle2)
    state = (*one, 0.0, 0.0, 0.0, *two, 0.0, 0.0, 0.0, CENTER_X + x, CENTER_Y + y, 0.0, 0.0)
    return SimpleNamespace(state=state, score=SimpleNamespace(held_1=held1, held_2=held2))


def _write_gif(pictures: Pictures, path: Path) -> None:
    image = load_pillow()
    drawn = (image.fromarray(one) for step, one in enumerate(pictures) if step % GIF_EVERY == 0)
    first = next(drawn).quantize(COLOURS)
    # With one palette only what moves is stored again.
    rest = [one.quantize(palette=first, dither=image.Dither.NONE) for one in drawn]
    settings = {"save_all": True, "append_images": rest, "duration": 1000 * GIF_EVERY // FPS, "loop": 0}
    atomic_write(path, lambda file: first.save(file, format="GIF", **settings))


def _write_mp4(pictures: Pictures, path: Path) -> None:
    """Written beside its place first, since ffmpeg writes into a file of its own."""
    ffmpeg, part = _ffmpeg(), path.with_name(f".{path.name}.{os.getpid()}.mp4")
    try:
        height, width, _ = (first := next(pictures)).shape
        settings = {"fps": FPS, "macro_block_size": 2, "ffmpeg_log_level": "error"}
        with closing(ffmpeg.write_frames(str(part), (width, height), **settings)) as writer:  # also at Ctrl-C
            writer.send(None)
            for picture in chain([first], pictures):
                writer.send(picture)
        part.replace(path)
    except OSError as error:  # its text is all that ffmpeg has said
        raise OSError(error.errno, "ffmpeg cannot write it: is the disk full?") from error
    finally:
        part.unlink(missing_ok=True)


def _ffmpeg() -> Any:
    with needing("writing .mp4", "video"):
        import imageio_ffmpeg

        imageio_ffmpeg.get_ffmpeg_exe()  # raises RuntimeError where it finds no ffmpeg
    return imageio_ffmpeg
