"""The word lists behind the corpus: people, animals, things, places, facts."""

GIRLS = ("Mia Lily Anna Rosa Ella Nora Zoe Ruby Ivy Clara Lucy Maya Emma Sara Alice Nina Hana Leila "
         "Freya Iris").split()
BOYS = ("Tom Ben Max Leo Sam Finn Jack Oscar Theo Noah Hugo Omar Peter Luca Ravi Kofi Adam Felix "
        "Arthur Jonas").split()
NAMES = GIRLS + BOYS

# name: (sound, food, home, baby, what it can do, legs)
ANIMALS = {
    "cat": ("meow", "fish", "a warm house", "kitten", "climb trees", 4),
    "dog": ("woof", "bones", "a kennel", "puppy", "run and fetch", 4),
    "cow": ("moo", "grass", "a barn", "calf", "give milk", 4),
    "sheep": ("baa", "grass", "a meadow", "lamb", "give wool", 4),
    "horse": ("neigh", "hay", "a stable", "foal", "gallop", 4),
    "duck": ("quack", "bread and seeds", "a pond", "duckling", "swim and fly", 2),
    "hen": ("cluck", "corn", "a coop", "chick", "lay eggs", 2),
    "pig": ("oink", "apples", "a sty", "piglet", "roll in the mud", 4),
    "owl": ("hoot", "mice", "a hollow tree", "owlet", "see in the dark", 2),
    "frog": ("croak", "flies", "a pond", "tadpole", "jump far", 4),
    "bee": ("buzz", "nectar", "a hive", "larva", "make honey", 6),
    "lion": ("roar", "meat", "the savanna", "cub", "roar loudly", 4),
    "bear": ("growl", "honey and berries", "a cave", "cub", "sleep all winter", 4),
    "fox": ("yip", "berries and mice", "a den", "kit", "sneak quietly", 4),
    "rabbit": ("squeak", "carrots", "a burrow", "kit", "hop quickly", 4),
    "mouse": ("squeak", "cheese", "a small hole", "pup", "hide in tiny places", 4),
    "squirrel": ("chatter", "nuts", "a tree", "kit", "leap from branch to branch", 4),
    "elephant": ("trumpet", "leaves", "the savanna", "calf", "lift things with its trunk", 4),
    "monkey": ("chatter", "bananas", "the jungle", "infant", "swing from trees", 4),
    "penguin": ("squawk", "fish", "the cold south", "chick", "swim very well", 2),
    "turtle": ("hiss", "leaves", "the shore", "hatchling", "hide in its shell", 4),
    "goat": ("bleat", "grass", "the hills", "kid", "climb steep rocks", 4),
    "wolf": ("howl", "meat", "the forest", "pup", "howl at the moon", 4),
    "hedgehog": ("snuffle", "insects", "a pile of leaves", "hoglet", "roll into a ball", 4),
    "crow": ("caw", "seeds", "a nest", "chick", "solve puzzles", 2),
    "spider": (None, "insects", "a web", "spiderling", "spin a web", 8),
    "whale": ("sing", "tiny sea animals", "the ocean", "calf", "dive deep", 0),
    "snail": (None, "leaves", "a garden", "baby snail", "carry its house", 0),
    "ant": (None, "crumbs", "an ant hill", "larva", "carry heavy things", 6),
    "butterfly": (None, "nectar", "a meadow", "caterpillar", "fly from flower to flower", 6),
}
STORY_ANIMALS = ("cat dog duck pig owl frog lion bear fox rabbit mouse squirrel elephant monkey penguin "
                 "turtle goat wolf hedgehog crow snail horse hen sheep").split()

COLORS = "red blue green yellow orange purple pink brown black white grey golden silver".split()
COLOR_OF = {"the sky": "blue", "grass": "green", "snow": "white", "a banana": "yellow", "a tomato": "red",
            "coal": "black", "a carrot": "orange", "a lemon": "yellow", "chocolate": "brown",
            "a strawberry": "red", "milk": "white", "the sun": "yellow", "a frog": "green",
            "an elephant": "grey", "a flamingo": "pink", "a cherry": "red", "the sea": "blue",
            "a pumpkin": "orange", "a plum": "purple", "a crow": "black"}
TRAITS = "brave kind clever curious shy cheerful quiet gentle lazy proud patient funny careful stubborn friendly".split()
SIZES = "small little tiny big young old".split()
FEELINGS = "happy sad tired proud worried excited afraid lonely calm surprised grateful hungry".split()
PLACES = {"village": "in", "forest": "in", "town": "in", "valley": "in", "farm": "on", "island": "on",
          "mountain": "on", "castle": "in", "city": "in", "meadow": "in", "harbour": "by", "river": "by",
          "lake": "by", "hill": "on", "garden": "in"}
PLACE_ADJ = "quiet green small old sunny snowy windy busy faraway peaceful hidden".split()
# object: what it is used for
OBJECTS = {
    "key": "open a door", "lamp": "light a room", "kite": "fly in the wind", "book": "read stories",
    "hat": "keep the head warm", "basket": "carry things", "bell": "make a ringing sound",
    "clock": "tell the time", "map": "find the way", "cup": "drink tea", "spoon": "eat soup",
    "ladder": "climb up high", "rope": "tie things together", "boat": "travel on water",
    "umbrella": "stay dry in the rain", "broom": "sweep the floor", "needle": "sew clothes",
    "hammer": "hit nails", "pencil": "write and draw", "bucket": "carry water", "drum": "make music",
    "blanket": "stay warm at night", "mirror": "see your own face", "compass": "find north",
    "saw": "cut wood", "brush": "paint a picture", "ring": "wear on a finger", "ball": "play games",
    "scarf": "keep the neck warm", "lantern": "see in the dark", "bridge": "cross a river",
    "soap": "wash your hands", "pillow": "rest your head", "scissors": "cut paper",
    "telescope": "look at the stars", "bicycle": "ride along the road", "flute": "play a tune",
    "wheel": "help a cart roll", "oven": "bake bread", "button": "close a coat",
}
TREASURES = "key lamp kite book hat basket bell clock map cup boat umbrella drum blanket mirror compass ring ball scarf lantern flute".split()
FRUITS = "apple banana pear cherry grape lemon orange plum peach strawberry mango melon".split()
VEGETABLES = "carrot potato onion cabbage pumpkin bean pea tomato cucumber leek spinach radish".split()
FOODS = "bread soup cake pie honey cheese porridge pancakes jam nuts berries cookies".split()
DRINKS = "water milk tea juice lemonade cocoa coffee".split()
FLOWERS = "rose tulip daisy lily violet sunflower poppy daffodil".split()
TREES = "oak pine birch maple willow apple beech elm".split()
TOOLS = "hammer saw drill ladder spade rake brush shovel".split()
CLOTHES = "hat coat scarf shirt sock glove shoe sweater skirt boot".split()
INSTRUMENTS = "drum flute piano violin guitar trumpet harp bell".split()
VEHICLES = "car bus train boat bicycle plane truck tram".split()
BODY = "head hand foot knee nose ear eye arm leg shoulder".split()
SPORTS = "football tennis swimming running skiing rowing basketball cycling".split()
JOBS = {"baker": "bakes bread", "farmer": "grows food", "teacher": "teaches children", "doctor": "helps sick people",
        "sailor": "sails on ships", "tailor": "sews clothes", "gardener": "looks after plants",
        "fisher": "catches fish", "carpenter": "builds things from wood", "cook": "makes meals",
        "painter": "paints pictures", "miller": "grinds grain into flour", "pilot": "flies planes",
        "librarian": "looks after books", "firefighter": "puts out fires", "musician": "plays music",
        "shepherd": "looks after sheep", "postman": "brings letters"}
PLANETS = "Mercury Venus Earth Mars Jupiter Saturn Uranus Neptune".split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = ("January February March April May June July August September October November December").split()
SEASONS = {"spring": "flowers grow and days get longer", "summer": "it is hot and sunny",
           "autumn": "leaves fall from the trees", "winter": "it is cold and it may snow"}
CAPITALS = {"France": "Paris", "Germany": "Berlin", "Italy": "Rome", "Spain": "Madrid", "Japan": "Tokyo",
            "China": "Beijing", "India": "New Delhi", "Egypt": "Cairo", "Greece": "Athens", "Norway": "Oslo",
            "Sweden": "Stockholm", "Finland": "Helsinki", "Poland": "Warsaw", "Portugal": "Lisbon",
            "Canada": "Ottawa", "Austria": "Vienna", "Ireland": "Dublin", "Kenya": "Nairobi", "Peru": "Lima",
            "Cuba": "Havana", "Russia": "Moscow", "Hungary": "Budapest", "Denmark": "Copenhagen",
            "England": "London", "Belgium": "Brussels", "Turkey": "Ankara", "Brazil": "Brasilia",
            "Mexico": "Mexico City", "Australia": "Canberra", "Thailand": "Bangkok"}
OPPOSITES = {"hot": "cold", "big": "small", "fast": "slow", "up": "down", "day": "night", "happy": "sad",
             "old": "young", "wet": "dry", "light": "dark", "open": "closed", "high": "low", "soft": "hard",
             "early": "late", "full": "empty", "loud": "quiet", "rich": "poor", "strong": "weak",
             "long": "short", "left": "right", "clean": "dirty", "near": "far", "sweet": "sour",
             "true": "false", "begin": "end", "win": "lose", "heavy": "light", "thick": "thin",
             "black": "white", "in": "out", "yes": "no"}
DEFINITIONS = {
    "island": "a piece of land with water all around it", "river": "a long stream of water that flows to the sea",
    "mountain": "a very high hill", "forest": "a large place full of trees", "desert": "a dry place with little rain",
    "ocean": "a very large sea", "volcano": "a mountain that can throw out fire and ash",
    "bridge": "a way to cross over water or a road", "friend": "someone you like and trust",
    "library": "a place where you can read and borrow books", "school": "a place where children learn",
    "star": "a huge hot ball of gas that shines in the sky", "planet": "a large round body that moves around a star",
    "cloud": "many tiny drops of water in the sky", "rain": "water that falls from the clouds",
    "snow": "soft white ice that falls from the sky", "wind": "air that moves", "shadow": "a dark shape made when light is blocked",
    "rainbow": "an arc of colours in the sky after rain", "seed": "the small part of a plant from which a new plant grows",
    "story": "a tale about people or things, real or made up", "song": "words and music together",
    "computer": "a machine that can store and work with information", "triangle": "a shape with three sides",
    "square": "a shape with four equal sides", "circle": "a perfectly round shape", "market": "a place where people buy and sell things",
    "poem": "a short piece of writing, often with rhymes", "recipe": "a list of steps for making food",
    "dream": "a story that your mind makes while you sleep", "promise": "something you say you will surely do",
    "farm": "a place where people grow food and keep animals",
}
WHY = {
    "Why is the sky blue": "The sky is blue because the air scatters blue light more than red light.",
    "Why does it rain": "It rains because tiny drops of water in the clouds join together and become too heavy to stay up.",
    "Why do birds sing": "Birds sing to find a friend and to say that a place is theirs.",
    "Why do leaves fall in autumn": "Leaves fall in autumn because trees rest and save their water for the winter.",
    "Why do we sleep": "We sleep because our bodies and minds need rest to stay healthy.",
    "Why is the sea salty": "The sea is salty because rivers carry tiny bits of salt from the rocks into it.",
    "Why do we have seasons": "We have seasons because the Earth is tilted as it moves around the Sun.",
    "Why do bears sleep in winter": "Bears sleep in winter because there is little food and it is very cold.",
    "Why do we need water": "We need water because our bodies are mostly made of water and cannot work without it.",
    "Why does ice float": "Ice floats because it is a little lighter than the water around it.",
    "Why do cats purr": "Cats purr mostly because they feel calm and happy.",
    "Why do plants need light": "Plants need light because they use it to make their food.",
    "How do bees make honey": "Bees collect nectar from flowers and dry it in the hive until it becomes honey.",
    "How do birds fly": "Birds fly by pushing the air down with their wings.",
    "What do plants need to grow": "Plants need light, water, air and good soil to grow.",
    "What is the largest animal": "The largest animal is the blue whale.",
    "What is the tallest animal": "The tallest animal is the giraffe.",
    "What is the fastest land animal": "The fastest land animal is the cheetah.",
    "What is the largest planet": "The largest planet is Jupiter.",
    "What is the largest ocean": "The largest ocean is the Pacific Ocean.",
    "Which planet do we live on": "We live on the planet Earth.",
    "What is the moon": "The moon is a ball of rock that moves around the Earth.",
    "What is the sun": "The sun is a star that gives us light and heat.",
    "How many days are in a week": "There are seven days in a week.",
    "How many months are in a year": "There are twelve months in a year.",
    "How many hours are in a day": "There are twenty-four hours in a day.",
    "How many minutes are in an hour": "There are sixty minutes in an hour.",
    "How many days are in a year": "There are 365 days in a year, and 366 in a leap year.",
    "How many colours are in a rainbow": "There are seven colours in a rainbow.",
    "How many planets are there": "There are eight planets around the Sun.",
    "What is water made of": "Water is made of hydrogen and oxygen.",
    "What is ice": "Ice is frozen water.",
    "What is bread made of": "Bread is made of flour, water, salt and yeast.",
    "What is cheese made of": "Cheese is made of milk.",
    "What is paper made of": "Paper is made from wood.",
    "What is glass made of": "Glass is made from sand.",
    "Where does the sun rise": "The sun rises in the east.",
    "Where does the sun set": "The sun sets in the west.",
    "What colours make green": "Blue and yellow make green.",
    "What colours make orange": "Red and yellow make orange.",
    "What colours make purple": "Red and blue make purple.",
}
RHYMES = {"cat": "hat", "tree": "bee", "moon": "spoon", "star": "car", "house": "mouse", "light": "night", "rain": "train",
          "day": "play", "snow": "crow", "bear": "chair", "fox": "box", "king": "ring", "sea": "tea", "boat": "goat",
          "cake": "lake", "dog": "log", "wall": "ball", "sun": "fun", "book": "cook", "sky": "fly"}
TRANSLATIONS = {
    "French": {"hello": "bonjour", "thank you": "merci", "cat": "chat", "dog": "chien", "bread": "pain", "water": "eau", "house": "maison", "yes": "oui", "sun": "soleil", "goodbye": "au revoir"},
    "Spanish": {"hello": "hola", "thank you": "gracias", "cat": "gato", "dog": "perro", "bread": "pan", "water": "agua", "house": "casa", "yes": "sí", "sun": "sol", "goodbye": "adiós"},
    "German": {"hello": "hallo", "thank you": "danke", "cat": "Katze", "dog": "Hund", "bread": "Brot", "water": "Wasser", "house": "Haus", "yes": "ja", "sun": "Sonne", "goodbye": "auf Wiedersehen"},
    "Italian": {"hello": "ciao", "thank you": "grazie", "cat": "gatto", "dog": "cane", "bread": "pane", "water": "acqua", "house": "casa", "yes": "sì", "sun": "sole", "goodbye": "arrivederci"},
}
UNKNOWN = ("quantum physics,the stock market,the price of gold,my bank account,the next election,the football results,"
           "a law case,computer viruses,my medicine,neural networks,black holes,the roman empire,tax forms,"
           "rocket engines,ancient poetry,the lottery numbers,the latest news,modern art,chess openings,chemistry,"
           "a famous film,organic farming,car repair,the speed of sound,philosophy,old coins,railway history,deep sea cables,"
           "a new phone,genetics,the internet,algebra,insurance,satellites,airport codes,opera,economics,programming").split(",")
MADE_UP = "blorp zintar quell morvath plinth frobbin gralix sonder wexle tromp yarrow dandle skerry mibble ostrin vellum".split()
