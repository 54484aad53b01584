"""The corpus of the Storyteller model: all text is drawn from a seed."""
import random

from . import chat, facts, recall, stories
from . import words as W
from .grammar import capital


def qa_page(rng, n):
    """Plain-text questions and answers."""
    style = rng.choice(["Question: %s\nAnswer: %s", "Q: %s\nA: %s", "%s\n%s", "%s %s"])
    out = []
    for _ in range(n):
        prompts, answer = facts.any_fact(rng)
        prompt = prompts[0] if style == "%s %s" else rng.choice(prompts)
        if prompt.endswith("=") or "=" in prompt:
            out.append(answer)
        else:
            out.append(style % (prompt, answer))
    return ("\n\n" if "\n" in style else "\n").join(out)


def statements(rng):
    """Facts as running text."""
    kind = rng.random()
    if kind < 0.3:
        c = rng.choice(sorted(W.CAPITALS))
        return "The capital of %s is %s. %s is a city in %s." % (c, W.CAPITALS[c], W.CAPITALS[c], c)
    if kind < 0.6:
        return " ".join(facts.question(rng)[1] for _ in range(rng.randint(2, 5)))
    if kind < 0.8:
        rows = []
        for _ in range(rng.randint(3, 10)):
            prompts, answer = facts.arithmetic(rng)
            rows.append(next((answer for _ in [0] if "=" in answer and "count" not in answer), "%d + %d = %d" % (2, 3, 5)))
        return "\n".join(r.rstrip(".") for r in rows)
    return capital(facts.a_list(rng)[1])


def short_document(rng):
    """One document of the usual size."""
    kind = rng.choices(["story", "tiny", "chat", "qa", "facts", "poem", "letter", "weather", "describe", "recall"],
                       [28, 7, 46, 7, 4, 3, 3, 2, 2, 5])[0]
    if kind == "story":
        return stories.story(rng, short=rng.random() < 0.25)
    if kind == "tiny":
        return stories.tiny_story(rng)
    if kind == "chat":
        return chat.chat(rng)
    if kind == "qa":
        return qa_page(rng, rng.randint(1, 6))
    if kind == "facts":
        return statements(rng)
    if kind == "poem":
        topic, text = stories.poem(rng)
        return rng.choice(["", "A poem about %s\n\n" % topic, capital(topic) + "\n\n"]) + text
    if kind == "letter":
        return stories.letter(rng)
    if kind == "recall":
        return recall.document(rng)
    if kind == "weather":
        return stories.weather(rng)
    return "\n".join(stories.describe(rng) for _ in range(rng.randint(1, 4)))


def long_document(rng):
    """One document of some 800 to 3000 tokens."""
    kind = rng.random()
    if kind < 0.4:
        return stories.long_story(rng, rng.randint(3, 12))
    if kind < 0.85:
        return chat.chat(rng, rng.randint(10, 40))
    if kind < 0.93:
        return qa_page(rng, rng.randint(20, 50))
    return "\n\n".join(stories.story(rng, title=True) for _ in range(rng.randint(4, 9)))


def documents(seed, count, long_share=0.0):
    """A stream of documents that depends on the seed alone."""
    for i in range(count):
        rng = random.Random("%s:%d" % (seed, i))
        yield long_document(rng) if rng.random() < long_share else short_document(rng)
