"""The boxes of the course's protocol by hand: an independent check of whoever reads and writes them with a library."""

import struct
from collections.abc import Sequence

Box = dict[str, bytes]
Value = bytes | str | bool | Sequence[float | str | bytes]


def write_value(value: Value) -> bytes:
    """A value's bytes; floats in a list as their shortest text, texts and bytes in a list as they are."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, bool | str):
        return str(value).encode()
    texts = [item if isinstance(item, bytes) else str(item).encode() for item in value]
    return b"".join(struct.pack(">H", len(text)) + text for text in texts)


def write_box(fields: dict[str, Value]) -> bytes:
    """A box; its keys in ascending order, as the server and Twisted's clients write them."""
    pairs = [(key.encode(), write_value(value)) for key, value in sorted(fields.items())]
    return b"".join(struct.pack(">H", len(part)) + part for pair in pairs for part in pair) + b"\0\0"


def read_floats(value: bytes) -> list[float]:
    """The numbers of a list."""
    values, at = [], 0
    while at < len(value):
        (size,) = struct.unpack_from(">H", value, at)
        values.append(float(value[at + 2 : at + 2 + size]))
        at += 2 + size
    return values


def first_box(data: bytes) -> tuple[Box, bytes] | None:
    """The first box in `data` and its bytes, None if it is not complete."""
    box: Box = {}
    at, key = 0, None
    while at + 2 <= len(data):
        (size,) = struct.unpack_from(">H", data, at)
        part, at = data[at + 2 : at + 2 + size], at + 2 + size
        if at > len(data):
            return None
        if key is not None:
            assert key not in box, f"the key {key} comes twice"
            box[key], key = part, None
        elif size == 0:
            return box, data[:at]
        else:
            key = part.decode("ascii")
    return None
