"""English wordings about the picture as a whole that speak for a task wherever they stand."""

from __future__ import annotations

from ...tasks import Task
from ..evidence import clue

_IMAGE = r"(?:image|photo|picture|photograph|pic|scene|shot|view|frame|it|this|canvas)"
_SOME = r"(?:\w+[ -]){0,4}"

PICTURE_CLUES = (
    # style
    clue(
        Task.STYLE,
        4.5,
        r"\b(?<!hair )(?<!fashion )styles?\b(?! of (?:the|his|her) (?:hair|dress|shirt|sofa))|"
        r"\bstyled? (?:as|like|after)\b",
    ),
    clue(
        Task.STYLE,
        4,
        r"\bin the (?:manner|vein|spirit) of\b|\b(?:painted|drawn|directed|made) by\b|\bhand[- ](?:drawn|"
        r"painted)\b|\bas if .{2,30} painted\b|^[\w -]{3,40} (?:version|edition|rendition|interpretation|"
        r"take) of (?:this|the) (?:image|photo|picture|scene)|\bas if (?:it|this) (?:was|were)"
        r" (?:a|an) \w+ (?:painting|canvas|drawing)",
    ),
    clue(
        Task.STYLE,
        4,
        r"\bas (?:an?|some) "
        + _SOME
        + r"(?:painting|drawing|sketch|illustration|cartoon|comic|anime|mosaic|render|print|mural)"
        r"\b",
    ),
    clue(
        Task.STYLE,
        5,
        r"\b(?:claymation|cartooni[sz]e|pixar-?ify|stylize|stylise|restyle|anime-?fy|lego version|"
        r"pixel art)\b",
    ),
    clue(
        Task.STYLE,
        5,
        r"\b(?:picasso|van gogh|monet|dali|warhol|klimt|hokusai|rembrandt|ghibli|matisse|munch|"
        r"kandinsky|vermeer)\b",
    ),
    clue(
        Task.STYLE,
        3.5,
        r"\b(?:pop art|ukiyo-e|cyberpunk|steampunk|vaporwave|impressionis[tm]\w*|cubis[tm]|art deco|"
        r"art nouveau|watercolou?r|oil painting|anime|manga)\b",
    ),
    # background
    clue(Task.BACKGROUND, 5, r"\b(?:background|backdrop|back-ground)\b(?! (?:music|character))"),
    clue(Task.BACKGROUND, -4.5, r"\b(?:in|from|on|of|to|into|for|at|across) (?:the|its) (?:background|backdrop)\b"),
    clue(
        Task.BACKGROUND,
        4,
        r"\b(?:change|replace|alter|modify|switch|swap|set|let|turn|transform|put)\b.*\b(?:scene|"
        r"wall|view|scenery|area|what(?:ever)? is|stuff|what's) behind\b",
    ),
    clue(
        Task.BACKGROUND,
        3,
        r"\bwhere (?:it|he|she|they|we) (?:is|are)\b|\b(?:to|into|with an?) (?:an? |the )?(?:[\w-]+,? ){0,4}(?:setting|"
        r"environment|surroundings|landscape|skyline|cityscape|scenery)\b",
    ),
    clue(
        Task.BACKGROUND,
        3.5,
        r"\b(?:set|place|transport|teleport|relocate|move|drop|bring) (?:the |this )?(?:scene|"
        r"us|me|setting)\b",
    ),
    clue(
        Task.BACKGROUND,
        4,
        r"\b(?:be (?:standing|sitting|walking)|were|was taken|taken|am|standing|we are|kids are|"
        r"i was) (?:in|on|at|in front of) (?!the style)(?!night|dusk|dawn|sun|noon)"
        + _SOME
        + r"(?:moon|beach|pyramids|disneyland|paris|tokyo|tower|wall|canyon|mountains?|forest|desert|"
        r"field|city|castle|sea|ocean|space|mars|park|street)",
    ),
    clue(Task.BACKGROUND, 7, r"^(?:get|take|bring|fly|send) (?:me|us) (?:out of|to (?:the|an?)|into|onto|away)\b"),
    clue(
        Task.BACKGROUND,
        5,
        r"^isolate\b|\bcut ?out\b.*\b(?:on|onto|against|place|put)\b|\b(?:get|take|bring|fly|send)"
        r" (?:me|us|him|her|them) (?:out of|to (?:the|an?)|into|onto|away)\b|\b(?:want|like|love|prefer|rather)"
        r" to be (?:in|at|on) (?!a |the style)\w+|\b(?:on|onto|against) (?:an? )?(?:plain |pure |"
        r"solid )?white$",
    ),
    clue(Task.BACKGROUND, 5, r"\b(?:instead of|rather than) (?:in|at|on) "),
    # tone
    clue(
        Task.TONE,
        4,
        r"\b(?:lighting|relight|brightness|contrast|exposure|saturation|white balance|colou?r temperature|"
        r"time of day|season|weather|sepia|black[- ]and[- ]white|b&w|grayscale|greyscale|monochrome|"
        r"golden hour|colou?r grad(?:e|ing)|mood|atmosphere|night ?time|daytime)\b",
    ),
    clue(
        Task.TONE,
        3.5,
        r"\b(?:brighten|darken|dim|lighten|relit|lit by|sunlit|moonlit|underexposed|overexposed|"
        r"candlelit|desaturate|bathed?)\b",
    ),
    clue(
        Task.TONE,
        3,
        r"\b(?:at|into|to|as|in|like|looks?|of|it|a|an|during|be|become) (?:the |a |an |early |"
        r"late |deep |hot |cold |dark |snowy |rainy |foggy |misty |starry |gloomy |sunny |stormy |"
        r"autumn |winter |summer |spring ){0,2}(?:night|nighttime|dusk|dawn|sunset|sunrise|twilight|"
        r"evening|winter|autumn|summer|spring|morning|midnight|noon|fog|mist|rain|snowstorm|blizzard|"
        r"storm|thunderstorm|rainy day|sunny day|afternoon)\b",
    ),
    clue(
        Task.TONE,
        3,
        r"\b(?:colou?rs|tones?|picture|image|photo) (?:\w+ )?(?:more |less |too )(?:vivid|vibrant|"
        r"warm|cool|bright|dark|saturated|muted|yellow|blue|green|cheerful|colorful)\b|\bit snow\b|"
        r"\btoo (?:dark|bright|yellow|dull|cold|warm)\b",
    ),
    clue(
        Task.TONE,
        2.5,
        r"\b(?:tone|tones|sunlight|moonlight|candlelight|backlight|shadows|glow|hazy|foggy|gloomy|"
        r"moody|cinematic|blizzard|snowfall|cheerful|spooky|high-key|low-key|neon light\w*)\b",
    ),
    clue(Task.TONE, 4, r"\bsun (?:shine|shining|set|setting|rise|rising|go down)\b|\bsun(?:light|shine)\b"),
    clue(
        Task.TONE,
        4.5,
        r"\b(?:autumn|fall|winter|spring|summer|sunset|sunrise|night|golden hour|blue hour) (?:colou?rs?|"
        r"vibes?|feel|look|mood|tones?|glow|palette)\b",
    ),
    # camera
    clue(
        Task.CAMERA,
        5,
        r"\bzoom(?:ed|ing)?\b|\b(?:camera|viewpoint|vantage point|bird's[- ]eye|birds[- ]eye|worm's[- ]eye|"
        r"top[- ]down|wide[- ]angle|fish-?eye|close-up view|camera angle|point of view|reframe|"
        r"viewing angle|telephoto)\b",
    ),
    clue(
        Task.CAMERA,
        4.5,
        r"\b(?:close-?up|close up|full[- ]body|overhead|aerial|macro|medium|wide|long|low[- ]angle|"
        r"high[- ]angle|top|side|front|rear|back|profile|frontal|drone|first[- ]person|third[- ]person|"
        r"three-quarter|tighter|pov) (?:shot|view|perspective|angle|photo of)\b|\bclose-?up\b(?! of this)",
    ),
    clue(
        Task.CAMERA,
        4,
        r"\b(?:perspective|angle|framing|horizon|field of view|dolly|orbit|bird's eye view|lens|"
        r"viewpoints?)\b",
    ),
    clue(
        Task.CAMERA,
        4,
        r"\bfrom (?:\w+ ){0,2}(?:above|below|behind|the (?:side|back|front|top|rear|left|"
        r"right|ground|opposite|other|bottom|sky|air|inside|left side|right side)|(?:a|an) (?:low|"
        r"lower|high|higher|different|another|overhead|aerial|side|elevated|new|three|frontal|"
        r"top|bird\S*))(?: (?:angle|side|direction|view))?(?= |$)",
    ),
    clue(
        Task.CAMERA,
        4.5,
        r"\b(?:rotate|flip|mirror|tilt|crop|straighten|reframe|pan|trim|uncrop) (?:the |this |"
        r"my |it |left|right|up|down)(?:"
        + _IMAGE
        + r"\b)?|\b\d+ ?(?:degrees|°)|\b(?:clockwise|counterclockwise|anticlockwise|upside down|"
        r"horizontally|vertically)\b",
    ),
    clue(
        Task.CAMERA,
        5,
        r"\b(?:step|move|get|pull) (?:back|closer|in closer|further away|in)\b|\b(?:more of the (?:room|"
        r"scene|surroundings)|looking (?:up|down)|seen from|viewed from|other side)\b|\bfocus on\b|"
        r"\b(?:viewer|we|camera|us|me) (?:to )?(?:see|look(?:s|ing)?|down)? ?(?:down|up)(?:wards?)? (?:on|"
        r"at|from)\b",
    ),
    clue(
        Task.CAMERA,
        -4,
        r"\bfrom (?:the |her |his |my |its )?(?:left|right|top|bottom|side|above|behind|back)\b.*\b(?:light|"
        r"lighting|sunlight|sun|lit)\b|\b(?:light|lighting|sunlight|lights|lit)\b.*\bfrom\b|\bremove\b.*\bfrom\b|"
        r"\b(?:crawl|jump|peek|emerge|com|ris|hang|fall|fly|swim|walk|run)\w* .*from\b",
    ),
    clue(
        Task.CAMERA,
        6,
        r"\b(?:see|view|look at|show|showing|viewed|seen|shot|photographed|captured|looking|observed|"
        r"rendered|photograph)\b.* from (?:the|an?|above|behind|below|street|ground|eye|far|afar|"
        r"inside|outside|underneath)\b(?! (?:light|left light|sun))|\blooks? like from (?:above|"
        r"behind|below|the|another|a different|far|inside|outside|underneath)\b|\bso (?:that )?(?:we|"
        r"i|you) (?:can )?see (?:its|the|his|her|their) (?:front|back|side|rear|left|right|top|"
        r"whole|full|profile)",
    ),
    clue(
        Task.CAMERA,
        4.5,
        r"\b(?:wider|tighter|closer|tight|farther|further) (?:shot|crop|framing|frame|view|angle)"
        r"\b|\b(?:whole|entire|full) (?:body|figure|person|building|house|object)\b|\b(?:show|"
        r"see|view)\b.*\bthe (?:back|front|rear|underside|other side|left side|right side|top|"
        r"bottom|inside) of\b|\bhead to toe\b|\bstreet level\b|\beye level\b|^flip\b|^rotate\b",
    ),
    clue(
        Task.CAMERA,
        5,
        r"\b(?:half|upper|full|whole)[- ]body\b|\bfrom (?:further|farther|far|a distance|up close|"
        r"close up|closer|a greater|eye level|his|her|their|my) ?(?:away|perspective|point)?\b(?=$|"
        r" distance)|\bfrom further\b|\bupside down\b",
    ),
    clue(Task.REASONING, -4, r"\blooks? like from (?:above|behind|below|the|another)\b"),
)
