"""Writes decompositions.txt, the table UnicodeNormalizer reads, from the Unicode Character Database that Python carries.

Hugging Face's tokenizers normalize by the tables of Unicode 9, and a model's text must become what it became in training: marks and
mappings that came later are left out.

Entries are separated by ';', several a line. Hex code points; one-level mappings, to be expanded by the reader:
  A-B:N    canonical combining class N of the code points A..B
  A=B C    canonical mapping that composition undoes
  A!B C    canonical mapping that composition leaves apart
  A~B C    compatibility mapping
  A-B%     marks that came after Unicode 9
"""
import sys
import unicodedata


NEW_MARKS = """
7FD 897-89F 8CA-8D3 9FE AFA-AFF B55 C04 C3C CF3 D00 D3B-D3C D81 EBA ECE 1715 180F 1ABF-1ACE 1CF2-1CF3 1CF7 1DF6-1DFA A82C A8FF 10D24-10D27 10D69-10D6D
10EAB-10EAC 10EFC-10EFF 10F46-10F50 10F82-10F85 11070 11073-11074 110C2 11145-11146 111C9 111CE-111CF 11241 1133B 113B8-113C0 113C2 113C5 113C7-113CA
113CC-113D0 113D2 113E1-113E2 1145E 1182C-1183A 11930-11935 11937-11938 1193B-1193E 11940 11942-11943 119D1-119D7 119DA-119E0 119E4 11A01-11A0A
11A33-11A39 11A3B-11A3E 11A47 11A51-11A5B 11A8A-11A99 11D31-11D36 11D3A 11D3C-11D3D 11D3F-11D45 11D47 11D8A-11D8E 11D90-11D91 11D93-11D97 11EF3-11EF6
11F00-11F01 11F03 11F34-11F3A 11F3E-11F42 11F5A 13440 13447-13455 1611E-1612F 16F4F 16F7F-16F87 16FE4 16FF0-16FF1 1CF00-1CF2D 1CF30-1CF46 1E08F
1E130-1E136 1E2AE 1E2EC-1E2EF 1E4EC-1E4EF 1E5EE-1E5EF
"""
NEW_MAPPINGS = "32FF A7F2-A7F4 AB69 10780-107BA 11938 1F16C 1FBF0-1FBF9"


def ranges(text):
    for item in text.split():
        first, _, last = item.partition("-")
        yield int(first, 16), int(last or first, 16)


def points(text):
    return {code for first, last in ranges(text) for code in range(first, last + 1)}


def entries():
    new_marks, new_mappings = points(NEW_MARKS), points(NEW_MAPPINGS)
    for start, end in ranges(NEW_MARKS):
        yield f"{start:X}-{end:X}%"
    first, last, klass = None, None, 0
    for code in range(0x110000 + 1):
        current = unicodedata.combining(chr(code)) if code < 0x110000 and code not in new_marks else 0
        if current != klass or code != (last or 0) + 1:
            if klass:
                yield f"{first:X}-{last:X}:{klass}"
            first, klass = code, current
        last = code
    for code in range(0x110000):
        mapping = unicodedata.decomposition(chr(code))
        if not mapping or code in new_mappings:
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
