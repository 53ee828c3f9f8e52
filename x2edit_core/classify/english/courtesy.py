"""English wrapping: politeness, what is to stay, and wishes rewritten as commands."""

from __future__ import annotations

import re

_COURTESY = re.compile(
    r"^(?:(?:hi|hello|hey)[ ,!.]+(?=\w+ \w+ \w+)|please[ ,]*|kindly |(?:can|could|would|will)"
    r" (?:you|we|u)(?: please| kindly| possibly| maybe| just)* "
    r"|(?:i (?:would|'d) (?:really )?(?:like|love|want|need|appreciate it if) )(?:for )?you (?:to |"
    r"could )?|i (?:want|need) you to |is it possible to |would you mind |"
    r"(?:help me|help) (?=[a-z]+ (?:the|this|my|all|a|an|his|her)\b)|help me (?:to )?|just |"
    r"now,? |ok(?:ay)?,? |so,? |i imagine |i picture |i guess |i think |i would say |my idea: |"
    r"maybe |perhaps |how about (?:we |you )?|let us |let me |go ahead and |try to |"
    r"(?:i think |i guess )?(?:you|we) (?:should|could|can|might) |do me a favou?r and |i would rather you |"
    r"also |then |and |but |in this (?:image|photo|picture),? |task: )+"
)
_TRAILING_COURTESY = re.compile(
    r"(?:[ ,]+(?:please|pls|thanks|thank you|for me|if possible|if you can|if you could|somehow|"
    r"would you|ok|okay|a bit|a little|slightly))+[ .!?]*$"
)
_PRESERVE = re.compile(
    r"(?:[,;.]|\bbut\b|\bwhile\b|\bwith\b|\band\b|^)*\s*(?:\b(?:but|while|and|please|also|with)\s+)*"
    r"\b(?:keep(?!ing? only)(?! only)|keeping|leave(?! only)|leaving|preserve|preserving|maintain|"
    r"maintaining|retain|retaining|without (?:changing|altering|affecting|touching|modifying)"
    r"|"
    r"everything else|(?:do not|not) (?:change|alter|touch|modify)|make sure|ensure|ensuring|"
    r"same (?:pose|position|composition|size|style|background)|nothing else|the rest)\b"
    r"(?:(?![.;]|, (?:change|make|turn|replace|add|remove)|\bbut (?:change|make|turn|replace|"
    r"move|swap|put)|\b(?:and|but) (?:change|replace|make|turn|add|put|swap|place)).)*"
)
_REWRITES = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (
            r"^i (?:want|would (?:like|love|prefer)|need|wish|prefer)(?: to)?(?: see| have| get)? (.*)"
            r" (?:gone|removed|deleted|erased)$",
            r"remove \1",
        ),
        (r"^could there be (.*)", r"add \1"),
        (r"^(?:i|we) (?:do not|no longer) (?:want|need|like) (?:the |that |this |any )?(.*)", r"remove the \1"),
        (r"^(?:there|it) (?:should|must|could|needs? to|has to|ought to) (?:also )?(?:be|have) (.*)", r"add \1"),
        (r"^let there be (.*)", r"add \1"),
        (
            r"^i (?:want|would (?:like|love|prefer)|need|wish)(?: to)?(?: see| have)? (him|her|me|"
            r"us|them|the \w+|my \w+) (on|at|inside|in front of|in the|in an?) (.*)",
            r"put \1 \2 \3",
        ),
        (r"^i wish (?:the|that|those|this|these|there) (.*?) (?:was|were|had) not .*", r"remove the \1"),
        (r"^(?:what about|how about|perhaps|maybe) (.*)", r"\1"),
        (
            r"^((?:an?|some|more) .*?) would (?:look|be|fit|go|work) (?:really |so |very )?(?:great|"
            r"nice|good|lovely|perfect|cool|well|beautiful|cute)(.*)",
            r"add \1\2",
        ),
        (r"^the ([\w ]+?) (?:needs|lacks|could use|is missing|misses|wants) (?!to )(.*)", r"add \2 to the \1"),
        (
            r"^i (?:want|would (?:like|love|prefer)|need|wish for|prefer)(?: to)?(?: see| have| get)? ((?!to |"
            r"you |it |this |that |the |my |his |her |him |me |us |them |people )[\w-]+(?: [\w-]+)?)"
            r"$",
            r"give it \1",
        ),
        (
            r"^(?:it|this \w+|the (?:image|photo|picture|scene|room)) (?:needs|lacks|could use|is missing)"
            r" (an?|some|more) (.*)",
            r"add \1 \2",
        ),
        (
            r"^i (?:want|would (?:like|love|prefer)|need|wish)(?: to)?(?: see| have)? (?:it|this|the (?:image|"
            r"photo|picture)) (?:as|to be|in|to look|look)(?: like)? (.*)",
            r"turn this into \1",
        ),
        (
            r"^i (?:want|would (?:like|love|prefer|rather)|need|wish|prefer)(?: for)?(?: to)?(?: see|"
            r" have)? ((?:the|my|her|his|your|their|our|that|this|these|all|both|people|him|it|them)"
            r" ?.*?) (?:to be|to become|to look|to|be|in|as|look|looking|drawn in|painted in) (.*)",
            r"make \1 \2",
        ),
        (
            r"^i (?:want|would (?:like|love|prefer|rather)|need|wish for|prefer)(?: to)?(?: see| have|"
            r" get)? (an?|some|two|three) (.*) (?:instead of|rather than|instead) ?(.*)",
            r"replace \3 with \1 \2",
        ),
        (
            r"^i (?:want|would (?:like|love)|need|wish for)(?: to)?(?: see| have| get)? (an?|some|"
            r"two|three|more) (.*)",
            r"add \1 \2",
        ),
        (
            r"^((?:the|her|his|my|their|that|this|these|all|its|both|he|she|they|it)\b.*?) (?:should|"
            r"must|needs? to|has to|have to|could|ought to|would|can|shall)(?: now)? (?:be|become|"
            r"look)(?: better| nice| good| great)? (.*)",
            r"make \1 \2",
        ),
        (
            r"^((?:the|her|his|my|their|that|this|these|all|its|he|she|they|it|an?)\b.*?) (?:should|"
            r"must|needs? to|has to|have to|could|ought to) (?:have) (.*)",
            r"give \1 \2",
        ),
        (
            r"^((?:the|her|his|my|their|that|this|these|all|its|he|she|they|it)\b.*?) (?:should|must|"
            r"needs? to|has to|have to|could|ought to) (.*)",
            r"make \1 \2",
        ),
        (
            r"^(?:would|could|can|may) ((?:the|her|his|my|their|that|this|these|all|it|he|she|they)"
            r"\b.*?) be (.*)",
            r"make \1 \2",
        ),
        (
            r"^(?:would|could|can|may) ((?:the|her|his|my|their|that|this|these|all)\b.*?) (?:look (?:good|"
            r"nice|better) in) (.*)",
            r"make \1 \2",
        ),
        (r"^(?:would|could|can|may) ((?:the|her|his|my|their|that|this|these|all|he|she|they|it)\b.*)", r"make \1"),
        (r"^(.*), but (?:made of|in|out of) (.*)", r"make \1 \2"),
    )
)


_AT_VIEWER = re.compile(r"\b(at|to|into|towards?|facing|for|face|look) (?:the |my |your )?camera\b(?! angle| view)")


def drop_courtesy(text: str) -> str:
    """The instruction without its polite wrapping; "at the camera" is where people look, not what the camera does."""
    text = _AT_VIEWER.sub(r"\1 the viewer", text)
    return _TRAILING_COURTESY.sub("", _COURTESY.sub("", text.strip()))


def drop_preservation(text: str) -> str:
    """The instruction without clauses that only say what stays."""
    return _PRESERVE.sub("", text).strip(" ,")


def to_imperative(text: str) -> str:
    """A wish or statement ("the sofa should be purple") as a command ("make the sofa purple")."""
    for pattern, replacement in _REWRITES:
        changed, count = pattern.subn(replacement, text)
        if count:
            return changed
    return text
