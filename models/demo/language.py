"""The demo's closed language: a few hundred words, the patterns that make sentences of them, and whole conversations.

Everything that a synthetic voice says for the demo models comes from here, and everything is decided by the `Random`
that the caller hands over. Sentences whose hash falls into the held-out tenth are never given to training or tuning
(fixed sentences without a slot are exempt: there are too few of them to split). Sound belongs in `synthesis`.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from random import Random

KINDS = ("deposition", "jail_call", "court", "interview")

# Options of a slot are parted by bars; those that hold empty ones or end with a space are tuples.
_OPTIONS: dict[str, str | tuple[str, ...]] = {
    "month": """
        January | February | March | April | May | June | July | August | September | October | November |
        December
    """,
    "day": """
        first | second | third | fourth | fifth | sixth | seventh | eighth | ninth | tenth | eleventh |
        twelfth | twentieth | thirtieth | twenty first | twenty second | twenty third | twenty fifth
    """,
    "weekday": "Monday | Tuesday | Wednesday | Thursday | Friday | Saturday | Sunday",
    "unit": "one | two | three | four | five | six | seven | eight | nine | ten",
    "number": """
        two | three | four | five | six | seven | eight | nine | ten | eleven | twelve | fifteen | twenty |
        thirty | forty | fifty | sixty
    """,
    "year": """
        twenty twenty | twenty twenty one | twenty twenty two | twenty twenty three | twenty twenty four
    """,
    "date": """
        {month} {day} | the {day} of {month} | {month} {day}, {year} | {weekday}, {month} {day} | {weekday}
    """,
    "clock": """
        {unit} thirty | {unit} fifteen | {unit} forty five | {unit} o'clock | {unit} in the morning |
        {unit} in the afternoon | {unit} in the evening | midnight | noon
    """,
    "when": """
        on {date} | on the night of {date} | on the morning of {date} | at {clock} | around {clock} |
        that day | before {date} | after {date} | that evening | last {weekday} | last night | yesterday |
        that morning
    """,
    "name": """
        Mister Carter | Miss Lopez | Doctor Green | Officer Miller | Detective Hayes | Judge Parker |
        Sergeant Wells | Miss Turner | Mister Bennett | Doctor Foster
    """,
    "place": """
        the office | the warehouse | the hospital | the parking lot | the courthouse | the kitchen |
        the bank | your house | the front door | the loading dock | the intersection | the north entrance |
        the hotel | the back door | the garage | the apartment | the gas station | the store | the school |
        the bridge
    """,
    "thing": """
        the contract | the letter | the invoice | the report | the camera | the key | the phone | the email |
        the photograph | the package | the file | the receipt | the payment | the knife | the wallet |
        the bag | the video | the message | the jacket | the computer | the statement | the check |
        the money
    """,
    "color": "red | blue | white | black | green | silver | brown | gray",
    "vehicle": "car | truck | van | bicycle | motorcycle | bus",
    "verb": """
        sign | read | receive | send | see | review | copy | open | move | keep | destroy | find | deliver |
        take | hide | lose | sell
    """,
    "done": """
        signed | read | received | sent | saw | reviewed | copied | opened | moved | kept | destroyed |
        found | delivered | took | hid | lost | sold
    """,
    "amount": "{number} dollars | {unit} hundred dollars | {number} thousand dollars",
    "span": "{number} minutes | {number} hours | {number} days | {number} weeks | {number} years | an hour",
    "distance": "{number} feet | {number} miles | about {number} feet",
    "exhibit": "exhibit {unit} | exhibit {number} | page {number} | page {unit}",
    "who": """
        {name} | {name} | your supervisor | the driver | the manager | your brother | anyone else |
        the witness | the other driver | your sister | the officer | the nurse | your neighbor | the owner |
        the lawyer
    """,
    "where": """
        at {place} | in front of {place} | behind {place} | near {place} | outside {place} | inside {place}
    """,
    "lead": ("", "", "", "", "And ", "So ", "Now, ", "Okay, ", "Sir, ", "Ma'am, ", "{name}, "),
    "reply": ("", "", "", "Yes, ", "No, ", "Well, ", "Yes sir, ", "No ma'am, ", "Um, "),
    "tail": ("", "", "", "", " to the best of my knowledge", " as far as I remember", ", I believe", ", I think"),
    "feeling": "fine | tired | scared | angry | hungry | sick | better | sorry | worried",
    "person": "mom | dad | grandma | my brother | my sister | my lawyer | the baby | my cousin | my wife",
    "soft": ("", "", "", "Okay, ", "Listen, ", "Hey, ", "Look, ", "Yeah, "),
}
SLOTS: dict[str, tuple[str, ...]] = {
    name: tuple(" ".join(options.split()).split(" | ")) if isinstance(options, str) else options
    for name, options in _OPTIONS.items()
}


def _lines(text: str) -> tuple[str, ...]:
    return tuple(text.strip().splitlines())


ASK = _lines("""
{lead}where were you {when}?
{lead}did you {verb} {thing} {when}?
{lead}did {who} {verb} {thing}?
{lead}who {done} {thing} {when}?
{lead}when did you first meet {name}?
{lead}what happened {when}?
{lead}how long did you work for {name}?
{lead}how far were you from {place}?
{lead}do you recognize {exhibit}?
{lead}were you present {where} {when}?
{lead}did you speak with {who} {when}?
{lead}was {who} {where} {when}?
{lead}can you describe the {color} {vehicle}?
{lead}what color was the {vehicle}?
{lead}how old is {name}?
{lead}how much did {name} pay you?
{lead}is that your signature on {exhibit}?
{lead}did you pay {amount} to {name}?
{lead}how many people were {where}?
{lead}what time did you arrive {where}?
{lead}why did you leave {place} {when}?
{lead}is it true that you {done} {thing}?
{lead}did you tell {who} about {thing}?
{lead}who else was {where}?
{lead}what did {name} say to you {when}?
{lead}could you see {thing} from {place}?
{lead}would you look at {exhibit}?
{lead}did you discuss {thing} with {who}?
{lead}do you remember what you did {when}?
{lead}you {done} {thing}, correct?
{lead}which {vehicle} did you drive {when}?
{lead}had you seen {name} before {date}?
{lead}how did you know {name}?
{lead}did you hear anything {where} {when}?
{lead}have you ever been {where}?
{lead}what was in {thing}?
{lead}let me show you {exhibit}.
{lead}let us go back to {date}.
{lead}let us take a break for {span}.
""")
ANSWER = _lines("""
{reply}I do not recall{tail}.
{reply}I was {where} {when}{tail}.
{reply}I {done} {thing} {when}{tail}.
{reply}that is correct{tail}.
{reply}I never {done} {thing}{tail}.
{reply}it was {date}{tail}.
{reply}it was around {clock}{tail}.
{reply}it was a {color} {vehicle}{tail}.
{reply}he paid me {amount}.
{reply}I drove the {color} {vehicle} to {place}.
{reply}she paid me {amount} {when}.
{reply}I worked there for {span}.
{reply}I spoke with {name} for {span}.
{reply}I was about {distance} from {place}.
{reply}I saw {name} {where} {when}.
{name} {done} {thing} {when}.
{reply}I do not know who {done} {thing}.
{reply}there were {number} people {where}.
{reply}I left {place} {when}.
{reply}we met {where} {when}{tail}.
{reply}he told me that {name} {done} {thing}.
{reply}I heard a loud noise {where}.
{reply}the {vehicle} was moving very fast.
{reply}I waited for {span}.
{reply}she asked me to {verb} {thing}.
{reply}I did not {verb} {thing}{tail}.
{reply}I called the police {when}.
{reply}the light was {color}{tail}.
{reply}he was wearing a {color} jacket.
{reply}I could not see {name} from {place}.
{reply}somebody {done} {thing} {when}.
{reply}they were standing {where} for {span}.
{reply}it cost me {amount}.
""")
RECORD = _lines("""
We are back on the record at {clock}.
We are going off the record at {clock}.
The time is {clock}.
Please mark this as {exhibit}.
Let the record show that the witness {done} {exhibit}.
Today is {date}.
""")
OBJECT = _lines("""
Objection, leading.
Objection, form.
Objection, hearsay.
Objection, relevance.
Same objection.
Objection, calls for speculation.
Objection, asked and answered.
Objection, compound question.
You may answer.
You can answer the question.
Counsel, let the witness finish.
Move to strike.
Withdrawn.
""")
OPENING = _lines("""
Please state your name for the record.
Do you swear to tell the truth?
Please raise your right hand.
Have you ever been deposed before?
Do you understand that you are under oath?
What is your current address?
Are you taking any medication today?
Good morning.
Good afternoon.
Can everyone hear me?
""")
SHORT = _lines("""
Yes.
No.
I do.
Correct.
I am not sure.
That is not true.
Could you repeat the question?
Thank you.
""")
BENCH = _lines("""
All rise.
Please be seated.
Sustained.
Overruled.
Approach the bench.
You may step down.
Call your next witness.
The court will take a recess.
No further questions, your honor.
Thank you, your honor.
The jury will disregard that answer.
May we approach, your honor?
""")
RULING = _lines("""
The court will take a recess for {span}.
We will be back at {clock}.
The hearing is set for {date}.
Bail is set at {amount}.
The people call {name}.
The defense calls {name}.
{name}, how do you plead?
The motion is denied until {date}.
The trial will begin on {date}.
Exhibit {number} is admitted.
""")
CALL = _lines("""
{soft}did you talk to {person} {when}?
{soft}can you put {amount} on my books?
{soft}I am feeling {feeling}.
{soft}tell {person} that I am {feeling}.
{soft}did {person} find {thing}?
{soft}my court date is {date}.
{soft}they moved me to another unit {when}.
{soft}I need you to call {name}.
{soft}how is {person} doing?
{soft}do not say anything about {thing}.
{soft}{person} came to visit {when}.
{soft}I will call you at {clock}.
{soft}the lawyer said {span} at most.
{soft}bring {thing} to {place}.
{soft}{name} was asking about {thing}.
{soft}bail is {amount}.
{soft}{person} is {feeling} about {thing}.
{soft}I saw {person} {where} {when}.
""")
CALL_FIXED = _lines("""
Hello?
Hey, it is me.
I love you.
I miss you.
Take care of yourself.
Are you okay?
I know.
This call is from a county jail.
This call is being recorded.
You have one minute remaining.
Goodbye.
""")
INTERVIEW = _lines("""
{lead}can you tell me what you saw {when}?
{lead}what were you doing {where}?
{lead}how well do you know {name}?
{lead}did anyone give you {thing}?
{lead}what was {who} wearing {when}?
{lead}how many times did you call {name}?
{lead}could you describe the driver of the {color} {vehicle}?
{lead}when did you last see {thing}?
{lead}were you feeling {feeling} {when}?
{lead}did {person} know about {thing}?
{lead}which way did the {vehicle} go?
""")
INTERVIEW_FIXED = _lines("""
This interview is being recorded.
You are free to leave at any time.
Is that okay with you?
Go ahead.
Can you hear me?
Take your time.
Anything else?
Thank you for your time.
Please speak up.
""")
PATTERNS = (*ASK, *ANSWER, *RECORD, *RULING, *CALL, *INTERVIEW)
FIXED = (*OBJECT, *OPENING, *SHORT, *BENCH, *CALL_FIXED, *INTERVIEW_FIXED)

_SLOT = re.compile(r"\{(\w+)\}")
_OUTSIDE = re.compile(r"[^a-z' ]")


@dataclass(frozen=True)
class Line:
    """One sentence and the number of the speaker who says it."""

    speaker: int
    text: str


def fill(random: Random, pattern: str) -> str:
    """A sentence of the pattern: slots filled, slots within slots too, and a capital at its beginning."""
    while slot := _SLOT.search(pattern):
        pattern = pattern[: slot.start()] + random.choice(SLOTS[slot[1]]) + pattern[slot.end() :]
    return pattern[0].upper() + pattern[1:]


def held_out(sentence: str) -> bool:
    """True for the tenth of sentences that are kept for testing. A matter of the words alone, not of the seed."""
    return hashlib.sha256(" ".join(normal(sentence)).encode()).digest()[0] < 26 and sentence not in FIXED


def sentence(random: Random, test: bool = False) -> str:
    """One sentence out of a pattern or, now and then in training, a fixed one."""
    while True:
        made = random.choice(FIXED) if random.random() < 0.1 and not test else fill(random, random.choice(PATTERNS))
        if held_out(made) is test:
            return made


def free(random: Random) -> str:
    """Words in an order that no pattern foretells, so that a model has to listen and cannot recite."""
    way = random.random()
    if way < 0.6:
        spoken = [random.choice(_distinct()) for _ in range(random.randint(1, 9))]
    else:
        spoken = [_inside(word) for _ in range(random.randint(1, 2)) for word in sentence(random).split()]
        if way < 0.8:
            first = random.randrange(len(spoken))
            spoken = spoken[first : first + random.randint(2, 9)]
        else:
            spoken = random.sample(spoken, min(len(spoken), 9))
    commas = [word + "," if random.random() < 0.07 else word for word in spoken[:-1]]
    text = " ".join([*commas, spoken[-1] + random.choice("..?")])
    text = text[0].upper() + text[1:]
    return free(random) if held_out(text) else text


@cache
def vocabulary() -> tuple[str, ...]:
    """Every word of the language as it is written inside a sentence, in a fixed order."""
    texts = (*PATTERNS, *FIXED, *(option for options in SLOTS.values() for option in options))
    words = {word.strip(",.?") for text in texts for word in _SLOT.sub(" ", text).split()} - {""}
    return tuple(sorted({_inside(word) for word in words}))


@cache
def _distinct() -> tuple[str, ...]:
    """The words that can be told apart by ear alone."""
    alike = ["two", "to", "four", "for", "know", "no", "read", "red"]
    written = [word.lower() for word in vocabulary()]
    return tuple(word for word in vocabulary() if word.lower() not in alike and written.count(word.lower()) == 1)


def _inside(word: str) -> str:
    word = word.strip(",.?")
    return word if word in _proper() else word.lower()


@cache
def _proper() -> frozenset[str]:
    options = (*SLOTS["month"], *SLOTS["weekday"], *SLOTS["name"])
    return frozenset(word for option in options for word in option.split()) | {"I"}


def normal(text: str) -> list[str]:
    """Words as they are compared: lower case, without punctuation."""
    return _OUTSIDE.sub(" ", text.lower()).split()


def conversation(random: Random, speakers: int, kind: str, test: bool = False) -> list[Line]:
    """About forty lines between that many people (two or more; one is heard, too). With `test`, every line that a
    pattern made is a held-out sentence; fixed sentences are the same everywhere."""
    lines: list[Line] = []

    def say(speaker: int, *patterns: str) -> None:
        pattern = random.choice(patterns)
        made = fill(random, pattern)
        while held_out(made) is not test and pattern not in FIXED:
            pattern = random.choice(patterns)
            made = fill(random, pattern)
        lines.append(Line(speaker % speakers, made))

    opening = {
        "deposition": (OPENING, RECORD),
        "jail_call": (CALL_FIXED,),
        "court": (BENCH, RULING),
        "interview": (INTERVIEW_FIXED, OPENING),
    }[kind]
    for _ in range(2):
        for choice in opening:
            say(0, *choice)
            if random.random() < 0.5:
                say(1, *SHORT)
    while len(lines) < 40:
        if kind == "jail_call":
            say(random.randrange(speakers), *CALL)
            if random.random() < 0.25:
                say(random.randrange(speakers), *CALL_FIXED[:7])
            continue
        asks = 0 if speakers < 4 else random.choice((0, 3))
        say(asks, *(INTERVIEW if kind == "interview" and random.random() < 0.6 else ASK))
        if kind != "interview" and speakers > 2 and random.random() < 0.2:
            say(2, *OBJECT)
            if kind == "court":
                say(random.choice((0, 2)), *BENCH[2:5])
        say(1, *ANSWER)
        if random.random() < 0.2:
            say(1, *ANSWER)
        if random.random() < 0.15:
            say(1, *SHORT)
        if kind == "court" and random.random() < 0.15:
            say(0, *RULING)
    say(0, *{"jail_call": CALL_FIXED, "interview": INTERVIEW_FIXED}.get(kind, RECORD))
    return lines
