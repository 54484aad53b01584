"""A tiny template language for the corpus generator.

``[one|two|three]`` picks one alternative (they nest), ``{slot}`` inserts a
slot, ``{a:slot}`` puts "a" or "an" in front of it and ``{C:slot}`` makes its
first letter a capital.  Everything is drawn from the ``random.Random`` that is
handed in, so a seed fixes the text.
"""
import re

_CHOICE = re.compile(r"\[([^\[\]]*)\]")
_SLOT = re.compile(r"\{(?:(a|A|C):)?(\w+)\}")


def article(noun):
    """The noun with its indefinite article."""
    return ("an " if noun[0].lower() in "aeiou" and not noun.startswith("uni") else "a ") + noun


def capital(text):
    """The text with a capital first letter."""
    return text[:1].upper() + text[1:]


def expand(rng, text, slots=None):
    """Fill in one template."""
    def choose(match):
        return rng.choice(match.group(1).split("|"))

    def fill(match):
        value = str(slots[match.group(2)])
        kind = match.group(1)
        if kind == "a":
            return article(value)
        if kind == "A":
            return capital(article(value))
        if kind == "C":
            return capital(value)
        return value

    while "[" in text:
        new = _CHOICE.sub(choose, text)
        if new == text:
            break
        text = new
    if slots is not None:
        text = _SLOT.sub(fill, text)
    return text


def join_and(items, last="and"):
    """``a, b and c``."""
    items = list(items)
    if len(items) == 1:
        return items[0]
    return ", ".join(items[:-1]) + " " + last + " " + items[-1]


def number_word(n):
    """Numbers from 0 to 100 in words."""
    small = ("zero one two three four five six seven eight nine ten eleven twelve thirteen "
             "fourteen fifteen sixteen seventeen eighteen nineteen").split()
    tens = "_ _ twenty thirty forty fifty sixty seventy eighty ninety".split()
    if n < 20:
        return small[n]
    if n == 100:
        return "one hundred"
    return tens[n // 10] + ("-" + small[n % 10] if n % 10 else "")
