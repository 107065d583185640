import struct

import numpy as np
import pytest

from musicvae_jax.analysis.audio import _sound_font
from musicvae_jax.analysis.soundfont import _read_chunks, _write_chunks, move_root_keys


def make_font(zones, headers):
    """One instrument; zones are lists of (generator, amount), headers are root keys of samples."""
    starts = np.cumsum([0, *map(len, zones)])
    tables = {
        b"inst": struct.pack("<20sH20sH", b"one", 0, b"EOI", len(zones)),
        b"ibag": b"".join(struct.pack("<HH", start, 0) for start in starts),
        b"igen": b"".join(struct.pack("<HH", *generator) for zone in zones for generator in zone) + bytes(4),
        b"shdr": b"".join(struct.pack("<40sBbHH", bytes([65 + n]), key, 0, 0, 1) for n, key in enumerate(headers))
        + bytes(46),
    }
    lists = [(b"LIST", b"sdta"), (b"LIST", b"pdta" + _write_chunks(list(tables.items())))]
    body = b"sfbk" + _write_chunks(lists)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def sounding(font):
    """(name, root key) of the sample of each zone that has one, as a reader sees it that knows only sample headers."""
    tables = dict(_read_chunks(_read_chunks(font[12:])[-1][1][4:]))
    headers = [tables[b"shdr"][place : place + 46] for place in range(0, len(tables[b"shdr"]), 46)]
    samples = [amount for oper, amount in struct.iter_unpack("<HH", tables[b"igen"][:-4]) if oper == 53]
    return [(headers[sample][:1], headers[sample][40]) for sample in samples]


@pytest.mark.parametrize(
    ("zones", "expected"),
    [
        ([[(53, 0)], [(53, 1)]], [(b"A", 60), (b"B", 72)]),  # nothing to override
        ([[(58, 83), (53, 0)], [(53, 0)]], [(b"A", 83), (b"A", 60)]),  # one sample, two roots
        ([[(58, 83), (53, 0)], [(58, 83), (53, 0)]], [(b"A", 83), (b"A", 83)]),
        ([[(58, 50)], [(53, 0)], [(58, 83), (53, 1)]], [(b"A", 50), (b"B", 83)]),  # a global zone
        ([[(58, 65535), (53, 1)]], [(b"B", 72)]),  # -1: no override
    ],
)
def test_root_keys_move_to_the_headers(zones, expected):
    assert sounding(move_root_keys(make_font(zones, [60, 72]))) == expected


def test_equal_pairs_share_a_header_and_twice_is_once():
    font = make_font([[(58, 83), (53, 0)]] * 5, [60])
    moved = move_root_keys(font)
    assert len(moved) == len(font) + 46
    assert sounding(move_root_keys(moved)) == sounding(moved)


def test_the_samples_themselves_are_untouched():
    font = _sound_font().read_bytes()
    before, after = _read_chunks(font[12:]), _read_chunks(move_root_keys(font)[12:])
    assert before[:-1] == after[:-1]
    assert before[-1] != after[-1]


@pytest.mark.parametrize("data", [b"", b"RIFF1234WAVE", b"RIFF\x04\0\0\0sfbk", bytes(100)])
def test_what_is_no_sound_font_is_refused(data):
    with pytest.raises(ValueError, match="not a SoundFont 2 file"):
        move_root_keys(data)
