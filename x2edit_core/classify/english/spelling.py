"""English spelling: contractions written out, slips on key words mended."""

from __future__ import annotations

import re
from functools import lru_cache

from ..word_lists import word_list
from .words import VERBS, tags_of

_CONTRACTIONS = (
    (r"\b(i|you|we|they|he|she|it|there)'d\b", r"\1 would"),
    (r"\b(i|you|we|they)'ve\b", r"\1 have"),
    (r"\b(i|you|we|they|he|she|it)'ll\b", r"\1 will"),
    (r"\bcan't\b|\bcannot\b", "can not"),
    (r"\bwon't\b", "will not"),
    (r"n't\b", " not"),
    (r"\blet's\b", "let us"),
    (r"\bi'm\b", "i am"),
    (r"\b(what|there|here|it|he|she|that|who|where)'s\b", r"\1 is"),
    (r"\b(you|we|they)'re\b", r"\1 are"),
    (r"\bw/\s?", "with "),
    (r"\bgonna\b", "going to"),
    (r"\bwanna\b", "want to"),
    (r"\bgimme\b", "give me"),
)
_SLIPS = {
    "mke": "make", "mak": "make", "maek": "make", "amke": "make", "ad": "add", "adda": "add a", "ads": "add", "zom": "zoom",
    "teh": "the", "hte": "the", "tha": "the", "pls": "please", "plz": "please", "plese": "please", "tis": "this",
    "chnage": "change", "cahnge": "change", "chagne": "change", "chang": "change", "chane": "change", "trun": "turn",
    "tunr": "turn", "turnn": "turn", "wth": "with", "wiht": "with", "colr": "color", "bg": "background",
    "bw": "black and white",
    "u": "you", "ur": "your", "em": "them", "lok": "look", "puts": "put", "gve": "give", "giv": "give", "rmv": "remove",
    "delet": "delete", "txt": "text", "fliped": "flip", "colar": "color", "tun": "turn", "thr": "the", "thsi": "this",
    "swpa": "swap", "tetx": "text", "nigth": "night", "nihgt": "night", "cany": "canny", "rian": "rain", "hiar": "hair",
}  # fmt: skip
# Words worth mending, and ordinary words one letter away from them that must stay as they are.
_KEY_WORDS = tuple(
    word_list(
        """remove delete erase eliminate replace substitute exchange switch change transform convert insert include rotate
    brighten darken enhance improve generate extract denoise deblur background backdrop colour color material
    texture leather wooden marble picture photo image painting watercolor cartoon anime style sketch realistic
    lighting weather winter summer autumn sunset sunrise night morning evening hairstyle makeup lipstick wrinkles
    beard glasses sunglasses caption letters title camera perspective viewpoint horizontally clockwise segmentation
    canny depth expression smile laugh stand purple yellow orange please instead should happen imagine beautiful
    professional atmosphere brightness contrast saturation"""
    )
)
_LEAVE_ALONE = frozenset(
    word_list(
        """chance charge place palace moved mover stale stylus eraser phone photon might light right fight sight tight
    eight smiles smiled crops drops crown corp cropped rotates rotated places placed changed changes removed removes
    improved imagined erased earth death teeth plaque plate slate state plane planet cloud clown brown clay clean
    closer closed close single mingle shingle string spring strong strange orange angel eagle beagle bagel image
    images flower tower shower power lower slower flour floor door color colors colours house horse mouse moose
    goose loose choose chose cheese these those there three where here were matte matter batter butter better bitter
    letter latter ladder leather feather weather father mother brother rather gather whether bright blight flight
    knight sleeve reflect replay reply relate replaced parrot carrot skirt shirt short shirt's streets street sweet
    sheet minor mirror horror terror stripe strips tripe trips ripe wooden golden garden harden burden hidden bottle
    battle kettle cattle settle nettle tables table cable fable stable tablet blanket basket casket market jacket
    bracket packet pocket rocket socket bucket ticket cricket racket hockey monkey donkey turkey trunk drunk trunks
    crane train brain grain drain chain chair hair stair stairs pair repair sweater sweaters collar dollar cellar
    pillar pillow willow yellow fellow hollow shallow swallow marker maker baker cakes lakes scarf scarves wharf
    candle handle sandal sandals vandal castle cattle turtle turtles whistle thistle bristle window widow windows
    meadow shadow shadows lamp lamps cloth clothes cloths clothing nothing something anything everything morning
    warning evening building wedding bedding heading reading loading leading feeding bleeding parking barking
    marking making taking baking raking waking walking talking fence pence hence since prince blender gender tender
    render slender vendor splendor purse nurse curse course source sauce pounce bounce counter country county bounty
    mounting mountain fountain curtain certain captain contain bargain"""
    )
)


def mend_english(text: str) -> str:
    """Contractions written out, common slips and one-letter errors in key words corrected."""
    for pattern, full in _CONTRACTIONS:
        text = re.sub(pattern, full, text)
    return re.sub(r"[a-z]+(?:'s)?", lambda match: _mend_word(match.group(0)), text)


@lru_cache(maxsize=8192)
def _mend_word(word: str) -> str:
    if word in _SLIPS:
        return _SLIPS[word]
    if len(word) < 5 or tags_of(word) or word in VERBS or word in _LEAVE_ALONE:
        return word
    return next((key for key in _KEY_WORDS if _one_edit_apart(word, key) and not _is_inflection(word, key)), word)


def _is_inflection(word: str, key: str) -> bool:
    return word.startswith(key) or key.startswith(word)


def _one_edit_apart(a: str, b: str) -> bool:
    """One insertion, deletion, substitution or swap of neighbours, the first letter being right."""
    if abs(len(a) - len(b)) > 1 or a[0] != b[0]:
        return False
    start = 0
    while start < min(len(a), len(b)) and a[start] == b[start]:
        start += 1
    a, b = a[start:], b[start:]
    if len(a) == len(b):
        return a[1:] == b[1:] or (a[:2] == b[:2][::-1] and a[2:] == b[2:])
    return a[1:] == b if len(a) > len(b) else a == b[1:]
