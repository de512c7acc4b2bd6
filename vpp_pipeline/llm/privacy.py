"""What leaves the house of an owner's own words: no hidden characters, and nothing that says who they are."""

from __future__ import annotations

import re
import unicodedata

NOTE_LIMIT = 600  # characters; a longer note is for the rules alone

EMAIL, PHONE, ADDRESS, NUMBER, LINK, NAME = "[email]", "[phone]", "[address]", "[number]", "[link]", "[name]"
PLACEHOLDERS = (EMAIL, PHONE, ADDRESS, NUMBER, LINK, NAME)

_STREET = (
    r"street|st|avenue|ave|road|rd|boulevard|blvd|drive|dr|lane|ln|way|court|ct|place|pl|circle|cir|terrace|highway|hwy"
)
_IDENTIFIERS = (
    (re.compile(r"[\w.+-]+\s?(?:@|\(at\)|\[at\])\s?[\w-]+(?:\s?(?:\.|\(dot\)|\[dot\])\s?[\w-]+)+", re.I), EMAIL),
    (re.compile(r"\b[\w.+-]+\s+at\s+[\w-]+\s+dot\s+[a-z]{2,}\b", re.I), EMAIL),
    (re.compile(r"\b(?:https?://|www\.)\S+", re.I), LINK),
    (re.compile(r"(?<![\w@])@[A-Za-z_]\w{2,}"), NAME),
    (re.compile(r"(?<![\w.])(?:\+?\d{1,3}[\s.-]?)?\(?\d{3}\)?[\s.-]?\d{3}[\s.-]?\d{4}(?!\d)"), PHONE),
    (re.compile(r"(?<!\d)\d{3}-\d{4}(?!\d)"), PHONE),
    (re.compile(rf"\b\d{{1,6}}[a-z]?\s+(?:[\w'-]+\.?\s+){{1,4}}?(?:{_STREET})\b\.?", re.I), ADDRESS),
    (re.compile(r"\b(?:apt|apartment|unit|suite|p\.?\s?o\.?\s?box)\s*#?\s*\w+", re.I), ADDRESS),
    (re.compile(r"\b[A-Z]{2}\s+\d{5}(?:-\d{4})?\b"), ADDRESS),
    (re.compile(r"\b\d{3}-\d{2}-\d{4}\b"), NUMBER),
    (re.compile(r"(?<!\d)(?!\d{4}-\d{2}-\d{2}(?!\d))(?:\d[ -]?){7,}\d(?!\d)"), NUMBER),
)
_TITLES = r"mr|mrs|ms|miss|dr|prof|sir|madam"
_INTRODUCED = re.compile(
    rf"\b((?:{_TITLES})\.?\s+|(?:my|her|his|our|the)?\s*names?(?:'s|\s+(?:is|are|was))\s+|(?:this is|i am|i'm|it's)\s+"
    r"|(?:call|ask for|contact|text|phone|reach|regards,?|cheers,?|sincerely,?|thanks,?|love,?|signed:?|yours,?)\s+"
    r"|(?:^|\n)\s*[-–—]\s*)([a-z][\w'’-]*(?:\s+[a-z][\w'’-]*)?)",
    re.I,
)
_CAPITALISED = re.compile(r"(?<![\w\[])[A-ZÀ-ÖØ-Þ][\w'’-]+")

#: words that a note may begin with or write large without naming anybody; others written large are taken for names
_WORDS = """
a about above after again all allow allowed almost also although always am an and any anything april are as at
august auto automatic available away back backup batteries battery be because been before below best between block
both but by call can cannot car cars cell cent cents charge charged charger charging christmas cycle cycles cycling
daily day days december depth die discharge discharged discharging do does don't done down drain draining drive due
during each easter either electric else emergencies emergency empty energy enough ev evening evenings ever every
everything except export exporting exports february fill for friday fridays from full fully gentle go grid guest
guests half halloween have hello her hi holiday holidays home hour hours house how however hvac i i'd i'll i'm i've
if ignore in is it it's its january july june just keep kids kwh labor last late later leave leaves leaving less let
level limit limited limits load low lower make march max maximum may maybe me midnight min minimum model monday
mondays money month morning mornings most must mwh my never new night nights no nobody none noon normally not
nothing november now ny october of off often ok on once one only or other otherwise our out outage outages over
overnight pay peak per percent plan please plug plugged plus power powerwall price prices prefer put pv quiet ready
really reserve reserved run saturday saturdays save sell selling september set should so soc solar some sometimes
spare spring start state stay stop store summer sun sunday sundays system take tesla thank thanks thanksgiving that
the their them then there these they this those though thursday thursdays till time to today tomorrow tonight too
touch truck tuesday tuesdays turn under unless until up upper us use used useful using usually v2g vehicle wait want
wanted we we'd we'll we're wednesday wednesdays week weekday weekdays weekend weekends what when whenever where
which while who will winter with without won't work works would year years yes yesterday you you'd you're your
"""
KNOWN_WORDS = frozenset(_WORDS.split())


def clean(text: str) -> str:
    """``text`` in compatible characters, without any that cannot be seen: zero width, bidi, tags, controls.

    Line breaks stay, other space becomes a blank. Letters that only look like others are left as they are: whatever
    they spell is checked against the note itself.
    """
    composed = unicodedata.normalize("NFKC", text)
    kept = (
        "\n" if char in "\r\n" else " " if char.isspace() else char
        for char in composed
        if char in "\r\n\t" or not _is_hidden(char)
    )
    return re.sub(r" {2,}", " ", "".join(kept)).strip()


def _is_hidden(char: str) -> bool:
    """Controls, formats (zero width, bidi, tags), private and unassigned; variation selectors and fillers."""
    code = ord(char)
    is_selector = 0xFE00 <= code <= 0xFE0F or 0xE0100 <= code <= 0xE01EF
    is_filler = code in (0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0)
    return unicodedata.category(char)[0] == "C" or is_selector or is_filler


def redact(text: str) -> str:
    """``text`` with e-mail, phone numbers, links, addresses, long numbers and names replaced by what they are.

    A name is what follows an introduction (`my name is`, `call`, `Mr`), and any word written large that is not one of
    KNOWN_WORDS. It takes too much rather than too little; a name written small without an introduction stays.
    """
    for pattern, placeholder in _IDENTIFIERS:
        text = pattern.sub(placeholder, text)
    text = _INTRODUCED.sub(_without_name, text)
    return _CAPITALISED.sub(lambda found: found[0] if _is_known(found[0]) else NAME, text)


def _without_name(found: re.Match[str]) -> str:
    words = found[2].split()
    named = [word for word in words if not _is_known(word)]
    return found[0] if not named else found[1] + " ".join(word if _is_known(word) else NAME for word in words)


def _is_known(word: str) -> bool:
    plain = word.lower().replace("’", "'").removesuffix("'s")
    return plain in KNOWN_WORDS
