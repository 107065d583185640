"""The compressed kind of MusicXML: a zip archive with one score in it."""

import io
import zipfile
import zlib

from musicvae_jax.codec.errors import MusicError
from musicvae_jax.codec.xml_safe import parse_xml

MAX_TEXT = 12_000_000  # bytes of XML: a string quartet of 45 minutes has 11 million
_MAX_ENTRIES = 1000
_CONTAINER = "META-INF/container.xml"
_ENTRY = b"PK\x01\x02"  # begins an entry of an archive's directory


def is_archive(data: bytes) -> bool:
    """Whether a file is a zip archive, whatever its suffix says."""
    return data.startswith(b"PK")


def unpack(data: bytes, source: str) -> bytes:
    """The text of the score that an archive's container names, or of the first XML file without one.

    Nothing is written, no name in the archive is a path to anything, and nothing is inflated before its size is known.

    Raises:
        MusicError: "size" (a zip bomb), "unreadable" (no score in it, or compressed in a way the format does not
            allow), "corrupt".
    """
    if data.count(_ENTRY) > _MAX_ENTRIES:
        raise MusicError(source, "archive", "size", f"over {_MAX_ENTRIES} entries; allowed: up to that")
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
        entries = {entry.filename: entry for entry in archive.infolist()}
        total = sum(entry.file_size for entry in archive.infolist())
        if total > MAX_TEXT:
            raise MusicError(source, "archive", "size", f"{total:,} bytes inflated; allowed: up to {MAX_TEXT:,}")
        name = _score_name(archive, entries, source)
        return _inflate(archive, entries[name], source)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError, OverflowError) as error:
        if isinstance(error, MusicError):
            raise
        raise MusicError(source, "archive", "corrupt", str(error) or "it ends too early") from None


def pack(text: bytes) -> bytes:
    """An archive with a score in it, the same for the same score."""
    container = b'<?xml version="1.0" encoding="UTF-8"?>\n<container><rootfiles><rootfile full-path="score.musicxml" '
    container += b'media-type="application/vnd.recordare.musicxml+xml"/></rootfiles></container>\n'
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in ((_CONTAINER, container), ("score.musicxml", text)):
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)  # dated 1980, not now
    return buffer.getvalue()


def _score_name(archive: zipfile.ZipFile, entries: dict[str, zipfile.ZipInfo], source: str) -> str:
    if _CONTAINER in entries:
        container = parse_xml(_inflate(archive, entries[_CONTAINER], source), source)
        for rootfile in container.iter("rootfile"):
            if rootfile.get("full-path") in entries:
                return rootfile.get("full-path", "")
    scores = [name for name in entries if name.lower().endswith((".xml", ".musicxml")) and name != _CONTAINER]
    if not scores:
        raise MusicError(source, "archive", "unreadable", f"no score among {len(entries)} entries")
    return scores[0]


def _inflate(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, source: str) -> bytes:
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or entry.flag_bits & 1:
        raise MusicError(source, "archive", "unreadable", "an entry that is encrypted, or neither stored nor deflated")
    with archive.open(entry) as file:
        return file.read(MAX_TEXT + 1)  # the archive's word for the size is not trusted
