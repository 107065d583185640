"""The bytes of a MusicXML file, compressed or not: unpacked, packed, and parsed within limits.

Files may be damaged or hostile: entities are refused, and size, depth and number of elements are bounded.
"""

import io
import xml.etree.ElementTree as ET
import zipfile
import zlib
from collections.abc import Collection
from typing import Any
from xml.parsers import expat

from musicvae_jax.codec.errors import MusicError

MAX_TEXT = 12_000_000  # bytes of XML; a string quartet of 45 minutes has 11 million
_MAX_ENTRIES = 1000
_MAX_DEPTH = 50  # MusicXML needs about ten
_MAX_ELEMENTS = 1_000_000
_MAX_ATTRIBUTES = 100
_CONTAINER = "META-INF/container.xml"
_ENTRY = b"PK\x01\x02"  # starts an entry of an archive's directory


def is_archive(data: bytes) -> bool:
    """Whether a file is a zip archive, whatever its suffix."""
    return data.startswith(b"PK")


def unpack(data: bytes, source: str) -> bytes:
    """The document that an archive's container names; without a container, the first XML file.

    Nothing is written to disk, names in the archive are not used as paths, and sizes are checked before inflating.

    Raises:
        MusicError: "size" (a zip bomb), "unreadable" (no score, or a compression that MusicXML does not allow),
            "corrupt".
    """
    if data.count(_ENTRY) > _MAX_ENTRIES:
        raise MusicError(source, "archive", "size", f"over {_MAX_ENTRIES} entries; allowed: up to that")
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
        entries = {entry.filename: entry for entry in archive.infolist()}
        total = sum(entry.file_size for entry in archive.infolist())
        if total > MAX_TEXT:
            raise MusicError(source, "archive", "size", f"{total:,} bytes inflated; allowed: up to {MAX_TEXT:,}")
        return _inflate(archive, entries[_score_name(archive, entries, source)], source)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError, OverflowError) as error:
        if isinstance(error, MusicError):
            raise
        raise MusicError(source, "archive", "corrupt", str(error) or "it ends too early") from None


def pack(text: bytes) -> bytes:
    """An archive of one document; equal documents give equal archives."""
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
        return file.read(MAX_TEXT + 1)  # the size that the archive states may be false


def parse_xml(data: bytes, source: str, keep: Collection[str] | None = None) -> ET.Element:
    """The root element of a document.

    Args:
        data: the document, in its declared encoding, UTF-8 or UTF-16.
        source: for messages.
        keep: names of the elements to keep; others are dropped with their content. None keeps all.

    Raises:
        MusicError: "unreadable" if it declares entities or its root is not kept, "corrupt" if it is not well formed or
            too deep, "size" for too many elements.
    """
    parser = expat.ParserCreate()
    parser.buffer_text = True
    builder = ET.TreeBuilder()
    depth = count = 0
    skipped = 0  # depth of the outermost dropped element, or 0

    def refuse(reason: str, detail: str) -> None:
        raise MusicError(source, f"line {parser.CurrentLineNumber}", reason, detail)

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth, count, skipped
        depth, count = depth + 1, count + 1
        if depth > _MAX_DEPTH:
            refuse("corrupt", f"elements nested over {_MAX_DEPTH} deep")
        if count > _MAX_ELEMENTS or len(attributes) > _MAX_ATTRIBUTES:
            refuse("size", f"over {_MAX_ELEMENTS:,} elements, or {_MAX_ATTRIBUTES} attributes of one")
        if not skipped and keep is not None and tag not in keep:
            skipped = depth
        if not skipped:
            builder.start(tag, attributes)

    def end(tag: str) -> None:
        nonlocal depth, skipped
        if not skipped:
            builder.end(tag)
        elif skipped == depth:
            skipped = 0
        depth -= 1

    def text(content: str) -> None:
        if not skipped and depth:
            builder.data(content)

    def entity(*_: Any) -> None:
        refuse("unreadable", "the document declares an entity; MusicXML has no use for one")

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text
    parser.EntityDeclHandler = entity
    try:
        parser.Parse(data, True)
        root: ET.Element | None = builder.close()
    except (expat.ExpatError, ValueError, LookupError) as error:
        if isinstance(error, MusicError):
            raise
        raise MusicError(source, "file", "corrupt", f"no well-formed XML: {error}") from None
    if root is None:  # the root was dropped
        raise MusicError(source, "root", "unreadable", "no element of MusicXML")
    return root
