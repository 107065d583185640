"""ABC files with faults of their own."""

from collections.abc import Iterator

_BODY = "CDEF GABc|cBAG FEDC|]"


def abc_file(body: str, metre: str = "4/4", unit: str = "1/8", tempo: str = "120", key: str = "C") -> bytes:
    return f"X:1\nT:t\nM:{metre}\nL:{unit}\nQ:{tempo}\nK:{key}\n{body}\n".encode()


def headers() -> Iterator[bytes]:
    metres = ["0/4", "4/0", "4/3", "999/1", "999+999+999/1", "1/64", "-4/4", "4", "none", "", "1e9/4", "9" * 50 + "/4"]
    for metre in metres:
        yield abc_file(_BODY, metre=metre)
    for unit in ("0/1", "1/0", "999/1", "1/999", "", "x", "-1/8", "1/8/8"):
        yield abc_file(_BODY, unit=unit)
    for tempo in ("0", "-1", "1/0=100", "0/4=1", "9999/9999=9999", "nan", "inf", "1e400", "1/8 " * 20_000, '"' * 99):
        yield abc_file(_BODY, tempo=tempo)
    for key in ("", "H", "C#######", "Gbbbb", "clef=bass", "^" * 5000, "\0", "C " + "^c" * 5000):
        yield abc_file(_BODY, key=key)


def bodies() -> Iterator[bytes]:
    size = 60_000
    for symbol in "{[(\"!+^_=-<>|:'/,CZz\\%~&":
        yield abc_file(_BODY + symbol * size)
    patterns = "[C [K: [M: [V: (9:99:9 C//// C9999 Z9999| {C +C C> C-| [1 x0"
    for pattern in patterns.split():
        yield abc_file(pattern * (size // 6))
    yield abc_file("C0 D0 E0|" * 9)
    yield abc_file("C,,,,,,,,,,,,,,,|")
    yield abc_file("c''''''''''''''|")
    yield abc_file("C9999/1|" * 20, unit="999/1")
    yield abc_file("[L:0/1]" + _BODY)
    yield abc_file("[M:1/3]" + _BODY)
    yield abc_file("".join(f"V:{number}\nC|\n" for number in range(5000)))


def texts() -> Iterator[bytes]:
    good = abc_file(_BODY)
    yield good.replace(b"T:t", b"T:\xff\xfe\xc3\x28")
    yield good.replace(b"\n", b"\0\n")
    yield good.decode().encode("utf-16")
    yield b"\xef\xbb\xbf" + good
    yield good.replace(b"\n", b"\r")
    yield b"X:1\n" * 20_000
    yield b"X:" * 150_000
    yield abc_file("C" * 300_000)
    yield b"K:C\n" + _BODY.encode()
    yield abc_file("")
    yield abc_file("% nothing but words")
    yield abc_file("\u202e\u0661\u00b2C\u00bd D\u0663|" * 9)
    yield abc_file(_BODY, metre="\u0664/\u0664", unit="\u0661/\u0668")
    yield abc_file(_BODY, unit="1/\u00b2", tempo="1/\u00b2=\u00b3")


KINDS = {"headers": headers, "bodies and nesting": bodies, "text": texts}
