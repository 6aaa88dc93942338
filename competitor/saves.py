"""What a training goes on from: saves in directories of their own, and a small file that names the last whole one.

::

    DIR/
      save-000007/     everything of one save
      current          its name, switched over when the save is whole; then the one before is removed
"""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from competitor.errors import ResumeError
from dreamer.files import atomic_write_text, sync_directory

OWN_NAME = re.compile(r"save-(\d{6,12})")
"""Exactly the names this program gives: whatever else lies there is somebody else's and stays."""
FORMER_NAME = re.compile(r"[1-9]\d{0,8}")
"""How sparring partners' runs named their saves up to version 0.3."""


class Saves:
    """The saves in a directory, which one process at a time may write."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._pointer = directory / "current"

    def current(self) -> Path | None:
        """Directory of the last whole save, or None when there is none yet.

        Raises ResumeError when `current` is damaged, or gone, or the save that it names is.
        """
        try:
            name = self._pointer.read_bytes().decode("ascii").strip()
        except FileNotFoundError:
            if max(self._numbered().values(), default=0) > 1:  # the first one may be unfinished
                raise ResumeError(f"{self._pointer} is missing beside the saves that it names one of") from None
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise ResumeError(f"{self._pointer} cannot be read ({error}): the save has been damaged") from error
        if not (OWN_NAME.fullmatch(name) or FORMER_NAME.fullmatch(name)):
            raise ResumeError(f"{self._pointer} does not hold the name of a save: it has been damaged")
        if not (self.directory / name).is_dir():
            raise ResumeError(f"{self._pointer} names {name}, which is not there: the save has been damaged")
        return self.directory / name

    @contextmanager
    def new(self) -> Iterator[Path]:
        """A directory to fill; at the end of the block it becomes the current save, then all others are removed.

        At every moment, whatever kills the process, `current` names a whole save. Raises OSError when the disk
        refuses: then the save before is untouched and the unfinished one is gone; ResumeError like `current`.
        """
        before = self.current()
        self._remove_others(before)
        save = self.directory / f"save-{1 + max(self._numbered().values(), default=0):06d}"
        try:
            save.mkdir(parents=True)
            yield save
            sync_directory(save)
            atomic_write_text(self._pointer, save.name + "\n")
        except BaseException:
            if not self._is_current(save):
                shutil.rmtree(save, ignore_errors=True)
            raise
        sync_directory(self.directory)
        self._remove_others(save)
        if before is not None:  # which may have a name of former times
            shutil.rmtree(before, ignore_errors=True)

    def leftovers(self) -> list[Path]:
        """Old saves that could not be removed, because the system refused it."""
        current = self.current()
        return [save for save in sorted(self._numbered()) if save != current]

    def _numbered(self) -> dict[Path, int]:
        """All saves, whole or not, with their numbers; none where the directory cannot be listed."""
        with suppress(OSError):
            matches = {path: OWN_NAME.fullmatch(path.name) for path in self.directory.iterdir()}
            return {path: int(match[1]) for path, match in matches.items() if match}
        return {}

    def _remove_others(self, keep: Path | None) -> None:
        """Remove saves other than `keep`: older ones, and those a kill has left unfinished."""
        for save in self._numbered():
            if save != keep:
                shutil.rmtree(save, ignore_errors=True)

    def _is_current(self, save: Path) -> bool:
        """Whether `current` names `save` already: then it is whole, whatever has been raised since."""
        with suppress(ResumeError):
            return self.current() == save
        return False
