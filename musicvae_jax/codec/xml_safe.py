"""XML from strangers: parsed without entities, and bounded in depth, number of elements and time."""

import xml.etree.ElementTree as ET
from collections.abc import Collection
from typing import Any
from xml.parsers import expat

from musicvae_jax.codec.errors import MusicError

_MAX_DEPTH = 50  # MusicXML needs about ten
_MAX_ELEMENTS = 1_000_000
_MAX_ATTRIBUTES = 100


def parse_xml(data: bytes, source: str, keep: Collection[str] | None = None) -> ET.Element:
    """The root element of a document.

    Args:
        data: the document, in an encoding that it declares, or UTF-8 or UTF-16.
        source: for messages.
        keep: names of the elements to keep; others are left out with everything inside them. None keeps all.

    Raises:
        MusicError: "unreadable" for a document that declares entities, "corrupt" for one that is not well formed,
            nested too deep, or without a root to keep, "size" for too many elements.
    """
    parser = expat.ParserCreate()
    parser.buffer_text = True
    builder = ET.TreeBuilder()
    depth = count = 0
    skipped = 0  # the depth of the outermost element left out, 0 for none

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
    if root is None:  # all was left out
        raise MusicError(source, "root", "unreadable", "no element of MusicXML in it")
    return root
