"""The fields of tar headers: numbers, times, sums, names, pax records.   (pure)

Python's ``int`` takes what no archiver writes (signs, underscores, prefixes), so digits are checked first.
"""

from __future__ import annotations

from zlib import adler32

from dropdeploy.releases.refusal import Refusal, corrupt

SECOND = 1_000_000_000
_FIELD_SPACES = 8 * ord(" ")
_ENDS = b"\0 "

Pax = dict[bytes, bytes]


def parse_number(field: bytes, *, is_signed: bool = False) -> int:
    """A number of a header: octal digits, or GNU tar's base 256 where they do not suffice. Blank is 0."""
    digits = field[:-1]
    if digits.isdigit() and field[-1] in _ENDS:  # nearly always
        try:
            return int(digits, 8)
        except ValueError:
            raise corrupt("a header holds a number that is none") from None
    if field[0] & 0x80:
        is_negative = bool(field[0] & 0x40)
        if is_negative and not is_signed:
            raise corrupt("a header holds a negative number")
        value = int.from_bytes(field, "big", signed=is_negative)
        return value if is_negative else value - (0x80 << 8 * (len(field) - 1))
    digits = field.partition(b"\0")[0].strip(b" ")
    if not digits:
        return 0
    if not digits.isdigit():
        raise corrupt("a header holds a number that is none")
    try:
        return int(digits, 8)
    except ValueError:
        raise corrupt("a header holds a number that is none") from None


def parse_decimal(text: bytes) -> int:
    """A number of a pax record."""
    if not text.isdigit() or len(text) > 20:
        raise corrupt("an extended header holds a number that is none")
    return int(text)


def parse_time(text: bytes) -> int:
    """A pax time, ``1767225600.25`` or ``-1.5``, in nanoseconds since the epoch."""
    whole, _, fraction = text.removeprefix(b"-").partition(b".")
    value = parse_decimal(whole or b"0") * SECOND
    if fraction:
        if not fraction.isdigit():
            raise corrupt("an extended header holds a time that is none")
        value += int(fraction[:9].ljust(9, b"0"))
    return -value if text.startswith(b"-") else value


def is_sum_right(block: bytes, field: bytes) -> bool:
    """Whether a header's bytes add up to the sum in it, its own field counted as spaces.

    Adler-32's lower half is one more than the sum modulo 65,521, which half a block never reaches: exact, and
    twenty times faster than adding in Python.
    """
    total = (adler32(block[:256]) & 0xFFFF) + (adler32(block[256:]) & 0xFFFF) - 2 - sum(field) + _FIELD_SPACES
    try:
        stored = parse_number(field)
    except Refusal:
        return False
    if total == stored:
        return True
    # Some old tars added signed characters: each byte from 128 on counts 256 less.
    negative = sum(byte > 127 for byte in block[:148]) + sum(byte > 127 for byte in block[156:])
    return total - 256 * negative == stored


def parse_name(name: bytes, magic: bytes, prefix: bytes, trailer: bytes) -> bytes:
    """The name in a header, with ustar's prefix where there is one.

    GNU tar's own magic ("ustar  ") has times in the prefix's place; star puts times into its last 24 bytes, and
    marks that with a trailer.
    """
    name = name.partition(b"\0")[0]
    if magic == b"ustar\0" and prefix[0]:
        if trailer.startswith(b"tar\0", 8):
            prefix = prefix[:131]
        above = prefix.partition(b"\0")[0]
        if above:
            return above + b"/" + name
    return name


def parse_pax(data: bytes) -> Pax:
    """The records of an extended header, ``LENGTH KEY=VALUE\\n`` each; the last of a key counts.

    The oldest form of GNU tar's sparse map repeats two keys; it is folded into the next form's single one.
    """
    records: Pax = {}
    sparse: list[bytes] = []
    while data:
        digits, space, _ = data[:21].partition(b" ")
        if not space:
            raise corrupt("an extended header is malformed")
        length = parse_decimal(digits)
        record, data = data[len(digits) + 1 : length], data[length:]
        key, equals, value = record[:-1].partition(b"=")
        if length > len(digits) + 1 + len(record) or not record.endswith(b"\n") or not equals:
            raise corrupt("an extended header is malformed")
        if key in (b"GNU.sparse.offset", b"GNU.sparse.numbytes"):
            sparse.append(value)
        records[key] = value
    if sparse:
        records[b"GNU.sparse.map"] = b",".join(sparse)
    return records
