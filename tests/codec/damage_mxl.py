"""Archives that are wrong in a way of their own: bombs, names that lead elsewhere, lies."""

import struct
import zipfile
from collections.abc import Iterator
from io import BytesIO

from tests.codec.damage_midi import PIECE, midi_file
from tests.codec.damage_xml import xml_bombs, xml_file


def _zip(*entries: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in entries:
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return buffer.getvalue()


def _container(path: str) -> tuple[str, bytes]:
    text = f'<container><rootfiles><rootfile full-path="{path}"/></rootfiles></container>'
    return "META-INF/container.xml", text.encode()


def mxl_bombs() -> Iterator[bytes]:
    bomb = _zip(("score.xml", b"<a>" + b" " * 50_000_000))
    yield bomb
    real = struct.pack("<I", 50_000_003)
    for claimed in (100, 0, 0xFFFFFFFF):  # the directory, and then the entry too, lies about the size
        yield bomb[: bomb.rindex(real)] + struct.pack("<I", claimed) + bomb[bomb.rindex(real) + 4 :]
        yield bomb.replace(real, struct.pack("<I", claimed))
    yield _zip(*((f"{number}.xml", b" " * 1_000_000) for number in range(40)))
    yield _zip(_container("score.xml"), ("score.xml", bomb))
    yield _zip(*((f"{number}", b"") for number in range(70_000)), method=zipfile.ZIP_STORED)
    entry = _zip(("score.xml", xml_file())).split(b"PK\x01\x02")[1].split(b"PK\x05\x06")[0]
    yield b"PK" + (b"PK\x01\x02" + entry) * 100_000 + _zip(("score.xml", xml_file()))
    yield _zip(_container("score.xml"), ("score.xml", next(xml_bombs())))
    bomb = next(xml_bombs())
    yield _zip(("META-INF/container.xml", bomb), ("score.xml", xml_file()))


def mxl_names() -> Iterator[bytes]:
    for name in (
        "../../outside.xml",
        "/tmp/outside.xml",
        "C:\\outside.xml",
        "a/\0b.xml",
        "\u202e.xml",
        "x" * 60_000 + ".xml",
    ):
        yield _zip(_container(name.replace("\0", "")), (name, xml_file()))
    yield _zip(_container("gone.xml"), ("score.xml", xml_file()))
    yield _zip(_container("gone.xml"))
    yield _zip(("score.xml", xml_file()))
    yield _zip(("score.xml/", b""))
    yield _zip(("score.mid", midi_file(PIECE)))
    yield _zip(("META-INF/container.xml", b"<container>"), ("score.xml", xml_file()))
    yield _zip(("META-INF/container.xml", b"\xff\xfe"), ("score.xml", xml_file()))
    yield _zip(("score.xml", midi_file(PIECE)))
    yield _zip()


def mxl_archives() -> Iterator[bytes]:
    good = _zip(_container("score.xml"), ("score.xml", xml_file()))
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        yield _zip(("score.xml", xml_file()), method=method)
    for offset, value in ((6, 1), (8, 99), (14, 0xFFFF), (18, 0xFFFF), (22, 0xFFFF), (26, 0xFFFF)):
        for mark, shift in ((b"PK\x03\x04", 0), (b"PK\x01\x02", 2)):
            place = good.index(mark) + offset + shift
            yield good[:place] + struct.pack("<H", value) + good[place + 2 :]
    place = good.index(b"PK\x05\x06")
    for offset in (8, 10, 12, 16, 20):
        yield good[: place + offset] + b"\xff\xff" + good[place + offset + 2 :]
    yield b"junk" * 1000 + good
    yield good + b"junk" * 1000
    yield good[: good.index(b"PK\x01\x02")]
    yield good[good.index(b"PK\x01\x02") :]


KINDS = {
    "bombs": mxl_bombs,
    "names": mxl_names,
    "archives": mxl_archives,
}
