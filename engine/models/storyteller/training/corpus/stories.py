"""Stories: a hero, a friend, a plot, and now and then several chapters."""
from . import words as W
from .grammar import capital, expand, article
from .plots import PLOTS

OPENINGS = [
    "Once upon a time, there was {a:t} {k} named {h}. {He} lived {prep} {a:adj} {place}.",
    "Once upon a time, {prep} {a:adj} {place}, there lived {a:t} {k} called {h}.",
    "Once upon a time, there lived {a:size} {k} whose name was {h}. {He} was very {t}.",
    "Long ago, {prep} {a:adj} {place}, lived {a:t} {k} named {h}.",
    "There was once {a:size} {k} named {h}, who lived {prep} {a:adj} {place}.",
    "{h} was {a:t} {k}. {He} lived {prep} {a:adj} {place} with {his} family.",
    "{h} the {k} lived {prep} {a:adj} {place}. Everyone knew that {he} was {t}.",
    "In a land far away lived {a:size} {k} called {h}. {He} was {t} and {u}.",
    "{Prep} {a:adj} {place} there lived {a:k} named {h}. Some said {he} was {t}, and some said {he} was {u}.",
]
FRIENDS = [
    "{His} best friend was {f}, {a:u} {g}.", "{He} had a friend named {f}, who was {a:g}.",
    "Next door lived {f}, {a:u} {g}.", "{f} the {g} was {his} best friend.",
    "{h} and {a:g} named {f} were the best of friends.", "Every day {he} played with {f}, {a:u} {g}.",
]
EXTRAS = [
    "{h} loved {food} more than anything.", "{His} favourite colour was {col}.",
    "In the morning {he} liked to walk to the {p2}.", "{He} always carried {a:o}.",
    "The {place} was {adj}, and {he} knew every path.", "Nobody {prep} the {place} was as {t} as {h}.",
    "It was a [cold|warm|windy|bright|rainy|misty] day in {month}.",
]
CLOSINGS = ["The end.", "And they lived happily ever after.", "And that is the end of the story.",
            "And so it was.", "They stayed friends for the rest of their lives.", ""]
THINGS = "boat cart kite wagon raft sled windmill bridge".split()


def person(rng, friend_of=None):
    """A story figure: name, what it is, its pronouns."""
    others = [n for n in W.NAMES if n != friend_of]
    # Half of the time a usual friend: a model that takes the likeliest name then gets one that is not the hero's.
    name = W.NAMES[(W.NAMES.index(friend_of) + 17) % len(W.NAMES)] if friend_of and rng.random() < 0.5 else rng.choice(others)
    girl = name in W.GIRLS
    if rng.random() < 0.62:
        kind = rng.choice(W.STORY_ANIMALS)
    else:
        kind = rng.choice(["girl"] if girl else ["boy"]) if rng.random() < 0.6 else rng.choice(sorted(W.JOBS))
    return name, kind, ("she", "her", "her") if girl else ("he", "him", "his")


def slots(rng, hero=None, kind=None, thing=None, friend=None):
    """Draw everything that a story needs."""
    name, k, pro = person(rng)
    if hero:
        name = hero
        pro = ("she", "her", "her") if hero in W.GIRLS else ("he", "him", "his")
    if kind:
        k = kind
    fname, g, fpro = person(rng, name)
    if friend:
        fname = friend
        fpro = ("she", "her", "her") if friend in W.GIRLS else ("he", "him", "his")
    place, p2 = rng.sample(sorted(W.PLACES), 2)
    t, u = rng.sample(W.TRAITS, 2)
    s = dict(h=name, k=k, f=fname, g=g, he=pro[0], him=pro[1], his=pro[2], He=capital(pro[0]), His=capital(pro[2]),
             fhe=fpro[0], fhim=fpro[1], fhis=fpro[2], fHe=capital(fpro[0]), place=place, p2=p2,
             prep=W.PLACES[place], Prep=capital(W.PLACES[place]), t=t, u=u, size=rng.choice(W.SIZES),
             adj=rng.choice(W.PLACE_ADJ), o=thing or rng.choice(W.TREASURES), col=rng.choice(W.COLORS),
             food=rng.choice(W.FOODS), veg=rng.choice(W.VEGETABLES), drink=rng.choice(W.DRINKS),
             n=rng.choice("two three four five six seven eight nine ten".split()), month=rng.choice(W.MONTHS),
             g2=rng.choice(W.STORY_ANIMALS), w2=rng.choice(["lake", "river", "pond", "sea"]),
             job=rng.choice(sorted(W.JOBS)), thing=rng.choice(THINGS), inst=rng.choice(W.INSTRUMENTS))
    return s


def story(rng, hero=None, kind=None, thing=None, title=None, friend=None, short=False):
    """One story of three to six short paragraphs."""
    s = slots(rng, hero, kind, thing, friend)
    titles, parts, morals = PLOTS[rng.choice(sorted(PLOTS))]
    if title is None:
        title = rng.random() < 0.35
    intro = [rng.choice(OPENINGS), rng.choice(FRIENDS)]
    if rng.random() < 0.4:
        intro.append(rng.choice(EXTRAS))
    if short:
        parts = [parts[0], parts[-1]] if rng.random() < 0.2 else parts[:2] + parts[-1:]
        intro = intro[:2]
    paragraphs = [" ".join(intro)] + list(parts)
    end = rng.choice(CLOSINGS)
    if rng.random() < 0.45:
        moral = rng.choice(morals)
        end = (end + " " if end else "") + rng.choice(["The moral: ", "Moral: ", "", "Remember: "]) + moral
    paragraphs = [expand(rng, p, s) for p in paragraphs]
    if end:
        if rng.random() < 0.5:
            paragraphs[-1] += " " + end
        else:
            paragraphs.append(end)
    text = ("\n\n" if rng.random() < 0.75 else " ").join(p for p in paragraphs if p)
    if title:
        text = expand(rng, rng.choice(titles), s) + "\n\n" + text
    return text


def tiny_story(rng, hero=None, kind=None):
    """A story of a few sentences."""
    s = slots(rng, hero, kind)
    middle = rng.choice([
        "One day {he} found {a:o} {prep} the {place}. [{He} did not know what it was for.|It was {col} and shiny.] {f} said, \"[You can use it to {use}|It is good for one thing: to {use}].\" So that is what {h} did, and {he} was [happy|very glad].",
        "Every day {he} ate {food}, but one day the plate was empty. {f} gave {him} [half of {fhis} own|a big bowl of soup], and {h} said, \"Thank you, dear friend.\"",
        "{He} wanted to see the {p2}, so {he} walked for {n} days. There {he} met {f}, and they [watched the sunset|ate {food}|danced] together.",
        "One night the wind blew {his} {o} away. {f} [caught it in the air|found it in a tree] and brought it back. [{h} laughed and thanked {fhim}.|\"You are a true friend,\" said {h}.]",
        "{He} was [afraid of the dark|afraid of thunder|too shy to speak], but {f} held {his} hand. After that {he} felt [brave|calm|safe].",
        "{He} planted a seed and waited. After {n} weeks there was a big {veg}, and {h} and {f} made soup.",
    ])
    s["use"] = W.OBJECTS[s["o"]]
    return expand(rng, rng.choice(OPENINGS) + " " + middle + " " + rng.choice(CLOSINGS[:5]), s).strip()


def long_story(rng, chapters):
    """Several adventures of the same two friends, as chapters."""
    s = slots(rng)
    intro = [rng.choice(OPENINGS), rng.choice(FRIENDS), rng.choice(EXTRAS)]
    out = [expand(rng, rng.choice(["The Adventures of {h} and {f}", "{h} and {f}", "The Book of {h}", "{h} the {C:k}"]), s),
           expand(rng, " ".join(intro), s)]
    order = sorted(PLOTS)
    rng.shuffle(order)
    for number, plot in enumerate(order[:chapters], 1):
        titles, parts, morals = PLOTS[plot]
        fresh = slots(rng)
        for key in ("o", "col", "food", "p2", "veg", "drink", "n", "g2", "w2", "job", "thing", "inst"):
            s[key] = fresh[key]
        head = "Chapter %d: %s" % (number, expand(rng, rng.choice(titles), s))
        body = [expand(rng, p, s) for p in parts]
        if rng.random() < 0.4:
            body[-1] += " " + rng.choice(morals)
        out += [head] + body
    out.append(expand(rng, rng.choice(CLOSINGS[:5]), s))
    return "\n\n".join(out)


def poem(rng, topic=None):
    """Four or eight rhymed lines about a topic."""
    topic = topic or rng.choice(["the sea", "the moon", "a cat", "a dog", "spring", "summer", "autumn", "winter", "the rain",
                                 "a tree", "the wind", "a star", "a river", "the night", "a friend", "home", "a bird", "snow"])
    couplets = [
        ("I think of {x} when day is done,", "and when I wake up with the sun."),
        ("Oh, {x}, so [quiet and so near|lovely and so clear],", "I am so happy you are here."),
        ("In morning light, in evening grey,", "I think of {x} every day."),
        ("The world is wide, the sky is blue,", "and {x} is old, and always new."),
        ("A little song, a little rhyme,", "for {x} and for the summer time."),
        ("The stars come out, the birds fly home,", "with {x} I never feel alone."),
        ("I wrote a line, I wrote it twice,", "for {x} is always warm and nice."),
        ("The clock goes round, the children play,", "and {x} will never go away."),
        ("Through open fields and over the hill,", "I look for {x}, and always will."),
        ("The lamp is lit, the door is wide,", "and {x} is waiting there outside."),
    ]
    lines = []
    for first, second in rng.sample(couplets, rng.choice([2, 2, 3, 4])):
        lines += [expand(rng, first, {"x": topic}), expand(rng, second, {"x": topic})]
    return topic, "\n".join(capital(line) for line in lines)


def letter(rng):
    """A short letter."""
    s = slots(rng)
    text = ("Dear {f},\n\n[How are you|I hope you are well|Thank you for your letter]{mark} [I am writing from {a:adj} {place}.|"
            "Here {prep} the {place} it is {adj}.|It is {month} now, and the days are {days}.] "
            "[Yesterday I went to the {p2} and saw {a:g2}.|Last week I bought {a:col} {o}.|I have learned to play the {inst}.|"
            "My friend the {job} taught me how to make {food}.] "
            "[It made me think of you.|It was great fun.|I was very {feel}.] [Please come and visit me soon.|Do you remember our trip to the {w2}?|"
            "When will you come to see me?] [I will make {food} for you.|We can drink {drink} together.|There is so much to tell.]\n\n"
            "[Your friend|With love|Best wishes|Yours],\n{h}")
    s["feel"] = rng.choice(W.FEELINGS)
    s["days"] = rng.choice(["long", "short", "warm", "cold"])
    text = text.replace("[How are you|I hope you are well|Thank you for your letter]{mark}",
                        rng.choice(["How are you?", "I hope you are well.", "Thank you for your letter."]))
    return expand(rng, text, s)


def weather(rng):
    """A weather report."""
    low = rng.randint(-5, 22)
    high = low + rng.randint(2, 9)
    s = dict(day=rng.choice(W.DAYS), place=rng.choice(sorted(W.PLACES)), low=low, high=high,
             city=rng.choice(sorted(W.CAPITALS.values())), month=rng.choice(W.MONTHS),
             sky=rng.choice(["sunny", "cloudy", "rainy", "windy", "foggy", "stormy"] + (["snowy"] if low < 2 else [])))
    tip = {"sunny": "Take a hat and drink enough water.", "cloudy": "It will stay dry.", "rainy": "Do not forget your umbrella.",
           "windy": "Hold on to your hat.", "foggy": "Please drive slowly.", "stormy": "It is best to stay inside.",
           "snowy": "Put on warm boots."}[s["sky"]]
    return expand(rng, "[Weather report for {city}|The weather in {city} on {day}|Here is the weather for {day}]: It will be {sky}, "
                       "with [a low of {low} and a high of {high} degrees|{low} degrees in the morning and {high} degrees in the afternoon]. "
                       "[The wind comes from the {wind}. |]{tip}", dict(s, wind=rng.choice(["north", "south", "east", "west"]), tip=tip))


def describe(rng):
    """A short description of an animal, a job or a place."""
    pick = rng.random()
    if pick < 0.5:
        name = rng.choice(sorted(W.ANIMALS))
        return about_animal(rng, name)
    if pick < 0.8:
        job = rng.choice(sorted(W.JOBS))
        return expand(rng, "%s %s. [People like a good %s.|It is hard work, but it makes people happy.|Every %s needs one.]"
                      % (capital(article(job)), W.JOBS[job], job, rng.choice(["village", "town", "city"])))
    season = rng.choice(sorted(W.SEASONS))
    return "In %s %s." % (season, W.SEASONS[season])


def about_animal(rng, name):
    """Two to five sentences about an animal."""
    sound, food, home, baby, can, legs = W.ANIMALS[name]
    a = capital(article(name))
    facts = ["%s lives in %s." % (a, home) if not home.startswith(("the savanna", "the shore", "the hills")) else "%s lives on %s." % (a, home),
             "It eats %s." % food, "It can %s." % can, "%s is called %s." % ("A baby " + name, article(baby))]
    if legs:
        facts.append("It has %s legs." % {2: "two", 4: "four", 6: "six", 8: "eight"}[legs])
    if sound:
        facts.append("The sound it makes is \"%s\"." % sound)
    rest = facts[1:]
    rng.shuffle(rest)
    return " ".join([facts[0]] + rest[:rng.randint(1, 4)])
