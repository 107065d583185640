"""Files that appear complete or not at all, and what a disk refuses."""

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary file in the folder of `path`. It replaces `path` at the end of the block; an error removes it.

    Creates missing folders.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}.", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        with naming(path):
            yield temporary
        with open(temporary, "rb") as file:  # content first, then the name: a crash must not leave an empty file
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())  # mkstemp allows the owner only
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def replacing_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary folder beside `path`. It replaces `path`, with all that is in there, at the end of the block.

    An error removes it and leaves `path` as it is; a process that is killed between the two renames leaves both folders
    under hidden names. Creates missing folders.
    """
    path = Path(os.path.realpath(path))  # of a link, the folder
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    old = temporary.with_name(f"{temporary.name}.old")
    try:
        with naming(path):
            yield temporary
        temporary.chmod(0o777 & ~_umask())  # mkdtemp allows the owner only
        if path.exists():
            path.rename(old)
        temporary.rename(path)
    except BaseException:
        if old.exists() and not path.exists():
            old.rename(path)
        raise
    finally:
        for folder in (temporary, old):
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Names a file in errors of the system that name none, as those of writing do not."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


_REFUSALS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.EACCES, errno.EPERM)


def disk_refusal(error: BaseException) -> str:
    """What the disk refused, such as "No space left on device", or "" for another error.

    Libraries in C++ raise other types than `OSError`, with these words somewhere in their texts.
    """
    return next((words for words in map(os.strerror, _REFUSALS) if words in str(error)), "")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
