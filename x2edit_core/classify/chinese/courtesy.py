"""Chinese wrapping: politeness, and what is to stay."""

from __future__ import annotations

import re

_COURTESY = re.compile(
    r"^(?:请问|请你|请您|请|麻烦(?:您|你)?|劳烦(?:您|你)?|拜托|(?:能|可)?不能(?:请你|帮我|"
    r"帮忙)?(?=把|将|给|让|去|删|加)|能不能|可不可以|可以|可否|能否|是否可以|能(?=把|将|给|"
    r"让|帮|不)|"
    r"帮我们?|帮忙|给我(?=把|将|删|去|加|画|来)|替我|为我|我(?:想要?|希望|要)(?:你)?(?=把|"
    r"将|给|让|看)|希望(?:能|可以)?|我(?:想|希望|想要)(?=[^要])|想(?:把|让)?(?=把|让|将)|您|"
    r"你|来(?=把|给)|直接|现在|然后|再(?=把|给|将)|,|，)+"
)
_TRAILING_COURTESY = re.compile(r"[,，]?(?:谢谢|多谢|可以吗|好吗|行吗|好不好|行不行|拜托了?|感谢)[!！。.?？]*$")
_PRESERVE = re.compile(
    r"(?:[,，。;；、]|但是?|并且?|同时|而且)+(?:请)?(?:[\u4e00-\u9fff]{0,6}?(?:保持|保留(?!毛孔)"
    r"|不要?变|不要(?:动|改)|别(?:动|改|变)|不动|不改|留着|维持|一致)|其他|其余|别的).*?(?=[,，。;；]|"
    r"$)|"
    r"^(?:保持|保留|维持)(?![^,，]{0,4}$)[^,，。;；]*[,，。;；]"
)


def drop_courtesy(text: str) -> str:
    """The instruction without its polite wrapping."""
    return _TRAILING_COURTESY.sub("", _COURTESY.sub("", text.strip()))


def drop_preservation(text: str) -> str:
    """The instruction without clauses that only say what stays."""
    return _PRESERVE.sub("", text).strip(" ,，")
