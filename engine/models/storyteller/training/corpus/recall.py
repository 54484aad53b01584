"""Texts that can only be finished by looking back: words said again, who has what, cards.

Most of a story can be guessed from its plot; the names in it cannot. These
documents are nearly all such places, and teach the model to look back early.
"""
from . import words as W
from .grammar import article, capital, join_and

THINGS = [o for o in W.OBJECTS if o not in ("scissors", "soap")]  # those that go with "a"
PLAIN = (list(W.OBJECTS) + W.FRUITS + W.COLORS + W.FEELINGS + list(W.PLACES) + W.STORY_ANIMALS + W.FOODS + W.TRAITS)


def some_words(rng, n):
    """Words of one or of many kinds, in an order that nothing foretells."""
    pool = rng.choice([PLAIN, PLAIN, W.NAMES, W.NAMES, sorted(W.CAPITALS), sorted(W.CAPITALS.values()), None])
    if pool is None:
        return [str(rng.randint(1, 99)) for _ in range(n)]
    return [rng.choice(pool) for _ in range(n)]


def said_again(rng):
    """A row of words, and the same row again."""
    n = rng.randint(3, 30)
    words, between = some_words(rng, n), rng.choice([" ", ", ", "\n", " - ", ", "])
    row = between.join(words)
    lead, again = rng.choice([("Words: ", "Again: "), ("", ""), ("Listen: ", "Now you: "), ("First: ", "Once more: "), ("He said: ", "She said: ")])
    return "\n\n".join([lead + row] + [again + row] * rng.choice([1, 1, 2, 3]))


def who_has(rng):
    """People and their things, then questions."""
    n = rng.randint(2, 9)
    names, things = rng.sample(W.NAMES, n), rng.sample(THINGS, n)
    has, ask, tell = rng.choice([("%s has %s.", "Who has the %s?", "%s has the %s."), ("%s found %s.", "Who found the %s?", "%s found the %s."),
                                 ("%s bought %s.", "Who bought the %s?", "%s bought the %s.")])
    lines = [" ".join(has % (name, article(thing)) for name, thing in zip(names, things))]
    pairs = [rng.choice(list(zip(names, things))) for _ in range(rng.randint(2, 8))]
    for name, thing in pairs:
        lines.append("Question: " + ask % thing + "\nAnswer: " + tell % (name, thing))
    return "\n\n".join(lines)


def card(rng):
    """What is known of a few people, and the same as sentences."""
    out = []
    for _ in range(rng.randint(1, 4)):
        name, thing, colour, animal = rng.choice(W.NAMES), rng.choice(THINGS), rng.choice(W.COLORS), rng.choice(W.STORY_ANIMALS)
        city, age = rng.choice(sorted(W.CAPITALS.values())), rng.randint(5, 90)
        he, his = ("she", "her") if name in W.GIRLS else ("he", "his")
        out.append("Name: %s\nAge: %d\nCity: %s\nColour: %s\nAnimal: %s\nThing: %s" % (name, age, city, colour, animal, thing))
        out.append("%s is %d years old. %s lives in %s. %s favourite colour is %s, and %s favourite animal is the %s. %s always carries %s."
                   % (name, age, capital(he), city, capital(his), colour, his, animal, name, article(thing)))
    return "\n\n".join(out)


def two_friends(rng):
    """A few sentences about two people whose names and pronouns must stay apart."""
    a, b = rng.sample(W.NAMES, 2)
    ka, kb = rng.sample(W.STORY_ANIMALS, 2)

    def pro(name):
        return ("she", "her", "her") if name in W.GIRLS else ("he", "him", "his")

    (he, him, his), (fhe, fhim, fhis) = pro(a), pro(b)
    thing, other = rng.sample(THINGS, 2)
    lines = ["%s was %s, and %s was %s." % (a, article(ka), b, article(kb)), "%s had %s own %s." % (a, his, thing), "%s had %s own %s." % (b, fhis, other),
             "\"Good morning, %s,\" said %s. \"Good morning, %s,\" said %s." % (b, a, a, b), "%s liked %s %s. \"Where is my %s?\" asked %s." % (a, his, thing, thing, a),
             "%s gave %s the %s. \"Thank you, %s,\" said %s." % (b, him, other, b, a), "%s gave %s the %s. \"Thank you, %s,\" said %s." % (a, fhim, thing, a, b),
             "%s the %s looked at %s the %s." % (a, ka, b, kb), "%s went home, and %s took the %s with %s." % (b, fhe, thing, fhim),
             "%s and %s were friends." % (a, b)]
    rest = lines[1:]
    rng.shuffle(rest)
    return " ".join(lines[:1] + rest[:rng.randint(4, 9)])


def document(rng):
    """One document of some 30 to 250 tokens."""
    kind = rng.random()
    if kind < 0.45:
        return said_again(rng)
    if kind < 0.65:
        return who_has(rng)
    if kind < 0.8:
        return card(rng)
    return two_friends(rng)


def turn(rng):
    """A chat turn of the same kind: (prompt, answer)."""
    kind = rng.random()
    if kind < 0.55:
        words = some_words(rng, rng.randint(1, 8))
        row = join_and(words) if rng.random() < 0.3 else rng.choice([", ", " "]).join(words)
        return rng.choice(["Repeat after me: %s", "Say: %s", "Please say: %s", "Say this again: %s", "Repeat these words: %s", "Copy this line: %s"]) % row, row
    if kind < 0.75:
        words = some_words(rng, rng.randint(3, 7))
        which = rng.choice([("first", 0), ("last", -1)])
        return "Here are some words: %s. What is the %s word?" % (", ".join(words), which[0]), "The %s word is %s." % (which[0], words[which[1]])
    n = rng.randint(2, 4)
    names, things = rng.sample(W.NAMES, n), rng.sample(THINGS, n)
    name, thing = rng.choice(list(zip(names, things)))
    return join_and(["%s has %s" % (x, article(y)) for x, y in zip(names, things)]) + ". Who has the %s?" % thing, "%s has the %s." % (name, thing)
