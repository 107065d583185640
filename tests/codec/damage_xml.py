"""MusicXML files that are wrong in a way of their own."""

from collections.abc import Iterator

_ONE = "<note><pitch><step>C</step><octave>4</octave></pitch><duration>2</duration></note>"
_TIME = "<time><beats>4</beats><beat-type>4</beat-type></time>"


def xml_file(
    notes: str = _ONE, attributes: str = _TIME, head: str = "", before: str = '<?xml version="1.0"?>'
) -> bytes:
    return f"""{before}<score-partwise>{head}<part-list><score-part id="P1"><part-name>V</part-name></score-part>
        </part-list><part id="P1"><measure number="1"><attributes><divisions>2</divisions>{attributes}</attributes>
        {notes}</measure></part></score-partwise>""".encode()


_WILD = ("0", "-1", "-0.5", "1e-300", "1e400", "nan", "inf", "999999999999", "9" * 5000, "", "x", "\u0663")


def xml_numbers() -> Iterator[bytes]:
    good = xml_file(_ONE + "<backup><duration>1</duration></backup>" + _ONE).decode()
    for tag in ("duration", "divisions", "beats", "beat-type", "octave"):
        before, after = good.split(f"<{tag}>", 1)
        for value in _WILD:
            yield f"{before}<{tag}>{value}</{after.split('</', 1)[1]}".encode()
    for value in _WILD:
        yield xml_file(f'<direction><sound tempo="{value}"/></direction>' + _ONE)
        yield xml_file(attributes=f"<key><fifths>{value}</fifths><mode>{value}</mode></key>" + _TIME)
        yield xml_file(
            attributes=f"<staves>{value}</staves><transpose><chromatic>{value}</chromatic></transpose>" + _TIME
        )
        yield xml_file(
            _ONE.replace("</step>", f"</step><alter>{value}</alter>").replace("<note>", f'<note dynamics="{value}">')
        )


def xml_bombs() -> Iterator[bytes]:
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


def xml_trees() -> Iterator[bytes]:
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
        step = "H" if kind == "x" else "C"
        degree = "<degree><degree-value>99</degree-value></degree>" if kind == "other" else ""
        yield xml_file(
            f"<harmony><root><root-step>{step}</root-step></root><kind>{kind}</kind>{degree}</harmony>" + _ONE
        )
    yield xml_file(
        "<harmony><root><root-step>C</root-step><root-alter>99</root-alter></root><kind>major</kind></harmony>" + _ONE
    )


def xml_text() -> Iterator[bytes]:
    good = xml_file(head="<movement-title>\u00e9</movement-title>")
    yield good.replace(b"\xc3\xa9", b"\xff\xfe\xc3\x28")
    yield good.replace(b"\xc3\xa9", b"\0")
    yield good.replace(b'"1.0"?', b'"1.0" encoding="utf-16"?')
    yield good.replace(b'"1.0"?', b'"1.0" encoding="latin-1"?')
    yield good.replace(b'"1.0"?', b'"1.0" encoding="utf-7"?')
    yield good.replace(b'"1.0"?', b'"9.9"?')
    yield b"\xef\xbb\xbf" + good
    yield b"\n\n" + good
    yield good.decode().encode("utf-16")
    yield good.decode().encode("utf-32")
    yield good + good
    yield good.replace(b"\xc3\xa9", b"&nbsp;")
    yield b"<html><body>404 Not Found</body></html>"


KINDS = {
    "numbers": xml_numbers,
    "bombs and nesting": xml_bombs,
    "elements": xml_trees,
    "text": xml_text,
}
