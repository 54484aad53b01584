"""Writes decompositions.txt, the table UnicodeNormalizer reads, from the Unicode Character Database that Python carries.

Entries are separated by ';', several a line. Hex code points; one-level mappings, to be expanded by the reader:
  A-B:N    canonical combining class N of the code points A..B
  A=B C    canonical mapping that composition undoes
  A!B C    canonical mapping that composition leaves apart
  A~B C    compatibility mapping
"""
import sys
import unicodedata


def entries():
    first, last, klass = None, None, 0
    for code in range(0x110000 + 1):
        current = unicodedata.combining(chr(code)) if code < 0x110000 else 0
        if current != klass or code != (last or 0) + 1:
            if klass:
                yield f"{first:X}-{last:X}:{klass}"
            first, klass = code, current
        last = code
    for code in range(0x110000):
        mapping = unicodedata.decomposition(chr(code))
        if not mapping:
            continue
        tag, _, rest = mapping.rpartition("> ")
        target = " ".join(f"{int(part, 16):X}" for part in rest.split())
        if tag:
            sign = "~"
        else:
            sign = "=" if unicodedata.normalize("NFC", chr(code)) == chr(code) else "!"
        yield f"{code:X}{sign}{target}"


def main():
    line = ""
    out = open(sys.argv[1], "w", encoding="ascii", newline="\n")
    out.write(f"# Made by make_decompositions.py from the Unicode Character Database {unicodedata.unidata_version}.\n")
    for entry in entries():
        if len(line) + len(entry) > 158:
            out.write(line + "\n")
            line = ""
        line += entry + ";"
    out.write(line + "\n")


main()
