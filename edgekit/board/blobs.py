"""Files by their SHA-256: what came once never comes again, and what was cut off goes on where it stopped."""

import contextlib
import errno
import fcntl
import os
import shutil
import time
import uuid
from typing import BinaryIO, Dict, Iterator, List

from .files import sha256_file

SPARE_BYTES = 4 << 20  # of the disk, left for progress and results


class Damaged(Exception):
    """A file whose content is not what its name says. It was removed."""


class Blobs(object):
    """The folder of blobs in a work folder."""

    def __init__(self, work: str) -> None:
        self.folder = os.path.join(work, "blobs")
        os.makedirs(self.folder, exist_ok=True)

    def path(self, digest: str) -> str:
        """Where the blob lies. Raises ValueError for what is no SHA-256."""
        if len(digest) != 64 or set(digest) - set("0123456789abcdef"):
            raise ValueError("%r is no SHA-256" % digest)
        return os.path.join(self.folder, digest)

    def missing(self, digests: List[str]) -> List[str]:
        """Those that are not here; the others count as used now."""
        absent = []
        for digest in digests:
            try:
                os.utime(self.path(digest))
            except OSError:
                absent.append(digest)
        return absent

    @contextlib.contextmanager
    def receiving(self, digest: str, size: int) -> Iterator["Receiving"]:
        """A draft that takes the blob's place when its content is right.

        It goes on with what a cut transfer left. Raises OSError where the disk has not the room, Damaged.
        """
        os.makedirs(self.folder, exist_ok=True)
        target = self.path(digest)
        draft = Receiving(target + ".part")
        try:
            if draft.offset > size:
                draft.file.truncate(0)
                draft.offset = 0
            if shutil.disk_usage(self.folder).free < size - draft.offset + SPARE_BYTES:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self.folder)
            yield draft
            draft.file.flush()
            os.fsync(draft.file.fileno())
            if sha256_file(draft.path) != digest:
                os.unlink(draft.path)
                raise Damaged("a file arrived damaged")
            os.chmod(draft.path, 0o444)
            os.replace(draft.path, target)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):  # the little that came is in the way
                with contextlib.suppress(OSError):
                    os.unlink(draft.path)
            raise
        finally:
            draft.close()

    def place(self, digest: str, target: str) -> None:
        """Link the blob to a name, or copy it where the disk has no links. Raises Damaged, OSError.

        Its content is checked first: a disk may have lost it.
        """
        source = self.path(digest)
        if sha256_file(source) != digest:
            os.unlink(source)
            raise Damaged("a stored file was damaged")
        os.makedirs(os.path.dirname(target), exist_ok=True)
        try:
            os.link(source, target)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.EXDEV, errno.ENOSYS):
                raise
            shutil.copyfile(source, target)

    def clean(self, older_than_s: float, most_bytes: int) -> int:
        """Remove blobs and drafts not used for so long, then the oldest until the rest fits. Gives the bytes freed."""
        aged = []
        for name in os.listdir(self.folder):
            path = os.path.join(self.folder, name)
            with contextlib.suppress(OSError):
                told = os.stat(path)
                aged.append((told.st_mtime, told.st_size, path))
        left, freed = sum(size for _, size, _ in aged), 0
        for used, size, path in sorted(aged):
            if time.time() - used >= older_than_s or left > most_bytes:
                with contextlib.suppress(OSError):
                    os.unlink(path)
                    freed += size
                left -= size
        return freed


class Receiving(object):
    """A file that is being received. `offset`: bytes of it that are here already."""

    def __init__(self, path: str) -> None:
        self.file: BinaryIO = open(path, "ab")  # noqa: SIM115 (closed by `close`)
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # another connection writes it: perhaps a dead one that does not know so
            self.file.close()
            path = "%s-%s" % (path, uuid.uuid4().hex)
            self.file = open(path, "ab")  # noqa: SIM115
            self.temporary = True
        else:
            self.temporary = False
        self.path = path
        self.offset = os.path.getsize(path)

    def close(self) -> None:
        """What is here stays for the next try, unless its name is this one's only."""
        self.file.close()
        if self.temporary:
            with contextlib.suppress(OSError):
                os.unlink(self.path)


def sizes(folder: str) -> Dict[str, int]:
    """Relative names with slashes -> bytes of all files in a folder."""
    told: Dict[str, int] = {}
    for place, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(place, name)
            told[os.path.relpath(path, folder).replace(os.sep, "/")] = os.path.getsize(path)
    return told
