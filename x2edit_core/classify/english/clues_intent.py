"""English wordings that name no plain edit: a change to work out, an image map, a subject in a new scene."""

from __future__ import annotations

from ...tasks import Task
from ..evidence import clue

_NUMBER = (
    r"(?:\d+|an?|one|two|three|four|five|six|ten|twenty|thirty|fifty|hundred|thousand|several|"
    r"many|few|some|couple of)"
)
_PERIOD = r"(?:seconds?|minutes?|hours?|days?|nights?|weeks?|months?|years?|decades?|century|centuries|seasons?)"

INTENT_CLUES = (
    # reasoning
    clue(
        Task.REASONING,
        6,
        r"\bwhat (?:would|will|might|could|happens?|happened|is going to)\b.*\b(?:happen|look|"
        r"be|see|become|if|when|after|look like)\b|\bwhat if\b|\bwhat happens\b|\bhow (?:would|"
        r"will|might) .* (?:look|appear|be|change|react)\b|\bhow .* look(?:s|ed)? (?:before|after|"
        r"like (?:before|after))\b",
    ),
    clue(
        Task.REASONING,
        5,
        r"\b(?:imagine|suppose|assume|assuming|predict|simulate|fast[- ]forward|hypothetically|"
        r"visuali[sz]e) (?!it as|this as|the picture in|us as|me as|this image as|this clock)",
    ),
    clue(
        Task.REASONING,
        5,
        r"\b(?:result|results|outcome|consequences?|aftermath|effects?) of (?!black|the light)"
        r"\w+",
    ),
    clue(
        Task.REASONING,
        5,
        _NUMBER
        + r" (?:more )?"
        + _PERIOD
        + r" (?:later|from now|ago|into the future|have passed|pass|passed|in the future|after|earlier|"
        r"without)\b|\b(?:after|for|in) (?:about |over |the next )?" + _NUMBER + r" (?:more )?" + _PERIOD + r"\b",
    ),
    clue(
        Task.REASONING,
        4.5,
        r"\bdraw what\b|\bwhat\b.* look(?:s)? like (?:after|if|when|in|once|from (?:the )?inside)"
        r"\b|\b(?:right |immediately |just |shortly )?(?:after|once) (?:the |a |an |it |he |she |"
        r"they |being |someone |you |i |its |his |her )(?!style|sun)|\b(?:had|has|have) (?:just |"
        r"been |never |already )",
    ),
    clue(
        Task.REASONING,
        5.5,
        r"\b(?:before|after|when|while|once) (?:it|he|she|they|the \w+) (?:was|were|is|are|has|"
        r"had|gets?|got|have)\b",
    ),
    clue(
        Task.REASONING,
        4.5,
        r"\b(?:solve|next (?:move|moment|step|stage|state|frame|second)|metamorphosis|chemical|"
        r"experiment|maze|puzzle|sudoku|equation|checkmate|tic-tac-toe|chess|life cycle|evolv\w+|"
        r"reaches? (?:its |the )?(?:boiling|melting|freezing) point|correct answer|unreasonable|"
        r"illogical|the (?:one|item|thing|animal|tool|food\w*|object|person|part)(?: \w+){0,4} (?:that|"
        r"which|who) (?:can|is|could|would|has|should|does)|what (?:he|she|they|it|the \w+(?: \w+)?)"
        r" needs?|help (?:her|him|them|it|the)|question mark|shortest path|provided components|"
        r"unfolded|the correct \w+|fully assembled|assemble|these (?:parts|pieces|blocks|cubes|"
        r"shapes|components)|pattern continues)\b",
    ),
    clue(
        Task.REASONING,
        4.5,
        r"^if (?!possible|you (?:can|could|would))|^(?:circle|mark|highlight|point (?:out|to)|"
        r"indicate|identify|find) (?:the|all|which|every)\b|^which\b|\bwhich (?:of|one|object|"
        r"item|animal|fruit)\b|\bwhat (?:comes )?next\b|\bwhat (?:the |a |this |it |he |she )(?:\w+ ){0,3}(?:will|"
        r"would|could|might|becomes?|grows?|turns?)\b|\bonce (?:the|it|he|she)\b|\bhas (?:just )?(?:been|"
        r"rolled|eaten|fallen|melted)\b|\bexplod\w+|\b(?:is|are) left (?:out|in|on|outside)\b|"
        r"\bblend in with\b",
    ),
    clue(
        Task.REASONING,
        7,
        r"\bblend in with\b|\bnatural (?:predator|enemy|habitat)\b|\b(?:the one|the \w+ (?:item|"
        r"food|object|animal|thing)|what is|anything) (?:that is|which is) (?:un\w+|wrong|out of place)"
        r"\b",
    ),
    clue(
        Task.REASONING,
        4,
        r"^(?:the|an?|he|she|they|someone|somebody|his|her|two|one) (?:(?!should|must|needs?|has|"
        r"is|are|was|would|could|looks?|says|reads|image|photo|picture)[\w-]+ ){0,3}(?:(?!needs|"
        r"has|is|was|looks|says|reads|this|its|glasses)\w+(?:s|ed)|forgot|fell|broke|went|left|"
        r"got|lost|ate|took|hit|threw|blew|caught|ran|let|cut|won|spilt|burnt) (?:the|an?|his|"
        r"her|its|their|and|into|onto|to|on|in|off|for|too|at|down|over|out|away|through|against|"
        r"from|until|by)\b",
    ),
    clue(
        Task.REASONING,
        3.5,
        r"\b(?:rot|rotten|decays?|melts?|melted|rust away|hatch(?:es)?|erupt\w*|collapses?|breaks|"
        r"flooding|flooded|earthquake|tsunami|meteor|gravity|extinct|power goes out|blackout|wilt\w*|"
        r"germinat\w*|sprout\w*|ripen\w*|evaporat\w*|dissolv\w*|burnt? down|freez\w+ over|spill\w*|"
        r"overflow\w*|bursts?|shatter\w*|domino|too long|too quickly|too much)\b",
    ),
    clue(
        Task.REASONING,
        4.5,
        r"\bnext (?:frame|page|panel|scene|second|minute|phase)\b|\bif it (?:were|was)\b|\bafter (?:a|"
        r"an|the|being|getting|falling|heavy|years|days|months|many)\b(?! style)",
    ),
    clue(
        Task.REASONING,
        6,
        r"^(?:show|reveal|draw|depict)(?: me)? what\b|\b(?:minutes?|hours?|days?|seconds?|weeks?|"
        r"months?|years?) (?:before|earlier)\b|\bnow look\b|\blook(?:s)? (?:like )?now\b",
    ),
    clue(
        Task.REASONING,
        5,
        r"\b(?:hungry|thirsty|cold|lonely|lost|bored|wet|sick)\b,? .*\b(?:give|help|find|offer|"
        r"bring)\b",
    ),
    # low level
    clue(Task.LOW_LEVEL, -9, r"\bbackground\b.*\bblur|\bblur\w*\b.*\bbackground\b"),
    clue(
        Task.LOW_LEVEL,
        6,
        r"\b(?:sketch|outlines?|line ?art|scribble|edges?|edge map|map|contours?) (?:in)?to (?:an? )?(?:\w+ )?(?:real\w*|"
        r"photo\w*|natural)\b",
    ),
    clue(
        Task.LOW_LEVEL,
        7,
        r"\b(?:canny|depth[- ]?(?:map|image|estimation|to-image)|normal map|segmentation|edge[- ](?:map|"
        r"detection|image|drawing)|open ?pose|key ?points|hed|mlsd|line[- ]?art|surface normals?|"
        r"sketch map|scribble map|semantic map|instance masks?|superpixels?|de-?noise|de-?noising|"
        r"de-?blur\w*|de-?haz\w*|de-?rain\w*|de-?snow\w*|super[- ]?resol\w*|skeleton of|pose skeleton|"
        r"contours|soft ?edge|edges (?:of (?:this|the) (?:image|photo|picture)|to|into))\b|\b(?:canny|"
        r"hed|these|this|from (?:the|its|these)|detect\w*|extract\w*|holistically nested) edges?\b",
    ),
    clue(
        Task.LOW_LEVEL,
        6,
        r"\b(?:motion blur|out-of-focus blur|camera shake|jpeg|artifacts?|artefacts?|compression|"
        r"film grain|^segment (?:the|this|all|every|out)|rain ?streaks?|rain ?drops on the lens|"
        r"grainy|graininess|low-?light|image noise|low[- ]resolution|blurry|blurred|unblur|snow noise|"
        r"moire|lens blur|scan ?lines|scratches of (?:this|the) old)\b|\b(?:noise|blur|haze)\b(?= |"
        r"$)(?!.* background)",
    ),
    clue(
        Task.LOW_LEVEL,
        5,
        r"\b(?:estimate|compute|generate|extract|detect|predict|produce|derive|output)\b.*\b(?:depth|"
        r"edges?|outlines?|masks?|normals?|contours?|lines|pose|skeleton|silhouette)\b|\boutlines? only\b|"
        r"\bdepth of (?:the |this )(?:scene|image|photo)",
    ),
    clue(
        Task.LOW_LEVEL,
        4.5,
        r"\b(?:remove|get rid of|clear|eliminate|reduce|suppress|clean up|erase|take away) (?:away )?(?:the |"
        r"all |any |all the |these )?(?:\w+ )?(?:rain(?:drops)?|haze|fog|mist|snowflakes|falling snow|"
        r"smog|noise|blur|blurriness|grain|static|shaking|snow(?= from (?:the|this) (?:image|photo|"
        r"picture)))\b(?! from the (?:roof|ground|car|tree|street|mountain)|-)|\bdamaged scan\b|"
        r"\bsharpen\b",
    ),
    clue(
        Task.LOW_LEVEL,
        5,
        r"\bfrom (?:this |the |its )?(?:depth|sketch|scribble|edges?|segmentation|line[- ]?art|"
        r"canny|outline|pose|normal|mask)\b(?: map| image| drawing)?",
    ),
    # subject
    clue(
        Task.SUBJECT,
        9,
        r"^(?!which|what|elevate|improve|enhance|fix|edit|change|turn|keep|use|move|show|make|"
        r"get|give|take|view|side|angle|zoom|crop)(?:an? |the )?(?:(?!view|perspective|angle|recreation)"
        r"\w+[ -]){0,5}(?:of|featuring|with|showing) (?:this|the same|these two|these|my|that)"
        r" (?:exact |very )?(?!image|scene|photo|picture|shot|painting|drawing|is)\w+",
    ),
    clue(
        Task.SUBJECT,
        5,
        r"^(?:this|these|the same|the very same|same|that exact) (?!image|photo|picture|is |should|"
        r"needs|could|must|looks|time|as|style|in |shot)(?:exact |very )?[\w-]+",
    ),
    clue(
        Task.SUBJECT,
        6,
        r"^(?:an? )?(?:\w+ ){1,3}(?:of|with|featuring) the [\w-]+(?: [\w-]+)? (?:from|in) (?:the|"
        r"this|that) (?:image|photo|picture)\b",
    ),
    clue(
        Task.SUBJECT,
        5,
        r"^(?:the|a|my|our) [\w-]+(?: \w+)? (?:from|in|of) (?:the|this|that) (?:reference |given |"
        r"input |provided |first )?(?:image|photo|picture|reference)\b",
    ),
    clue(
        Task.SUBJECT,
        6,
        r"^(?:my|our|that|that same|that very|your) [\w-]+(?: (?!is |was |has )[\w-]+)? (?:dressed|"
        r"wearing|sitting|standing|lying|riding|flying|floating|swimming|playing|on|in|at|as|with|"
        r"next|inside|under|behind|holding|running)\b(?! should| is| needs)",
    ),
    clue(Task.SUBJECT, 3, r"\b(?:from|in) (?:the|this) reference (?:image|photo|picture)\b"),
)
