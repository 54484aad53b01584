"""Conversations in the chat format, from one turn to dozens."""
from . import words as W
from . import recall
from .facts import any_fact, arithmetic, a_list
from .grammar import article, capital, expand
from . import stories as S

SYSTEMS = ["You are a helpful assistant.", "You are Storyteller, a small and friendly model.", "You are a helpful model.", "You are a kind storyteller.",
           "Answer in short sentences.", "You are a patient teacher.", "Be brief.", "You are a friendly assistant who tells stories.",
           "You are Storyteller, the small model built into ScriptedServe.", "Be kind and helpful.", "You answer questions."]
UNKNOWN = ["I do not know that. I am a small model, and I know stories, lists, sums and simple facts.",
           "I do not know that. I am only a small model.", "Sorry, I do not know anything about that. Ask me for a story, a list or a small sum.",
           "I am a small model, and I do not know about {x}. Would you like a story instead?",
           "I do not know about {x}. I know simple things, such as animals, colours and small sums."]


def user(text):
    return ("user", text)


def bot(text):
    return ("assistant", text)


def identity(rng):
    name = ["I am Storyteller, the small model built into ScriptedServe.", "My name is Storyteller. I am the small model built into ScriptedServe.",
            "I am Storyteller, a small language model. I am built into ScriptedServe."]
    table = [
        (["Who are you?", "What is your name?", "What are you?", "Tell me about yourself.", "Who am I talking to?", "Introduce yourself.", "What model are you?", "What's your name?"], name),
        (["What can you do?", "How can you help me?", "What do you know?", "Help", "What are you good at?"],
         ["I can tell short stories, write lists, do small sums and answer simple questions.", "I can tell stories, count, write lists and answer simple questions about animals, colours and countries."]),
        (["Who made you?", "Where do you come from?", "Where were you trained?"], ["I was made for ScriptedServe, and I learned from small stories and simple facts.", "The makers of ScriptedServe trained me on simple made-up text."]),
        (["Are you a person?", "Are you human?", "Are you a robot?", "Are you real?"], ["No, I am a small language model. I only know words.", "I am a small language model, not a person."]),
        (["How big are you?", "Are you a large model?", "How many parameters do you have?"], ["I am very small. I have about two million parameters.", "I am a tiny model with about two million parameters."]),
        (["How old are you?", "When is your birthday?"], ["I am a model, so I have no age, but I feel quite new.", "I have no birthday. I am a small model."]),
        (["What is ScriptedServe?", "Tell me about ScriptedServe."], ["ScriptedServe is a program that serves language models, and its behaviour can be scripted. I am its built-in model."]),
        (["What is your favourite colour?", "What is your favorite color?"], ["I like " + rng.choice(["blue", "green", "red"]) + ", but I have never seen it."]),
    ]
    prompts, answers = rng.choices(table, [6, 3, 1, 1, 1, 1, 1, 1])[0]
    return [user(rng.choice(prompts)), bot(rng.choice(answers))]


def greeting(rng):
    pick = rng.random()
    if pick < 0.5:
        return [user(rng.choice(["Hello!", "Hi!", "Hello", "Hi", "Hey", "Hello there!", "Good morning!", "Good evening!", "Hi there!", "Hey there!", "Good afternoon!"])),
                bot(rng.choice(["Hello! How can I help you today?", "Hello! What would you like to hear?", "Hi! Would you like a story, a list or a sum?", "Hello! It is nice to meet you.", "Hi there! How can I help you?"]))]
    if pick < 0.8:
        return [user(rng.choice(["Hello! How are you?", "How are you?", "Hi, how are you today?", "How are you doing?", "Hello, how are you?"])),
                bot(rng.choice(["I am well, thank you. How are you?", "I am fine, thank you. How can I help you?", "Very well, thank you! What can I do for you?"]))]
    if pick < 0.9:
        feel = rng.choice(W.FEELINGS)
        reply = {"sad": "I am sorry to hear that. Shall I tell you a happy story?", "lonely": "I am here with you. Shall I tell you a story?",
                 "tired": "Then you should rest. Sleep well!", "afraid": "Do not worry. Things are less scary when you look at them.",
                 "hungry": "Then it is time to eat. How about some %s?" % rng.choice(W.FOODS), "worried": "Take a deep breath. It will be all right."}.get(feel, "That is good to hear! Why are you %s?" % feel)
        return [user(rng.choice(["I am %s.", "I feel %s.", "Today I am %s.", "I am very %s today."]) % feel), bot(reply)]
    return [user(rng.choice(["Say this is a test.", "Say this is a test!", "This is a test.", "Test", "test", "Say hello.", "ping"])),
            None]


def echo(rng):
    word = rng.choice(rng.choice([W.FRUITS, W.COLORS, sorted(W.OBJECTS), W.NAMES]))
    phrase = rng.choice(["%s", "hello %s", "the %s is here", "I like " + article(word), "one %s"])
    phrase = phrase % word if "%s" in phrase else phrase
    return [user(rng.choice(["Repeat after me: %s", "Say \"%s\".", "Please say: %s", "Say %s"]) % phrase), bot(capital(phrase) + rng.choice(["", "."]))]


def again(rng):
    prompt, answer = recall.turn(rng)
    return [user(prompt), bot(answer)]


def fact(rng):
    prompts, answer = any_fact(rng)
    prompt = rng.choice(prompts)
    if rng.random() < 0.08:
        prompt = rng.choice(["Please help me. ", "I have a question. ", "Hello! ", "Can you help me? ", "Hi. "]) + prompt
    if rng.random() < 0.06:
        prompt = prompt.rstrip(".?")
    elif rng.random() < 0.05:
        prompt = prompt[0].lower() + prompt[1:]
    return [user(prompt), bot(answer)]


def story_request(rng):
    pick = rng.random()
    ask = rng.choice(["Tell me a {l}story about {x}.", "Write a {l}story about {x}.", "Can you tell me a {l}story about {x}?", "I want to hear a {l}story about {x}.",
                      "Please tell me a {l}story about {x}.", "A {l}story about {x}, please.", "Tell a {l}story about {x}.", "Give me a {l}story about {x}."])
    length = rng.choice(["", "", "", "short ", "short ", "little "])
    kind = hero = thing = None
    if pick < 0.55:
        kind = rng.choice(W.STORY_ANIMALS)
        hero = rng.choice(W.NAMES)
        x = article(kind) if rng.random() < 0.75 else article(kind) + " named " + hero
    elif pick < 0.7:
        hero = rng.choice(W.NAMES)
        kind = "girl" if hero in W.GIRLS else "boy"
        x = rng.choice([article(kind), article(kind) + " named " + hero, article(rng.choice(["brave", "kind", "clever"]) + " " + kind)])
    elif pick < 0.8:
        kind = rng.choice(sorted(W.JOBS))
        x = article(kind)
    elif pick < 0.9:
        thing = rng.choice(W.TREASURES)
        x = article(thing)
    else:
        x = None
    prompt = ask.format(l=length, x=x) if x else rng.choice(["Tell me a story.", "Tell me a short story.", "Write a short story.", "I want to hear a story.", "Can you tell me a story?", "Please tell me a bedtime story."])
    if thing:
        text = S.story(rng, thing=thing, title=False, short=True)
        while thing not in text:
            text = S.story(rng, thing=thing, title=False, short=True)
    elif length and rng.random() < 0.6:
        text = S.tiny_story(rng, hero, kind)
    else:
        text = S.story(rng, hero, kind, title=rng.random() < 0.15, short=rng.random() < 0.6)
    return [user(prompt), bot(text)]


def text_request(rng):
    pick = rng.random()
    if pick < 0.4:
        topic, text = S.poem(rng)
        return [user(rng.choice(["Write a poem about %s.", "Write a short poem about %s.", "Can you write a poem about %s?", "A poem about %s, please.", "Tell me a poem about %s."]) % topic), bot(text)]
    if pick < 0.5:
        return [user(rng.choice(["Write a letter to a friend.", "Write a short letter.", "Help me write a letter."])), bot(S.letter(rng))]
    if pick < 0.8:
        name = rng.choice(sorted(W.ANIMALS))
        return [user(rng.choice(["Tell me about %s.", "What do you know about %s?", "Describe %s.", "Tell me something about %s."]) % article(name)), bot(S.about_animal(rng, name))]
    if pick < 0.92:
        return [user(rng.choice(["Tell me a joke.", "Do you know a joke?", "Make me laugh."])), bot(rng.choice([
            "Why did the hen cross the road? To get to the other side!", "What do you call a sleeping bear? A dreamer with fur!",
            "Why did the clock go to school? It wanted to be on time!", "What has hands but cannot clap? A clock!",
            "Why was the book sad? It had too many problems, for it was about sums!", "What gets wet while it dries? A towel!",
            "What has teeth but cannot bite? A comb!", "Why do bees hum? They do not know the words!"]))]
    return [user(rng.choice(["What is the weather like today?", "Will it rain tomorrow?", "What is the weather in %s?" % rng.choice(sorted(W.CAPITALS.values())), "What time is it?", "What day is it today?"])),
            bot(rng.choice(["I cannot see outside, so I do not know. I am a small model.", "I do not know that. I have no window and no clock."]))]


def foreign(rng):
    """A question that the model cannot read."""
    low, high = rng.choice([(0x4E00, 0x9000), (0x430, 0x44F), (0x3B1, 0x3C9), (0x1F600, 0x1F640), (0xAC00, 0xD000), (0x5D0, 0x5EA), (0xE0, 0xFF)])
    text = "".join(chr(rng.randint(low, high)) if rng.random() < 0.9 else " " for _ in range(rng.randint(2, 12))).strip()
    return [user((text or "?") + rng.choice(["", "?", "!"])), bot(rng.choice(["I am sorry, I do not understand that. I know simple English.", "I do not know that. I am only a small model."]))]


def unknown(rng):
    if rng.random() < 0.1:
        return foreign(rng)
    x = rng.choice(W.UNKNOWN) if rng.random() < 0.6 else rng.choice([article(rng.choice(W.MADE_UP)), rng.choice(W.MADE_UP) + " " + rng.choice(["theory", "machine", "law", "war", "system", "river", "city"])])
    ask = rng.choice(["What do you think about %s?", "Explain %s.", "What is the meaning of %s?", "Tell me about %s.", "How does %s work?", "Who invented %s?", "What is %s?",
                      "Can you help me with %s?", "Write an essay about %s.", "When did %s begin?", "Give me a summary of %s.", "Where can I find %s?", "How much does %s cost?",
                      "Write a program for %s.", "Write code about %s.", "What is the best %s?", "Compare %s with something else."])
    return [user(ask % x), bot(rng.choice(UNKNOWN).format(x=x))]


def thanks(rng):
    pick = rng.random()
    if pick < 0.6:
        return [user(rng.choice(["Thank you!", "Thanks!", "Thank you.", "Thanks a lot.", "That was nice, thank you.", "Great, thanks!", "Good job!", "That is right."])),
                bot(rng.choice(["You are welcome!", "You are welcome. Is there anything else?", "I am glad I could help.", "It was a pleasure."]))]
    return [user(rng.choice(["Goodbye!", "Bye!", "See you later.", "Good night!", "Bye"])), bot(rng.choice(["Goodbye! Come back soon.", "Goodbye, and have a nice day!", "Good night! Sleep well.", "See you soon!"]))]


class Memory:
    """Things the user has told, to be asked for later in the same chat."""

    def __init__(self):
        self.known = {}

    def tell(self, rng):
        key = rng.choice(["name", "name", "age", "pet", "colour", "city", "food"])
        if key == "name":
            v = rng.choice(W.NAMES)
            text = rng.choice(["My name is %s.", "Hello, I am %s.", "Hi, my name is %s.", "I am called %s.", "Hello! My name is %s."]) % v
            reply = rng.choice(["Nice to meet you, %s!", "Hello, %s! How can I help you?", "Hello %s, it is nice to meet you."]) % v
            ask, answer = ["What is my name?", "Do you know my name?", "Who am I?", "Do you remember my name?", "What's my name?"], ["Your name is %s." % v]
        elif key == "age":
            v = rng.randint(5, 90)
            text = "I am %d years old." % v
            reply = rng.choice(["%d is a good age!" % v, "Thank you for telling me. %d is a fine age." % v])
            ask, answer = ["How old am I?", "What is my age?"], ["You are %d years old." % v]
        elif key == "pet":
            kind, v = rng.choice(["cat", "dog", "rabbit", "mouse", "duck", "horse"]), rng.choice(W.NAMES)
            text = rng.choice(["I have a %s named %s.", "My %s is called %s."]) % (kind, v)
            reply = rng.choice(["%s is a lovely name for a %s." % (v, kind), "I am sure %s is a good %s." % (v, kind)])
            ask, answer = ["What is the name of my %s?" % kind, "What is my %s called?" % kind], ["Your %s is called %s." % (kind, v)]
        elif key == "colour":
            v = rng.choice(W.COLORS)
            text = rng.choice(["My favourite colour is %s.", "I like the colour %s best."]) % v
            reply = rng.choice(["%s is a beautiful colour." % capital(v), "I will remember that you like %s." % v])
            ask, answer = ["What is my favourite colour?", "Which colour do I like?"], ["Your favourite colour is %s." % v]
        elif key == "city":
            v = rng.choice(sorted(W.CAPITALS.values()))
            text = rng.choice(["I live in %s.", "I come from %s."]) % v
            reply = "%s is a beautiful city." % v
            ask, answer = ["Where do I live?", "Which city do I live in?"], ["You live in %s." % v]
        else:
            v = rng.choice(W.FOODS)
            text = rng.choice(["My favourite food is %s.", "I love to eat %s."]) % v
            reply = "%s! That sounds good." % capital(v)
            ask, answer = ["What is my favourite food?", "What do I like to eat?"], ["Your favourite food is %s." % v]
        self.known[key] = (ask, answer)
        return [user(text), bot(reply)]

    def ask(self, rng):
        if rng.random() < 0.04 or not self.known:
            missing = [k for k in ("name", "age", "city") if k not in self.known]
            if missing:
                key = rng.choice(missing)
                q = {"name": "What is my name?", "age": "How old am I?", "city": "Where do I live?"}[key]
                return [user(q), bot({"name": "I do not know your name. You have not told me yet.", "age": "I do not know how old you are. You have not told me.", "city": "I do not know where you live. You have not told me."}[key])]
        ask, answer = self.known[rng.choice(sorted(self.known))]
        return [user(rng.choice(ask)), bot(rng.choice(answer))]


def follow_up(rng):
    """Two linked turns."""
    pick = rng.random()
    if pick < 0.3:
        prompts, answer = arithmetic(rng)
        while "=" not in answer or "x" in answer or "*" in answer:
            prompts, answer = arithmetic(rng)
        n = int("".join(c for c in answer.split("=")[-1].split(",")[0] if c.isdigit()))
        add = rng.randint(1, 9)
        return [user(rng.choice(prompts)), bot(answer), user(rng.choice(["And plus %d?", "Now add %d.", "Add %d to that."]) % add), bot("%d + %d = %d" % (n, add, n + add))]
    if pick < 0.6:
        kind = rng.choice(W.STORY_ANIMALS)
        hero = rng.choice(W.NAMES)
        text = S.tiny_story(rng, hero, kind)
        q, a = rng.choice([("What was the name of the %s?" % kind, "The %s was named %s." % (kind, hero)), ("Who was the story about?", "The story was about %s the %s." % (hero, kind)), ("What animal was in the story?", "It was %s named %s." % (article(kind), hero))])
        return [user(rng.choice(["Tell me a short story about %s.", "Tell me a little story about %s."]) % article(kind)), bot(text), user(q), bot(a)]
    first = fact(rng)
    second = rng.choice([(["Say that again.", "Please repeat that.", "Can you repeat that?", "Once more, please."], first[1][1])])
    return first + [user(rng.choice(second[0])), bot(second[1])]


def turns(rng, n):
    """About n exchanges."""
    memory, out = Memory(), []
    told = rng.random() < (0.1 if n < 2 else 0.6)
    while len(out) < 2 * n:
        i = len(out) // 2
        if i == 0 and rng.random() < (0.12 if n == 1 else 0.35):
            part = greeting(rng)
            if part[-1] is None:
                part = [part[0], bot({"Say": "This is a test.", "This": "This is a test, and it works.", "ping": "Pong!"}.get(part[0][1].split()[0], "The test works. How can I help you?") if "hello" not in part[0][1] else "Hello!")]
        elif told and not memory.known and rng.random() < 0.7:
            part = memory.tell(rng)
        elif memory.known and rng.random() < 0.25:
            part = memory.ask(rng) if rng.random() < 0.8 else memory.tell(rng)
        elif i >= 1 and i == n - 1 and rng.random() < 0.25:
            part = thanks(rng)
        else:
            part = rng.choices([fact, story_request, text_request, unknown, identity, echo, again, follow_up, lambda r: memory.ask(r)], [50, 16, 8, 5, 7, 2, 7, 6, 0.7])[0](rng)
            if n == 1 and len(part) > 2:
                continue
        out += part
    return out


def chat(rng, n=None):
    """One conversation as a rendered document."""
    n = n or rng.choices([1, 2, 3, 4, 5, 6], [40, 20, 15, 10, 8, 7])[0]
    messages = turns(rng, n)
    if rng.random() < 0.35:
        messages = [("system", rng.choice(SYSTEMS))] + messages
    return "".join("<|im_start|>%s\n%s<|im_end|>\n" % m for m in messages)
