"""Sound fonts (SoundFont 2.01, RIFF), as far as the synthesizer needs help with them."""

import struct

import numpy as np

_ROOT_KEY, _SAMPLE = 58, 53  # generators overridingRootKey and sampleID
_BAG = np.dtype([("gen", "<u2"), ("mod", "<u2")])
_GEN = np.dtype([("oper", "<u2"), ("amount", "<u2")])
_INST = np.dtype([("name", "S20"), ("bag", "<u2")])
_SAMPLE_HEADER = np.dtype([("head", "V40"), ("pitch", "u1"), ("tail", "V5")])


def move_root_keys(font: bytes) -> bytes:
    """The same sound font, with every overriding root key written into the header of a sample.

    Instruments may say at which key a sample sounds as recorded (generator 58), instead of what the sample's header
    says. symusic's synthesizer reads only the header, so that with such a font each group of keys is out of tune by
    another interval. Here every pair of sample and root key gets a header of its own.

    Args:
        font: an sf2 file.

    Returns:
        An sf2 file.

    Raises:
        ValueError: if it is not a sound font.
    """
    lists = _read_chunks(font[12:]) if font[:4] == b"RIFF" and font[8:12] == b"sfbk" else []
    if [body[:4] for _, body in lists][-1:] != [b"pdta"]:
        raise ValueError("not a SoundFont 2 file: allowed is RIFF sfbk whose last list is pdta")
    tables = dict(_read_chunks(lists[-1][1][4:]))
    instruments = np.frombuffer(tables[b"inst"], _INST)
    bags = np.frombuffer(tables[b"ibag"], _BAG)["gen"].tolist()
    generators = np.frombuffer(tables[b"igen"], _GEN).copy()
    samples = np.frombuffer(tables[b"shdr"], _SAMPLE_HEADER)
    headers, made = list(samples[:-1]), {}  # the last one marks the end

    for first, last in zip(instruments["bag"][:-1].tolist(), instruments["bag"][1:].tolist(), strict=True):
        default = -1
        for zone in range(first, last):
            place = {int(generators["oper"][row]): row for row in range(bags[zone], bags[zone + 1])}
            root = int(generators["amount"][place[_ROOT_KEY]]) if _ROOT_KEY in place else default
            if _SAMPLE not in place:  # the instrument's global zone
                default = root
            elif 0 <= root <= 127:
                sample = int(generators["amount"][place[_SAMPLE]])
                if (sample, root) not in made:
                    made[sample, root] = len(headers)
                    header = samples[sample].copy()
                    header["pitch"] = root
                    headers.append(header)
                generators["amount"][place[_SAMPLE]] = made[sample, root]

    tables[b"igen"] = generators.tobytes()
    tables[b"shdr"] = np.array([*headers, samples[-1]], _SAMPLE_HEADER).tobytes()
    lists[-1] = (b"LIST", b"pdta" + _write_chunks(list(tables.items())))
    body = b"sfbk" + _write_chunks(lists)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _read_chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    chunks, place = [], 0
    while place + 8 <= len(data):
        size = int.from_bytes(data[place + 4 : place + 8], "little")
        chunks.append((data[place : place + 4], data[place + 8 : place + 8 + size]))
        place += 8 + size + size % 2
    return chunks


def _write_chunks(chunks: list[tuple[bytes, bytes]]) -> bytes:
    return b"".join(name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2) for name, body in chunks)
