"""MusicXML files with faults of their own, uncompressed and in archives: bombs, misleading names, false sizes."""

import struct
import zipfile
from collections.abc import Iterator
from io import BytesIO

from tests.codec.damage_midi import PIECE, midi_file

_ONE = "<note><pitch><step>C</step><octave>4</octave></pitch><duration>2</duration></note>"
_TIME = "<time><beats>4</beats><beat-type>4</beat-type></time>"
_WILD = ("0", "-1", "-0.5", "1e-300", "1e400", "nan", "inf", "999999999999", "9" * 5000, "", "x", "\u0663")
_CONTAINER = "META-INF/container.xml"


def xml_file(
    notes: str = _ONE, attributes: str = _TIME, head: str = "", before: str = '<?xml version="1.0"?>'
) -> bytes:
    return f"""{before}<score-partwise>{head}<part-list><score-part id="P1"><part-name>V</part-name></score-part>
        </part-list><part id="P1"><measure number="1"><attributes><divisions>2</divisions>{attributes}</attributes>
        {notes}</measure></part></score-partwise>""".encode()


def numbers() -> Iterator[bytes]:
    good = xml_file(_ONE + "<backup><duration>1</duration></backup>" + _ONE).decode()
    for tag in ("duration", "divisions", "beats", "beat-type", "octave"):
        before, after = good.split(f"<{tag}>", 1)
        for value in _WILD:
            yield f"{before}<{tag}>{value}</{after.split('</', 1)[1]}".encode()
    for value in _WILD:
        yield xml_file(f'<direction><sound tempo="{value}"/></direction>' + _ONE)
        yield xml_file(attributes=f"<key><fifths>{value}</fifths><mode>{value}</mode></key>" + _TIME)
        transpose = f"<transpose><chromatic>{value}</chromatic></transpose>"
        yield xml_file(attributes=f"<staves>{value}</staves>{transpose}{_TIME}")
        altered = _ONE.replace("</step>", f"</step><alter>{value}</alter>")
        yield xml_file(altered.replace("<note>", f'<note dynamics="{value}">'))


def bombs() -> Iterator[bytes]:
    laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    for entities, use in (
        (f'<!ENTITY l0 "lol">{laughs}', "&l9;"),
        (f'<!ENTITY a "{"a" * 50_000}">', "&a;" * 10_000),
        ('<!ENTITY f SYSTEM "file:///etc/passwd">', "&f;"),
        ('<!ENTITY % f SYSTEM "file:///etc/passwd"> %f;', "x"),
        ('<!ENTITY s "&s;">', "&s;"),
    ):
        doctype = f'<?xml version="1.0"?><!DOCTYPE score-partwise [{entities}]>'
        yield xml_file(head=f"<movement-title>{use}</movement-title>", before=doctype)
        if use != "&a;" * 10_000:
            yield xml_file(head=f"<movement-title>{use}</movement-title>", before=doctype).decode().encode("utf-16")
    yield xml_file(before='<?xml version="1.0"?><!DOCTYPE score-partwise SYSTEM "http://127.0.0.1:9/x.dtd">')
    for tag in ("note", "a", "measure"):
        yield xml_file(f"<{tag}>" * 100_000 + f"</{tag}>" * 100_000)
        yield xml_file(f"<{tag}>" * 100_000)
    yield xml_file("<a " + " ".join(f"a{number}=''" for number in range(300_000)) + "/>")
    yield xml_file("<direction/>" * 400_000 + _ONE)
    yield xml_file("<!-- " + "x" * 9_000_000 + " -->" + _ONE)
    yield xml_file(_ONE * 50_000)
    yield xml_file(_ONE * 80_000)
    yield xml_file("<a/>" * 3_500_000)
    yield xml_file('</measure><measure number="2">' * 60_000)
    yield xml_file(_ONE.replace("<duration>", "<chord/><duration>") * 2000)
    yield xml_file("".join(_ONE.replace("</note>", f"<voice>{number}</voice></note>") for number in range(1000)))


def trees() -> Iterator[bytes]:
    good = xml_file(_ONE * 4)
    for tag in (b"part-list", b"part", b"measure", b"attributes", b"note", b"pitch", b"step", b"octave", b"duration"):
        yield good.replace(b"<" + tag + b">", b"<x>").replace(b"</" + tag + b">", b"</x>")
        yield good.replace(b"<" + tag, b"<x" + tag).replace(b"</" + tag, b"</x" + tag)
    yield good.replace(b'id="P1"', b"")
    yield good.replace(b'<part id="P1"', b'<part id="P2"')
    yield good.replace(b'number="1"', b'number="x\xc2\xb2"')
    yield good.replace(b"score-partwise", b"score-timewise")
    yield good.replace(b"<score-partwise>", b'<score-partwise xmlns="http://x">')
    yield good.replace(b"</part>", b"</part><part id='P1'/><part id='P1'><measure/></part>")
    yield good.replace(b"<pitch>", b"<rest/><pitch>").replace(b"<duration>", b"<chord/><duration>")
    yield good.replace(b"<pitch>", b"<chord/><pitch>")
    yield good.replace(b"<note>", b"<note><grace/>")
    yield good.replace(b"<note>", b"<note><cue/>")
    yield good.replace(b"<duration>2", b"<staff>9</staff><duration>2")
    yield good.replace(b"<note>", b"<note><tie type='stop'/>").replace(b"</note>", b"<tie type='start'/></note>")
    for kind in ("", "major", "x", "none", "Tristan", "other"):
        root = f"<root><root-step>{'H' if kind == 'x' else 'C'}</root-step></root>"
        degree = "<degree><degree-value>99</degree-value></degree>" if kind == "other" else ""
        yield xml_file(f"<harmony>{root}<kind>{kind}</kind>{degree}</harmony>" + _ONE)
    root = "<root><root-step>C</root-step><root-alter>99</root-alter></root>"
    yield xml_file(f"<harmony>{root}<kind>major</kind></harmony>" + _ONE)


def texts() -> Iterator[bytes]:
    good = xml_file(head="<movement-title>\u00e9</movement-title>")
    for title in (b"\xff\xfe\xc3\x28", b"\0", b"&nbsp;"):
        yield good.replace(b"\xc3\xa9", title)
    for declared in (b'"1.0" encoding="utf-16"?', b'"1.0" encoding="latin-1"?', b'"1.0" encoding="utf-7"?', b'"9.9"?'):
        yield good.replace(b'"1.0"?', declared)
    yield b"\xef\xbb\xbf" + good
    yield b"\n\n" + good
    yield good.decode().encode("utf-16")
    yield good.decode().encode("utf-32")
    yield good + good
    yield b"<html><body>404 Not Found</body></html>"


def _zip(*entries: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in entries:
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return buffer.getvalue()


def _container(path: str) -> tuple[str, bytes]:
    return _CONTAINER, f'<container><rootfiles><rootfile full-path="{path}"/></rootfiles></container>'.encode()


def archive_bombs() -> Iterator[bytes]:
    bomb = _zip(("score.xml", b"<a>" + b" " * 50_000_000))
    yield bomb
    real = struct.pack("<I", 50_000_003)
    for claimed in (100, 0, 0xFFFFFFFF):  # a false size in the directory, then in the entry too
        yield bomb[: bomb.rindex(real)] + struct.pack("<I", claimed) + bomb[bomb.rindex(real) + 4 :]
        yield bomb.replace(real, struct.pack("<I", claimed))
    yield _zip(*((f"{number}.xml", b" " * 1_000_000) for number in range(40)))
    yield _zip(_container("score.xml"), ("score.xml", bomb))
    yield _zip(*((f"{number}", b"") for number in range(70_000)), method=zipfile.ZIP_STORED)
    entry = _zip(("score.xml", xml_file())).split(b"PK\x01\x02")[1].split(b"PK\x05\x06")[0]
    yield b"PK" + (b"PK\x01\x02" + entry) * 100_000 + _zip(("score.xml", xml_file()))
    yield _zip(_container("score.xml"), ("score.xml", next(bombs())))
    yield _zip((_CONTAINER, next(bombs())), ("score.xml", xml_file()))


def archive_names() -> Iterator[bytes]:
    names = ["../../outside.xml", "/tmp/outside.xml", "C:\\outside.xml", "a/\0b.xml", "\u202e.xml"]
    for name in [*names, "x" * 60_000 + ".xml"]:
        yield _zip(_container(name.replace("\0", "")), (name, xml_file()))
    yield _zip(_container("gone.xml"), ("score.xml", xml_file()))
    yield _zip(_container("gone.xml"))
    yield _zip(("score.xml", xml_file()))
    yield _zip(("score.xml/", b""))
    yield _zip(("score.mid", midi_file(PIECE)))
    yield _zip((_CONTAINER, b"<container>"), ("score.xml", xml_file()))
    yield _zip((_CONTAINER, b"\xff\xfe"), ("score.xml", xml_file()))
    yield _zip(("score.xml", midi_file(PIECE)))
    yield _zip()


def archives() -> Iterator[bytes]:
    good = _zip(_container("score.xml"), ("score.xml", xml_file()))
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        yield _zip(("score.xml", xml_file()), method=method)
    for offset, value in ((6, 1), (8, 99), (14, 0xFFFF), (18, 0xFFFF), (22, 0xFFFF), (26, 0xFFFF)):
        for mark, shift in ((b"PK\x03\x04", 0), (b"PK\x01\x02", 2)):
            start = good.index(mark) + offset + shift
            yield good[:start] + struct.pack("<H", value) + good[start + 2 :]
    end = good.index(b"PK\x05\x06")
    for offset in (8, 10, 12, 16, 20):
        yield good[: end + offset] + b"\xff\xff" + good[end + offset + 2 :]
    yield b"junk" * 1000 + good
    yield good + b"junk" * 1000
    yield good[: good.index(b"PK\x01\x02")]
    yield good[good.index(b"PK\x01\x02") :]


KINDS = {"numbers": numbers, "bombs and nesting": bombs, "elements": trees, "text": texts}
ARCHIVES = {"bombs": archive_bombs, "names": archive_names, "archives": archives}
