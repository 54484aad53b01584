"""Questions with answers, lists, sums, steps and small data formats.

Every function returns ``(prompts, answer)``: several ways to ask, one reply.
"""
from . import words as W
from .grammar import article, capital, expand, join_and, number_word

LISTS = {
    "fruits": W.FRUITS, "vegetables": W.VEGETABLES, "animals": sorted(W.ANIMALS), "colours": W.COLORS, "colors": W.COLORS,
    "flowers": W.FLOWERS, "trees": W.TREES, "tools": W.TOOLS, "clothes": W.CLOTHES, "musical instruments": W.INSTRUMENTS,
    "vehicles": W.VEHICLES, "parts of the body": W.BODY, "sports": W.SPORTS, "jobs": sorted(W.JOBS), "drinks": W.DRINKS,
    "foods": W.FOODS, "planets": W.PLANETS, "countries": sorted(W.CAPITALS), "capital cities": sorted(W.CAPITALS.values()),
    "feelings": W.FEELINGS, "farm animals": "cow pig hen sheep goat horse duck".split(),
    "wild animals": "lion bear wolf fox elephant owl monkey".split(), "names": W.NAMES,
    "things in a house": "table chair bed lamp door window mirror clock".split(),
    "things in the sky": "the sun,the moon,a star,a cloud,a bird,a rainbow".split(","),
    "months": W.MONTHS, "days of the week": W.DAYS, "sea animals": "whale fish crab seal dolphin octopus".split(),
    "insects": "bee ant butterfly fly beetle moth".split(), "birds": "owl crow duck hen robin eagle penguin".split(),
}
ORDERED = ("planets", "months", "days of the week")
TIPS = {
    "staying healthy": ["Eat fruit and vegetables.", "Sleep well every night.", "Drink enough water.", "Move your body every day.", "Wash your hands.", "Spend time with friends."],
    "sleeping well": ["Go to bed at the same time every day.", "Keep the room dark and quiet.", "Do not eat late.", "Read a calm book.", "Turn off your screen."],
    "learning": ["Study a little every day.", "Ask questions.", "Take short breaks.", "Explain it to a friend.", "Write down what you learn."],
    "writing a story": ["Choose a hero.", "Give the hero a problem.", "Let a friend help.", "Add a surprise.", "End with a clear last line."],
    "being a good friend": ["Listen well.", "Keep your promises.", "Share what you have.", "Say sorry when you are wrong.", "Help when it is hard."],
    "growing a garden": ["Choose a sunny place.", "Loosen the soil.", "Water the plants in the morning.", "Pull out the weeds.", "Be patient."],
    "saving water": ["Turn off the tap.", "Take short showers.", "Collect rain for the garden.", "Mend what drips."],
    "a rainy day": ["Read a book.", "Bake a cake.", "Play a board game.", "Paint a picture.", "Write a letter.", "Listen to the rain."],
}
STEPS = {
    "make tea": ["Boil some water.", "Put a tea bag in a cup.", "Pour the hot water over it.", "Wait for three minutes.", "Take out the tea bag and enjoy."],
    "make pancakes": ["Mix flour, milk and eggs.", "Heat some butter in a pan.", "Pour in a little batter.", "Turn it when the edge is brown.", "Serve with jam or honey."],
    "make soup": ["Wash and cut the vegetables.", "Put them in a pot with water.", "Add a little salt.", "Cook for twenty minutes.", "Stir and serve hot."],
    "bake bread": ["Mix flour, water, salt and yeast.", "Knead the dough for ten minutes.", "Let it rest for one hour.", "Form a loaf.", "Bake it until it is golden."],
    "plant a tree": ["Dig a hole.", "Put the young tree into it.", "Fill the hole with soil.", "Press the soil down gently.", "Water the tree well."],
    "wash your hands": ["Wet your hands.", "Take some soap.", "Rub your hands for twenty seconds.", "Rinse them with water.", "Dry them with a towel."],
    "make a sandwich": ["Take two slices of bread.", "Spread some butter on them.", "Add cheese and tomato.", "Put the slices together.", "Cut it in half."],
    "fly a kite": ["Wait for a windy day.", "Go to an open field.", "Hold the kite up high.", "Run against the wind.", "Let out the string slowly."],
    "write a letter": ["Take a pen and paper.", "Write the date at the top.", "Begin with a greeting.", "Tell your news.", "Sign your name at the end."],
    "make lemonade": ["Squeeze three lemons.", "Add sugar and cold water.", "Stir well.", "Add some ice.", "Serve it in a tall glass."],
    "boil an egg": ["Put the egg in a pot.", "Cover it with water.", "Bring the water to a boil.", "Wait for seven minutes.", "Cool the egg in cold water."],
    "draw a house": ["Draw a square.", "Put a triangle on top.", "Add a door and two windows.", "Draw a chimney.", "Colour it in."],
}


def a_list(rng):
    """Some things of one kind, in one of several layouts."""
    kind = rng.choice(sorted(LISTS))
    pool = LISTS[kind]
    n = min(rng.choice([2, 3, 3, 3, 4, 5, 5, 6]), len(pool))
    if kind in ORDERED and rng.random() < 0.5:
        items, n = list(pool), len(pool)
    else:
        items = rng.sample(list(pool), n)
        if kind in ORDERED:
            items.sort(key=pool.index)
    word = number_word(n)
    layout = rng.choice(["line", "numbered", "bullets", "line"])
    prompts = ["Name %s %s." % (word, kind), "Give me %s %s." % (word, kind), "List %s %s." % (word, kind), "Can you name %s %s?" % (word, kind),
               "Tell me %s %s." % (word, kind), "I need %s %s." % (word, kind), "Name %d %s" % (n, kind), "Write a list of %s %s." % (word, kind),
               "What are %s %s?" % (word, kind), "List %d %s." % (n, kind), "Name %d %s." % (n, kind)]
    if layout == "line":
        answer = rng.choice(["%s." % capital(join_and(items)), "%s %s are %s." % (capital(word), kind, join_and(items)), "Here are %s %s: %s." % (word, kind, join_and(items))])
    else:
        head = rng.choice(["Here are %s %s:\n" % (word, kind), "%s %s:\n" % (capital(word), kind), ""])
        answer = head + layout_list(items, layout)
        if layout == "numbered":
            prompts = prompts[:6] + ["Write a numbered list of %s %s." % (word, kind), "Give me a numbered list of %d %s." % (n, kind)]
        else:
            prompts = prompts[:6] + ["Write a bulleted list of %s %s." % (word, kind), "List %s %s as bullet points." % (word, kind)]
    return prompts, answer


def layout_list(items, layout):
    if layout == "numbered":
        return "\n".join("%d. %s" % (i, capital(x)) for i, x in enumerate(items, 1))
    return "\n".join("- %s" % capital(x) for x in items)


def tips(rng):
    topic = rng.choice(sorted(TIPS))
    n = rng.randint(2, min(5, len(TIPS[topic])))
    items = rng.sample(TIPS[topic], n)
    word = number_word(n)
    return (["Give me %s tips for %s." % (word, topic), "Do you have any tips for %s?" % topic, "Write %s tips for %s." % (word, topic)],
            "Here are %s tips for %s:\n" % (word, topic) + layout_list(items, rng.choice(["numbered", "bullets"])))


def steps(rng):
    topic = rng.choice(sorted(STEPS))
    items = STEPS[topic]
    if rng.random() < 0.3:
        first, rest = items[0], items[1:]
        lower = [x[0].lower() + x[1:-1] for x in rest]
        answer = "First, %s. Then %s. Next, %s. After that, %s. Last, %s." % ((items[0][0].lower() + items[0][1:-1],) + tuple(lower))
    else:
        answer = rng.choice(["Here is how to %s:\n" % topic, "To %s, do this:\n" % topic]) + layout_list(items, "numbered")
    return (["How do I %s?" % topic, "How do you %s?" % topic, "Tell me how to %s." % topic, "Explain how to %s." % topic, "How can I %s?" % topic], answer)


def arithmetic(rng):
    """Sums and differences up to fifty, small products, comparisons."""
    kind = rng.random()
    if kind < 0.45:
        top = rng.choice([10, 10, 20, 20, 40])
        a, b = rng.randint(0, top), rng.randint(0, min(top, 20))
        op, word, result = "+", "plus", a + b
    elif kind < 0.75:
        top = rng.choice([10, 20, 20, 50])
        a = rng.randint(0, top)
        b = rng.randint(0, min(a, 20))
        op, word, result = "-", "minus", a - b
    elif kind < 0.85:
        a, b = rng.randint(1, 10), rng.randint(1, 10)
        op, word, result = rng.choice("x*"), "times", a * b
    elif kind < 0.93:
        a, b = rng.sample(range(1, 60), 2)
        return (["Which is bigger, %d or %d?" % (a, b), "Which number is larger: %d or %d?" % (a, b)], "%d is bigger than %d." % (max(a, b), min(a, b)))
    else:
        return word_problem(rng)
    expr = "%d %s %d" % (a, op, b)
    prompts = ["What is %s?" % expr, "%s =" % expr, "Calculate %s." % expr, "How much is %s?" % expr, "What is %d %s %d?" % (a, word, b),
               "What's %s?" % expr, "Please work out %s." % expr, "Solve: %s" % expr, "%s?" % expr]
    full = "%s = %d" % (expr, result)
    answers = [full, full + ".", "%s is %d." % (expr, result), "The answer is %d." % result, "%d %s %d is %d." % (a, word, b, result)]
    if op == "+" and 0 < b <= 5 and rng.random() < 0.4:
        answers = ["Start at %d and count up %d: %s. So %s." % (a, b, ", ".join(str(a + i) for i in range(1, b + 1)), full)]
    if op == "-" and 0 < b <= 5 and rng.random() < 0.4:
        answers = ["Start at %d and count down %d: %s. So %s." % (a, b, ", ".join(str(a - i) for i in range(1, b + 1)), full)]
    return prompts, rng.choice(answers)


def word_problem(rng):
    name = rng.choice(W.NAMES)
    a, b = rng.randint(2, 15), rng.randint(1, 10)
    thing = rng.choice(["apples", "books", "coins", "balls", "stones", "eggs", "flowers", "cookies"])
    if rng.random() < 0.5:
        return (["%s has %d %s and gets %d more. How many %s does %s have?" % (name, a, thing, b, thing, name)],
                "%d + %d = %d, so %s has %d %s." % (a, b, a + b, name, a + b, thing))
    a += b
    return (["%s has %d %s and gives away %d. How many are left?" % (name, a, thing, b)],
            "%d - %d = %d, so %d %s are left." % (a, b, a - b, a - b, thing))


def counting(rng):
    kind = rng.random()
    if kind < 0.5:
        n = rng.choice([3, 5, 5, 10, 10, 10, 12, 15, 20])
        word = rng.random() < 0.3
        nums = [number_word(i) if word else str(i) for i in range(1, n + 1)]
        say = rng.choice([number_word(n), str(n)])
        return (["Count to %s." % say, "Can you count to %s?" % say, "Count from 1 to %s." % n, "Please count to %s." % say],
                capital(", ".join(nums)) + ("." if word else rng.choice(["", "."])))
    if kind < 0.65:
        n = rng.choice([3, 5, 10])
        return (["Count down from %s." % number_word(n), "Count backwards from %d." % n, "Count down from %d." % n],
                ", ".join(str(i) for i in range(n, 0, -1)))
    if kind < 0.8:
        n = rng.choice([10, 20, 30])
        return (["Count to %d by twos." % n, "Count in twos to %d." % n], ", ".join(str(i) for i in range(2, n + 1, 2)))
    if kind < 0.9:
        return (["Say the alphabet.", "What is the alphabet?", "Tell me the letters of the alphabet."], "A B C D E F G H I J K L M N O P Q R S T U V W X Y Z")
    n = rng.randint(1, 60)
    return (["What number comes after %d?" % n, "What comes after %d?" % n], "After %d comes %d." % (n, n + 1))


def question(rng):
    """One fact."""
    kind = rng.randint(0, 19)
    if kind <= 2:
        c = rng.choice(sorted(W.CAPITALS))
        if rng.random() < 0.15:
            return ["Which country has the capital %s?" % W.CAPITALS[c], "%s is the capital of which country?" % W.CAPITALS[c]], "%s is the capital of %s." % (W.CAPITALS[c], c)
        return (["What is the capital of %s?" % c, "What's the capital of %s?" % c, "Tell me the capital of %s." % c, "Which city is the capital of %s?" % c, "Capital of %s?" % c, "The capital of %s?" % c],
                rng.choice(["The capital of %s is %s." % (c, W.CAPITALS[c])] * 3 + [W.CAPITALS[c] + "."]))
    if kind <= 4:
        a = rng.choice(sorted(W.OPPOSITES))
        b = W.OPPOSITES[a]
        if rng.random() < 0.5:
            a, b = b, a
        return (["What is the opposite of %s?" % a, "What is the opposite of \"%s\"?" % a, "Give me the opposite of %s." % a], "The opposite of %s is %s." % (a, b))
    if kind <= 7:
        name = rng.choice(sorted(W.ANIMALS))
        sound, food, home, baby, can, legs = W.ANIMALS[name]
        a = article(name)
        options = [(["What does %s eat?" % a, "What do %ss eat?" % name], "%s eats %s." % (capital(a), food)),
                   (["Where does %s live?" % a, "What is the home of %s?" % a], "%s lives in %s." % (capital(a), home)),
                   (["What is a baby %s called?" % name, "What do you call a baby %s?" % name], "A baby %s is called %s." % (name, article(baby))),
                   (["What can %s do?" % a], "%s can %s." % (capital(a), can))]
        if name.endswith("s") or name in ("wolf", "mouse", "sheep", "fox", "butterfly"):
            options[0] = (options[0][0][:1], options[0][1])
        if sound:
            options.append((["What sound does %s make?" % a, "What does %s say?" % a, "What is the sound of %s?" % a], "%s makes the sound \"%s\"." % (capital(a), sound)))
        if legs:
            options.append((["How many legs does %s have?" % a], "%s has %s legs." % (capital(a), number_word(legs))))
        return rng.choice(options)
    if kind <= 9:
        o = rng.choice(sorted(W.OBJECTS))
        return (["What is %s used for?" % article(o), "What is %s for?" % article(o), "What do you do with %s?" % article(o), "What can I do with %s?" % article(o)],
                rng.choice(["%s is used to %s." % (capital(article(o)), W.OBJECTS[o]), "You use %s to %s." % (article(o), W.OBJECTS[o])]))
    if kind == 10:
        x = rng.choice(sorted(W.COLOR_OF))
        return ["What colour is %s?" % x, "What color is %s?" % x], "%s is %s." % (capital(x), W.COLOR_OF[x])
    if kind == 11:
        seq, noun = rng.choice([(W.DAYS, "day"), (W.MONTHS, "month")])
        i = rng.randrange(len(seq))
        if rng.random() < 0.5:
            return ["What %s comes after %s?" % (noun, seq[i]), "Which %s follows %s?" % (noun, seq[i])], "%s comes after %s." % (seq[(i + 1) % len(seq)], seq[i])
        return ["What %s comes before %s?" % (noun, seq[i])], "%s comes before %s." % (seq[i - 1], seq[i])
    if kind <= 13:
        x = rng.choice(sorted(W.DEFINITIONS))
        a = x if x in ("rain", "snow", "wind") else article(x)
        return (["What is %s?" % a, "Define %s." % x, "What does the word \"%s\" mean?" % x, "Explain what %s is." % a, "Explain %s in one sentence." % a], "%s is %s." % (capital(a), W.DEFINITIONS[x]))
    if kind == 14:
        job = rng.choice(sorted(W.JOBS))
        return ["What does %s do?" % article(job), "What is the work of %s?" % article(job)], "%s %s." % (capital(article(job)), W.JOBS[job])
    if kind == 15:
        x = rng.choice(sorted(W.RHYMES))
        return ["What rhymes with %s?" % x, "Give me a word that rhymes with %s." % x, "What word rhymes with \"%s\"?" % x], "%s rhymes with %s." % (capital(W.RHYMES[x]), x)
    if kind == 16:
        lang = rng.choice(sorted(W.TRANSLATIONS))
        x = rng.choice(sorted(W.TRANSLATIONS[lang]))
        y = W.TRANSLATIONS[lang][x]
        return ["How do you say \"%s\" in %s?" % (x, lang), "Translate \"%s\" into %s." % (x, lang), "What is %s in %s?" % (x, lang), "Say \"%s\" in %s." % (x, lang)], "\"%s\" in %s is \"%s\"." % (capital(x), lang, y)
    if kind == 17:
        return yes_no(rng)
    q = rng.choice(sorted(W.WHY))
    return [q + "?", q + "?", "Please tell me: " + q[0].lower() + q[1:] + "?"], W.WHY[q]


def yes_no(rng):
    name = rng.choice(sorted(W.ANIMALS))
    legs = W.ANIMALS[name][5]
    pick = rng.random()
    if pick < 0.4:
        guess = rng.choice([2, 4, 6, 8])
        q = "Does %s have %s legs?" % (article(name), number_word(guess))
        a = "Yes, %s has %s legs." % (article(name), number_word(legs)) if legs == guess else "No, %s has %s legs." % (article(name), number_word(legs) if legs else "no")
    elif pick < 0.7:
        x = rng.choice(sorted(W.COLOR_OF))
        col = W.COLOR_OF[x] if rng.random() < 0.5 else rng.choice(W.COLORS[:11])
        q = "Is %s %s?" % (x, col)
        a = "Yes, %s is %s." % (x, col) if col == W.COLOR_OF[x] else "No, %s is %s." % (x, W.COLOR_OF[x])
    else:
        c = rng.choice(sorted(W.CAPITALS))
        city = W.CAPITALS[c] if rng.random() < 0.5 else rng.choice(sorted(W.CAPITALS.values()))
        q = "Is %s the capital of %s?" % (city, c)
        a = "Yes, %s is the capital of %s." % (city, c) if city == W.CAPITALS[c] else "No, the capital of %s is %s." % (c, W.CAPITALS[c])
    if rng.random() < 0.3:
        return [q + " Answer with yes or no.", "Answer yes or no: " + q], a.split(",")[0] + "."
    return [q], a


def spelling(rng):
    word = rng.choice(rng.choice([sorted(W.ANIMALS), W.FRUITS, W.COLORS, sorted(W.OBJECTS)]))
    return ["Spell \"%s\"." % word, "Spell the word %s." % word, "How do you spell %s?" % word], "-".join(word.upper())


def sentence(rng):
    word = rng.choice(sorted(W.ANIMALS) + sorted(W.OBJECTS) + sorted(W.PLACES))
    text = expand(rng, "[The {w} is {adj} and {adj2}.|I saw {a:w} {when}.|There is {a:w} in my {place}.|{name} likes the {col} {w}.|{name} drew {a:w} with {a:col} pencil.|{C:when}, {name} dreamed of {a:w}.]",
                  dict(w=word, adj=rng.choice(["big", "old", "small", "nice"]), adj2=rng.choice(W.COLORS), when=rng.choice(["yesterday", "last night", "this morning", "on " + rng.choice(W.DAYS)]),
                       place=rng.choice(["dream", "story", "book", "picture"]), name=rng.choice(W.NAMES), col=rng.choice(W.COLORS)))
    return ["Write a sentence with the word %s." % word, "Write one sentence about %s." % article(word), "Make a sentence with \"%s\"." % word, "Give me a sentence about %s." % article(word)], text


def json_object(rng):
    """A small JSON value."""
    name, age, city, animal, col = rng.choice(W.NAMES), rng.randint(3, 90), rng.choice(sorted(W.CAPITALS.values())), rng.choice(W.STORY_ANIMALS), rng.choice(W.COLORS)
    pick = rng.random()
    if pick < 0.35:
        return ["Write a JSON object with a name and an age.", "Give me a person as JSON.", "Make a JSON object for a person with name and age.", "JSON with name and age, please."], '{"name": "%s", "age": %d}' % (name, age)
    if pick < 0.6:
        return ["Write a JSON object with a name, an age and a city.", "Describe a person as JSON with name, age and city."], '{"name": "%s", "age": %d, "city": "%s"}' % (name, age, city)
    if pick < 0.8:
        return ["Describe an animal as JSON.", "Write a JSON object for an animal with name, kind and color.", "Give me an animal as JSON."], '{"name": "%s", "kind": "%s", "color": "%s"}' % (name, animal, col)
    items = rng.sample(W.FRUITS, 3)
    return ["Give me a JSON list of three fruits.", "Write three fruits as a JSON array."], '["%s"]' % '", "'.join(items)


def any_fact(rng):
    """One of everything in this file."""
    return rng.choices([question, a_list, arithmetic, counting, tips, steps, spelling, sentence, json_object],
                       [40, 16, 22, 5, 3, 5, 2, 4, 3])[0](rng)
