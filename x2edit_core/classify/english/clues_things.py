"""English wordings about things and people that speak for a task wherever they stand."""

from __future__ import annotations

import re

from ...tasks import Task
from ..evidence import clue
from .words import WORD_TAGS

_COLOUR = "|".join(
    sorted(re.escape(word) for word, tags in WORD_TAGS.items() if "colour" in tags and "material" not in tags)
)

THING_CLUES = (
    # other
    clue(Task.OTHER, 4, r"^(?:hello|hi|hey|thanks|thank you|good (?:morning|evening))\b"),
    clue(
        Task.OTHER,
        4,
        r"\b(?:how many|describe|what do you think|who is|tell me about|what is (?:in|this)|is there)"
        r"\b",
    ),
    clue(Task.OTHER, 6, r"\bstop scrolling\b|\beach other\W?s (?:place|position)s?\b|\bbring out the best\b"),
    clue(Task.OTHER, 4, r"\b(?:surprise me|your magic|do something|whatever you|up to you|not sure what)\b"),
    clue(
        Task.OTHER,
        5,
        r"\bmake (?:it|this|everything|them) pop\b|\b(?:wow factor|hang on a wall|"
        r"worth hanging)\b",
    ),
    clue(Task.OTHER, 4, r"\bno changes?\b|\bdo not change\b|\bleave (?:it|everything) (?:as|alone)"),
    clue(
        Task.OTHER,
        2.5,
        r"\b(?:overall|whole) (?:look|quality|scene|image|picture)\b|\bquality of (?:the|this)"
        r"\b|\bmissing something\b",
    ),
    clue(
        Task.OTHER,
        8,
        r"\b(?:positions?|places) of (?:the|these|those|both)\b|\bswap (?:places|positions)\b|"
        r"\bfurther apart\b|\bcloser together\b|\bsome love\b|\bout of the camera\b",
    ),
    clue(Task.OTHER, 2.5, r"\b(?:twice|half|double|triple) (?:as|the|its)\b|\bto (?:twice|half|double)\b"),
    clue(
        Task.OTHER,
        5,
        r"\bsomething (?:special|extra|more|nice|different|new|fun|cool)\b|^(?:check|tell|explain|"
        r"is (?:this|it)|does|do you|are there|why|when|see (?:if|whether))\b",
    ),
    clue(Task.OTHER, 6, r"^(?:put|move|bring|place|push|pull|slide) .*\b(?:closer|nearer|further|farther)\b(?! look)"),
    # remove
    clue(
        Task.REMOVE,
        6,
        r"\b(?:disappear|vanish|go away|be gone|is gone|photobomb\w*|has to go|have to go|must go|"
        r"got to go|needs to go|should go)\b",
    ),
    clue(
        Task.REMOVE,
        3.5,
        r"\bget rid of\b|\bnever (?:there|been there)\b|\bnot want\b(?!.* but)|\bnot be (?:in|"
        r"there|here|visible)\b",
    ),
    clue(Task.REMOVE, 3.5, r"\b(?:out of (?:the|this|my) (?:shot|picture|photo|image|frame|foreground))\b"),
    clue(
        Task.REMOVE,
        3,
        r"^without\b|\bno longer (?:there|visible|in)\b|\bwithout (?:the|any|that|those|these)"
        r" \w+(?: \w+)?$",
    ),
    clue(
        Task.REMOVE,
        5,
        r"\b(?:be |get |is |are )?(?:removed|erased|deleted|edited out|cropped out|photoshopped out|"
        r"gone)\b|^no (?:more )?(?!change|edit|matter|need)\w+(?: \w+){0,3}$",
    ),
    # add
    clue(Task.ADD, 3, r"\b(?:would be nice|let there be|looks? (?:empty|bare)|needs (?:a|an|some))\b"),
    # colour
    clue(
        Task.COLOR,
        3,
        r"\b(?:in|to|into) (?:an? )?(?:(?:bright|dark|light|deep|pale|"
        r"pastel|matte|neon|hot|navy|sky|royal|forest|baby) )*(?:" + _COLOUR + r")(?: colou?r)?$",
    ),
    clue(
        Task.COLOR,
        2.5,
        r"\b(?:colou?rs?|hue) (?:of|to|from|into|should|for|be)\b|\bin (?:\w+ )?colou?r\b|\b(?:recolou?r|"
        r"repaint)\b",
    ),
    clue(Task.COLOR, 6, r"\bcoat of (?:\w+ )?paint\b"),
    clue(Task.ADD, 5, r"\b(?:make|let|have) (?:an?|some|two|three) .*\bappear\b"),
    # material
    clue(
        Task.MATERIAL,
        4.5,
        r"\b(?:made|built|crafted|carved|knitted|knit|woven|sculpted|constructed|sewn|crocheted|"
        r"cast|formed|fashioned) (?:entirely |completely )?(?:out of|from|of|in|with)\b",
    ),
    clue(
        Task.MATERIAL,
        4,
        r"\b(?:out of|from|of) (?:pure |solid |clear |shiny |old |real )*(?:wood|glass|marble|"
        r"metal|gold|stone|ice|paper|leather|clay|steel|bamboo|wool|plastic|balloons|cardboard|"
        r"lego\w*|crystal|chrome|porcelain|jade|silk|brick|concrete|candy|chocolate)\b",
    ),
    clue(Task.MATERIAL, 3.5, r"\b(?:material|texture|fabric|textile)s?\b"),
    # action
    clue(
        Task.ACTION,
        3.5,
        r"\b(?:pose|posture|facial expression|expression|gesture|body language|thumbs[- ]up|stance)"
        r"\b|^(?:the|he|she|they|his|her) (?:\w+ ){0,2}(?:is|are) (?:now |currently |also )?(?!missing|"
        r"going|looking like|lacking)\w+ing\b",
    ),
    clue(
        Task.ACTION,
        5,
        r"\bthe way (?:he|she|they|it) (?:stands?|sits?|holds?|walks?|poses?|moves?|looks? at|"
        r"lies)\b",
    ),
    # replace
    clue(Task.REPLACE, 2.5, r"\b(?:instead of|rather than|in place of|take the place of|takes the place)\b|\binstead$"),
    clue(Task.REPLACE, 6, r"\bwhere the (?:\w+ ){1,3}(?:is|was|are|stands?|sits?|used to be)\b"),
    clue(Task.REPLACE, 2, r"\b(?:replace|replaced|replacing|swap|swapped|substitute|exchange|switch out|trade)\b"),
    # portrait
    clue(
        Task.PORTRAIT,
        4,
        r"\b(?:wrinkles?|acne|zits?|pimples?|blemish(?:es)?|freckles?|dark circles|double chin|"
        r"complexion|eye bags|makeup|make-up|lipstick|eyeshadow|mascara|blush|hairstyle|haircut|"
        r"beard|mustache|moustache|eyebrows?|eyelash(?:es)?|bangs)\b",
    ),
    clue(Task.PORTRAIT, 3, r"\b(?:hair|skin|teeth)\b"),
    clue(Task.PORTRAIT, 7, r"\bbags under\b|\bcircles under\b"),
    clue(
        Task.PORTRAIT,
        4,
        r"\b(?:years?|decades?) (?:younger|older)\b|\bby \w+ years\b|\b(?:look|looks|looking) (?:\w+ )?(?:younger|"
        r"older|youthful|tired|slimmer)\b|\bheadshot\b",
    ),
    clue(
        Task.PORTRAIT,
        4,
        r"\b(?:retouch|airbrush|beautify) (?:my|her|his|the|their) (?:portrait|face|skin|woman|"
        r"man|girl|model|bride|selfie)|\bbald\b|\bplastic surgery\b|\blook (?:\w+ )?(?:tired|old|"
        r"young|fresh|rested|healthy|healthier|skinny)\b|\b(?:he|she|they|i) (?:is|am|are|were|"
        r"was) (?:about |around |in )?(?:my |his |her |their )?(?:\d\d|twenty|thirty|forty|fifty|"
        r"sixty|seventy|eighty|ninety)\b|\bclean[- ]shav\w+|\ba tan\b|\bteeth\b",
    ),
    # text
    clue(
        Task.TEXT,
        5,
        r"\b(?:text|caption|subtitles?|lettering|slogan|headline|font|typeface|handwriting|watermark text|"
        r"wording|typography|inscription|speech bubble)\b",
    ),
    clue(
        Task.TEXT,
        4.5,
        r"\b(?:the|these|all|any|some) (?:\w+ )?(?:words?|letters?|phrase|title|quote|writing|"
        r"digits?|numbers?|signature|initials|typo)\b",
    ),
    clue(
        Task.TEXT,
        4.5,
        r"\b(?:say|says|saying|read|reads|reading|spell|write|written|print|engrave|display|titled|"
        r"named|labell?ed|sign) (?:\w+ ){0,4}quoted\b|\bthat (?:says|reads)\b",
    ),
    clue(
        Task.TEXT,
        4,
        r"\bquoted\b.*\b(?:to|with|into|for|instead of|by)\b.*\bquoted\b|\b(?:should|to|must|needs to)"
        r" (?:say|read)\b|^translate\b|^(?:the )?number \d+\b|\bspelling\b|\b(?:written|printed|"
        r"engraved|inscribed) (?:on|across|in|at)\b|\bthe name quoted\b",
    ),
    clue(
        Task.TEXT,
        4.5,
        r"\b(?:what is|everything|anything|something|words?|message|names?) written\b|\bchange \d+ (?:to|"
        r"into|with) \d+\b|\bthe (?:first|second|third|last|top|bottom) line of\b",
    ),
    clue(Task.TEXT, 2.5, r"\bquoted\b"),
    clue(
        Task.TEXT,
        4.5,
        r"\b(?:sign|banner|billboard|t-?shirt|license plate|plate|poster|cover|jersey|screen|label|"
        r"blackboard|display|board|mug) (?:\w+ )?(?:says?|reads?|shows?|displays?)\b",
    ),
)
