"""Removes DWARF from a WebAssembly module and leaves its function names.

usage: strip_debug_sections.py MODULE.wasm

The linker behind `zig cc` knows only all or nothing: -s drops the name section
along with the .debug_* sections, and without -s the C library brings a megabyte
of DWARF that holds paths of the machine it was built on. A backtrace needs the
names and nothing else. Sections: WebAssembly core specification, 5.5.2-5.5.3.
"""

import pathlib
import sys

HEADER_BYTES = 8  # magic and version
CUSTOM_SECTION = 0


def read_leb128(data, at):
    """An unsigned LEB128 number and the offset after it."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def without_debug_sections(module):
    kept = bytearray(module[:HEADER_BYTES])
    at = HEADER_BYTES
    while at < len(module):
        start = at
        kind = module[at]
        size, body = read_leb128(module, at + 1)
        at = body + size
        if kind == CUSTOM_SECTION:
            length, name = read_leb128(module, body)
            if module[name : name + length].startswith(b".debug_"):
                continue
        kept += module[start:at]
    return bytes(kept)


path = pathlib.Path(sys.argv[1])
path.write_bytes(without_debug_sections(path.read_bytes()))
