"""Story plots.  Each is (titles, paragraphs, morals); a paragraph is a template.

Slots: h hero, k what the hero is, f friend, g what the friend is, o object,
col colour, food, place, p2 another place, he/him/his/He/His for the hero,
fhe/fhis/fHe for the friend, w weather, big number n, trait t and trait u.
"""

PLOTS = {
    "lost": (["The Lost {C:o}", "{h} and the Missing {C:o}", "Where Is the {C:o}?"], [
        "[One day|One morning|One afternoon], {h} [could not find|lost] {his} {col} {o}. [{He} looked under the bed and behind the door, but it was not there.|{He} looked everywhere, but it was gone.|{He} searched the whole house, but the {o} was nowhere.] [{h} felt very sad.|{h} sat down and sighed.|A tear rolled down {his} cheek.]",
        "{h} asked {f} for help. \"[Have you seen my {o}|Do you know where my {o} is]?\" {he} asked. [\"No,\" said {f}, \"but I will help you look.\"|\"Not today,\" said {f}, \"but two can look better than one.\"|{f} shook {fhis} head. \"But let us look together,\" {fhe} said.]",
        "They went to the {p2} and looked [behind every stone|under every bush|in the tall grass]. [After a long time|At last|Just before sunset], {f} saw something {col} [under a tree|near the path|beside the water]. [It was the {o}!|\"Look!\" {fhe} called. \"There is your {o}!\"]",
        "{h} was so [happy|glad] that {he} [jumped for joy|gave {f} a big hug|danced in a circle]. [\"Thank you, my friend,\" {he} said.|\"I could not have found it without you,\" {he} said.] [That evening they shared some {food}.|Then they walked home together.]",
    ], ["A good friend helps you look.", "Two pairs of eyes see more than one.", "When you need help, ask for it."]),
    "storm": (["The Big Storm", "{h} and the Storm", "A Night of Wind"], [
        "One [evening|night], [dark clouds came over the {place}|the wind began to blow hard|the sky turned black]. [Rain fell and thunder rolled.|Thunder rolled over the hills.|The rain fell faster and faster.] {h} [was afraid|hid under {a:col} blanket|shook with fear].",
        "Then {h} heard a [small voice|knock at the door|cry outside]. It was {f}, and {fhe} was [wet and cold|lost in the rain|all alone in the dark]. [\"Please let me in,\" said {f}.|\"May I stay here tonight?\" asked {f}.|\"Help me, please!\" called {f}.]",
        "{h} [forgot about {his} fear|was still afraid, but {he} was also kind|took a deep breath] and opened the door. {He} gave {f} [some warm {food}|a dry blanket|a seat by the fire]. They [told each other stories|sang songs|played games] until the storm was over.",
        "In the morning [the sun was shining|the sky was blue again|a rainbow stood over the {place}]. [\"You were brave,\" said {f}.|\"Thank you for opening the door,\" said {f}.] {h} smiled. [The storm did not seem so bad when they were together.|From that day on, {he} was not afraid of thunder.]",
    ], ["Helping others makes us brave.", "Every storm comes to an end.", "Being together makes fear small."]),
    "share": (["The Last {C:food}", "{h} Learns to Share", "Enough for Two"], [
        "{h} had a big [plate|basket|bag] of {food}. [It smelled wonderful.|It was {his} favourite food in the world.|{He} had waited for it all day.] \"This is all for me,\" {he} said.",
        "Soon {f} came by. [{fHe} had not eaten all day.|{fHe} looked thin and hungry.|{fHe} looked at the {food} and said nothing.] [\"May I have a little?\" asked {f}.|\"That smells so good,\" said {f}.] [\"No,\" said {h}. \"It is mine.\"|But {h} turned away and kept on eating.] {f} went away [sadly|without a word].",
        "{h} ate [one piece, then another|and ate], but [the {food} did not taste good any more|{he} felt lonely|{his} heart felt heavy]. [\"What good is {food} when I eat it alone?\" {he} thought.|{He} thought of {f} and felt ashamed.] So {he} [ran after {f}|took the rest and went to find {f}|called {f} back].",
        "\"I am sorry,\" said {h}. \"Please eat with me.\" They [sat down under a tree|sat in the sun] and shared the {food}. [It tasted better than ever.|They laughed and talked until dark.|{f} smiled from ear to ear.]",
    ], ["Food tastes better when it is shared.", "To share is to have more.", "A kind heart is never empty."]),
    "garden": (["{h}'s Garden", "The Giant {C:veg}", "A Seed in the Ground"], [
        "{h} found a [small|tiny|strange] seed [near the {p2}|in an old box|in {his} pocket]. {He} [planted it in the garden|put it in the ground] and [gave it water every day|watered it each morning]. [Nothing happened for many days.|For a week nothing happened.]",
        "[\"It will never grow,\" said {f}.|{f} laughed. \"That is only a stone,\" {fhe} said.|\"You should give up,\" said {f}.] But {h} [did not give up|was patient|kept on watering]. [\"Good things need time,\" {he} said.|\"I can wait,\" {he} said.]",
        "Then one [sunny|warm|bright] morning there was a green leaf. [The next day there were {n}.|Soon there were {n} leaves.] The plant grew [taller and taller|bigger and bigger], and at last there was a [huge|giant|very big] {veg}.",
        "The {veg} was so heavy that {h} could not [pull it out|lift it] alone. {f} [pulled and {h} pulled|came to help], and together they [carried it home|got it out]. They made {food} [for the whole {place}|for all their friends], and {f} said, \"You were right to wait.\"",
    ], ["Good things take time.", "Be patient, and your work will grow.", "Never laugh at a small beginning."]),
    "afraid": (["{h} Learns to Swim", "The Deep Water", "One Small Step"], [
        "All the others could swim, but {h} was afraid of the water. [{He} sat by the {w2} and watched.|{He} only put one foot in and ran away.|Every day {he} said, \"Maybe tomorrow.\"] [{He} felt left out.|It made {him} feel small.]",
        "{f} sat down next to {him}. [\"I was afraid too,\" said {f}. \"Take one small step each day.\"|\"You do not have to do it all at once,\" said {f}.|\"I will hold on to you,\" said {f}. \"You will be safe.\"]",
        "On the first day {h} [stood in the water|got {his} feet wet]. On the second day {he} went in [up to the knees|a little deeper]. On the third day {he} [held on to {f} and kicked|took a deep breath and let go]. [\"I am swimming!\" {he} shouted.|\"Look at me!\" {he} cried. \"I can do it!\"]",
        "From that day on, {h} swam [every morning|every summer day]. [{He} even taught a little {g2} to swim.|{f} was very proud of {him}.|And when someone else was afraid, {he} said, \"Take one small step.\"]",
    ], ["Small steps can take you far.", "To be brave is to try even when you are afraid.", "You can learn anything, one step at a time."]),
    "quarrel": (["{h} and {f}", "The Quarrel", "Two Friends and One {C:o}"], [
        "{h} and {f} found {a:col} {o} [on the road|by the river|under a tree]. \"I saw it first!\" said {h}. \"No, I did!\" said {f}. [They both pulled at it.|Each of them wanted to keep it.|They shouted so loudly that the birds flew away.]",
        "They pulled and pulled until [the {o} fell into the mud|the {o} broke|they both fell over]. [Now nobody had a {o}.|For a while they did not speak.|{h} went one way and {f} went the other.]",
        "[That night {h} could not sleep.|The next day was very long and quiet.] \"{f} is more important than {a:o},\" {he} thought. {He} [went to find {f}|walked to the house of {f}], and on the way {he} met {f}, who was coming to find {him}.",
        "\"I am sorry,\" they both said at the same time. Then they laughed. They [cleaned the {o}|mended the {o} together|took care of the {o}] and used it in turns, [{h} on Mondays and {f} on Tuesdays|one day each]. [They never fought about it again.|They were better friends than before.]",
    ], ["A friend is worth more than any thing.", "Saying sorry can mend what is broken.", "It is better to take turns than to fight."]),
    "noise": (["The Strange Noise", "What Was That?", "A Noise in the Night"], [
        "One night {h} heard a strange noise. [Tap, tap, tap.|Scratch, scratch, scratch.|Bump, bump, bump.] [\"Who is there?\" {he} whispered.|{He} sat up in bed and listened.|{His} heart beat fast.] [But nobody answered.|Then it came again.]",
        "{h} [took a lamp|lit a candle|took {his} {o}] and went to {f}. [\"There is something outside,\" {he} said.|\"I think there is a monster,\" said {h}.] [\"Let us go and see,\" said {f}.|{f} was scared too, but {fhe} came along.]",
        "Slowly they [opened the door|walked around the house|went into the garden]. There, [in the dark|behind a bush|in a wooden box], sat a [tiny|little|baby] {g2}. It was [trying to get in|looking for its mother|stuck and could not get out].",
        "\"So you are the monster!\" said {h}, and they all laughed. They [gave it some {food}|took it home to its mother|made a soft bed for it]. [After that, {h} slept very well.|The next night there was no noise at all.]",
    ], ["Things are less scary when you look at them.", "Do not be afraid before you know what it is.", "The dark is only the day with the light off."]),
    "race": (["The Great Race", "{h} Runs a Race", "Slow but Steady"], [
        "Every [summer|spring|year] there was a race [around the {place}|from the {place} to the {p2}]. {f} was [the fastest of all|very fast] and [laughed at {h}|said, \"I will win again\"]. {h} was [slow, but {he} never gave up|not fast, but {he} liked to run].",
        "The bell rang and the race began. {f} ran [like the wind|far ahead]. {h} [went step by step|ran slowly and steadily]. Soon {f} looked back and could not see {h} at all. [\"I have time for a nap,\" said {f}, and {fhe} lay down in the grass.|\"I have time to eat some {food},\" said {f}, and {fhe} stopped under a tree.]",
        "{h} kept on going. [{He} passed the old bridge and the tall tree.|{His} feet hurt, but {he} did not stop.] {He} passed {f} too, [who was fast asleep|who did not even notice]. When {f} [woke up|looked up], {h} was almost at the end.",
        "{f} ran and ran, but it was too late. {h} had won the race! [Everybody clapped.|{He} got {a:col} {o} as a prize.] [\"Next time I will not stop,\" said {f}, and {fhe} shook hands with {h}.|\"Well done,\" said {f}. \"You never gave up.\"]",
    ], ["Slow and steady wins the race.", "Do not stop before the end.", "Being fast is not everything."]),
    "journey": (["The Long Road", "{h} Goes to the {C:p2}", "A Journey to the {C:p2}"], [
        "{h} had never seen the {p2}. [\"What is it like there?\" {he} often asked.|{He} dreamed about it every night.] One [bright|early|warm] morning {he} packed {a:o}, some {food} and a bottle of {drink}, and set out.",
        "The road was long. First {he} [crossed a bridge|walked through a dark forest], then {he} [climbed a hill|followed a river]. [By noon {he} was tired.|In the evening {his} feet hurt.] There {he} met {f}, who [was sitting on a stone|had lost the way]. [\"May I come with you?\" asked {f}.|\"Where are you going?\" asked {f}.] \"[Come along|Let us go together],\" said {h}.",
        "Together they [sang songs and told jokes|shared the {food}]. When they came to a [wide river|high wall|deep hole], {h} used the {o}, and {f} [had a good idea|knew a safe way]. So they got to the other side.",
        "After {n} days they reached the {p2}. It was [even more beautiful than in the dreams|full of {col} flowers|big and bright]. [\"It was a long way,\" said {h}, \"but it was short with a friend.\"|They stayed until the stars came out.] [Then they started to plan the next journey.|And then they went home to tell everyone about it.]",
    ], ["A long road is short with a friend.", "Whoever wants to see the world must take the first step.", "The best part of a journey is the company."]),
    "gift": (["A Gift for {f}", "The Best Present", "The {C:col} {C:o}"], [
        "Tomorrow was the birthday of {f}, and {h} had no present. [{He} had no money.|{His} pockets were empty.|{He} had only one coin.] [\"What can I give?\" {he} wondered.|{He} thought about it all night.]",
        "{h} went to the market and saw a beautiful {o}. [It cost too much.|\"It costs ten coins,\" said the {job}.] \"[I can work for it|Can I help you and earn it]?\" asked {h}. The {job} [smiled|thought for a while] and said, \"[If you help me today, you may have it|Help me until sunset, and it is yours].\"",
        "So {h} worked all day. {He} [swept the floor|carried heavy boxes|washed the windows] and [cleaned the shop|fed the animals|sorted the apples]. In the evening {he} was tired, but the {job} gave {him} the {o}. {h} [painted it {col}|tied {a:col} ribbon around it].",
        "When {f} [opened the present|saw the {o}], {fhis} eyes [grew big|began to shine]. [\"You made this day special,\" {fhe} said.|\"It is the best gift I have ever had,\" {fhe} said.] They [ate {food}|danced and sang|played] until night.",
    ], ["The best gifts come from the heart.", "Hard work makes a gift precious.", "It is the thought that counts."]),
    "stuck": (["Up in the Tree", "{f} Needs Help", "The Rescue"], [
        "{h} was [walking|on the way] to the {p2} when {he} heard a cry. [\"Help! Help!\"|\"Please, somebody help me!\"] It was {f}, who was stuck [in a deep hole|high up in a tree|between two rocks|in the mud].",
        "{h} tried to [pull|reach] {fhim}, but [it was too far|{he} was not strong enough]. [{He} did not know what to do.|{He} sat down to think.] Then {he} had an idea. \"[Wait here|Do not be afraid],\" {he} said, \"I will be back soon.\"",
        "{h} ran to the {job}, [who lived nearby|who had a strong rope], and asked for [a rope|a ladder]. [They ran back as fast as they could.|The {job} came along at once.] Together they [pulled|worked] [slowly and carefully|with all their strength], and at last {f} was free.",
        "\"You saved me!\" said {f}. \"[How can I thank you|What can I do for you]?\" \"[You do not have to|That is what friends are for],\" said {h}. The {job} gave them all [some {food}|hot {drink}], and they [sat in the sun|rested until evening].",
    ], ["When you cannot do it alone, get help.", "A clever idea is stronger than strong arms.", "Those who help are never alone."]),
    "moon": (["{h} and the Moon", "The Friend in the Sky", "Why the Moon Is Thin"], [
        "{h} [loved|liked] to look at the moon. Every night {he} [sat on the roof|climbed the hill|sat by the window] and said, \"Good night, moon.\" [One night|Then one night] the moon was [very thin|almost gone]. [\"Is it ill?\" asked {h}.|\"Somebody has eaten it!\" cried {h}.]",
        "{h} ran to {f}, who was [old and wise|good at thinking]. \"[The moon is getting smaller|The moon is going away],\" {he} said. \"[Can we help it|What can we do]?\" {f} smiled. \"[Wait|Be patient],\" {fhe} said. \"The moon goes away, but it always comes back.\"",
        "{h} waited. [One night|The next night] there was no moon at all, only stars. {He} [counted {n} of them|counted the stars] and felt [lonely|a little sad]. But the night after that, a [thin silver line|small bright line] was in the sky. [\"Welcome back!\" {he} called.|\"There you are!\" {he} said.]",
        "Every night the moon grew, until it was [round and full|big and bright] again. [\"You were right,\" {h} said to {f}.|{h} and {f} sat together and looked at it.] [Its light fell on the {place} like milk.|And it seemed to {h} that the moon was smiling.]",
    ], ["What goes away can come back.", "Wait, and the light will return.", "Be patient with your friends, even with the moon."]),
    "invention": (["{h} Builds a {C:thing}", "The Clever {C:thing}", "Try Again"], [
        "{h} wanted to build a {thing}. [\"I will make the best {thing} of all,\" {he} said.|{He} had dreamed of it for a long time.] {He} took some wood, a rope and {a:o} and [worked all day|started at once].",
        "The first {thing} [fell apart|broke in two]. The second one [was too heavy|sank in the water|was crooked]. [\"It is no use,\" said {h}.|{h} threw down {his} hammer.] {f} [looked at it for a while|came closer]. \"[What did you learn|Why did it break]?\" {fhe} asked.",
        "{h} thought about it. \"[The wood was too thin|The rope was too short|I worked too fast],\" {he} said. \"[Then you know more than before|Then the next one will be better],\" said {f}. So they [began again|tried once more], this time [slowly|together].",
        "The third {thing} [worked|was perfect]! [Everybody came to see it.|They painted it {col}.] {h} and {f} [showed it to all their friends|were very proud]. [\"It took three tries,\" said {h}, \"and each one was needed.\"|\"I am glad we did not give up,\" said {h}.]",
    ], ["Each mistake teaches you something.", "Try again, and try in a new way.", "Nobody gets it right the first time."]),
    "new": (["The New Neighbour", "{f} Comes to the {C:place}", "A New Friend"], [
        "One day somebody new came to the {place}. It was {f}, {a:g} with {a:col} {o}. [Nobody talked to {fhim}.|The others only looked at {fhim} from far away.] [\"{fHe} is different,\" they said.|\"We do not know {fhim},\" they whispered.]",
        "{h} saw that {f} was [sitting alone|eating alone|looking sad]. {He} remembered [how it felt to be alone|{his} own first day]. So {he} went over and said, \"Hello! My name is {h}. [Would you like to play|Do you want some {food}]?\"",
        "{f} [looked up and smiled|was so surprised that {fhe} could not speak]. \"Yes, please,\" {fhe} said. [They played until the sun went down.|They ate together and talked.] {f} knew [many songs|wonderful stories|a trick with the {o}] that nobody had ever heard.",
        "Soon the others came closer. [\"Can we play too?\" they asked.|\"Can you show us as well?\" they asked.] And so {f} had not one friend but {n}. [\"It all began with one hello,\" {fhe} said to {h}.|But {h} was always the first of them.]",
    ], ["One kind word can open a door.", "Say hello to someone new.", "What is different can be wonderful."]),
    "lie": (["The {C:job} and the Lie", "{h} Tells the Truth", "The Broken {C:o}"], [
        "{h} was playing in the house of the {job}. [By accident|While {he} was running], {he} broke {a:col} {o}. [Nobody had seen it.|{He} quickly hid the pieces.] When the {job} came in, {he} said, \"[It was the wind|I do not know who did it].\"",
        "[Then the {job} asked {f}.|The {job} thought that {f} had done it.] {f} [began to cry|said, \"It was not me\"]. [But nobody believed {fhim}.|{fHe} had to go home.] {h} [felt a stone in {his} stomach|could not eat {his} {food}|felt worse and worse].",
        "In the evening {h} went back. \"[I have to tell you something|I did not tell the truth],\" {he} said. \"I broke the {o}, not {f}.\" The {job} was quiet for a moment. \"[That was hard to say|It takes courage to say that],\" the {job} said. \"[Thank you for telling me|I am glad you told me].\"",
        "{h} said sorry to {f} too, and {f} forgave {him}. Together they [glued the {o}|helped the {job} for a week]. [The crack could still be seen, but nobody minded.|That night {h} slept well.]",
    ], ["The truth is lighter to carry than a lie.", "It is brave to tell the truth.", "A mistake can be mended, but a lie grows."]),
    "winter": (["Before the Snow", "{h} in Winter", "The Warm House"], [
        "It was autumn in the {place}. {h} [worked|was busy] every day and [gathered nuts and wood|stored {food} for the winter]. {f} [played in the leaves|slept in the sun]. \"Why do you work so hard?\" asked {f}. \"[Winter is coming|The snow will be deep],\" said {h}.",
        "Then the snow came. It snowed for {n} days, and [everything was white|the paths were gone]. {h} sat in a warm house with [plenty of {food}|hot {drink}]. But {f} had [nothing to eat|no wood for the fire].",
        "One cold evening {f} knocked at the door. \"[You were right, and I was foolish|I should have listened to you],\" {fhe} said. \"[May I come in|Can you help me]?\" {h} [thought for a moment|looked at the snow] and said, \"Come in. There is enough for two.\"",
        "All winter they lived together. {f} [sang songs|told funny stories], and {h} laughed a lot. [When spring came, {f} helped to plant the garden.|The next autumn, both of them gathered wood.] [\"Now I know,\" said {f}, \"that there is a time to play and a time to work.\"|\"Your songs kept me warm too,\" said {h}.]",
    ], ["There is a time to work and a time to play.", "Think of winter while it is summer.", "Whoever shares a house shares the warmth."]),
    "music": (["The Song of {h}", "The {C:inst} in the Attic", "{h} Makes Music"], [
        "{h} found an old {inst} [in the attic|at the market|under a heap of hay]. {He} tried to play it, but it sounded [terrible|like a hungry cat|like a broken door]. [The birds flew away.|{f} put {fhis} hands over {fhis} ears.] \"[Please stop|That hurts my ears],\" said {f}.",
        "But {h} loved the {inst}. {He} played every day [in the {p2}|far from the others], where nobody could hear. [First {he} learned one note, then two, then {n}.|The first song took a week, the second only a day.] [Little by little it got better.|Slowly the noise became music.]",
        "One evening {f} was [walking home|looking for {his} friend] and heard a lovely song. \"Who is playing so well?\" {fhe} wondered. {fHe} followed the sound and found {h}. \"[Is that you|Can it be you]?\" {fhe} asked. {h} [smiled and nodded|went red and nodded].",
        "At the next feast {h} played for everyone in the {place}. [They clapped and danced until midnight.|Even the old {job} danced.] \"[Will you teach me|Can I learn it too]?\" asked {f}. \"Yes,\" said {h}, \"but [at first it will sound terrible|you must be patient].\"",
    ], ["Practice turns noise into music.", "Do what you love, and you will get better.", "Every master was once a beginner."]),
    "wish": (["The Three Wishes", "{h} and the Magic {C:o}", "A Wish Too Many"], [
        "{h} found an old {o} [in the sand|by the road|at the bottom of the {w2}]. When {he} rubbed it, a voice said, \"You have three wishes. Use them well.\" {h} [could not believe it|was so excited that {he} could not stand still].",
        "\"I wish for a mountain of {food}!\" said {h}, and at once it was there. {He} ate until {his} stomach hurt. \"[I wish for a hundred {col} hats|I wish for a castle of gold]!\" was the second wish. But [there was nobody to show it to|the castle was cold and empty].",
        "Then {f} came by. {fHe} [had hurt {fhis} foot|was ill|had lost {fhis} home in the storm]. {h} looked at the {o}. There was one wish left. [\"I could wish for more gold,\" {he} thought.|{He} thought for a long time.] Then {he} said, \"I wish that {f} is well and happy.\"",
        "At once {f} [stood up and smiled|jumped for joy]. The {food} and the gold were gone, and so was the magic {o}. But {h} [did not mind|was happier than before]. [\"That was the best wish of all,\" {he} said.|They walked home side by side.]",
    ], ["The best wish is one for somebody else.", "Happiness is better than gold.", "Too much of a good thing is not good."]),
}
