"""What it means that A becomes B in Chinese: first what A is, then what it turns into."""

from __future__ import annotations

import re

from ...tasks import Task
from ..evidence import Evidence
from ..word_lists import word_list
from .words import ANY_MOTION, LEXICON, contains, head_tags, trim

CHANGED = {
    "background": (Task.BACKGROUND, 5),
    "text": (Task.TEXT, 5),
    "pose": (Task.ACTION, 5.5),
    "face": (Task.PORTRAIT, 5),
    "colour_noun": (Task.COLOR, 5),
    "material_noun": (Task.MATERIAL, 5),
    "low_level": (Task.LOW_LEVEL, 3),
    "tone": (Task.TONE, 4.5),
    "style_noun": (Task.STYLE, 3.5),
    "quality": (Task.OTHER, 3),
}


RESULT = {
    "low_level": (Task.LOW_LEVEL, 5),
    "style": (Task.STYLE, 4.5),
    "tone": (Task.TONE, 4.5),
    "season_time": (Task.TONE, 1),
    "place": (Task.BACKGROUND, 3),
    "style_noun": (Task.STYLE, 3),
    "colour": (Task.COLOR, 2.0),
    "vague": (Task.OTHER, 4),
    "quality": (Task.OTHER, 2),
}


_SCENERY = ("墙", "景色", "风景", "景物", "天空")
_BODY_COLOUR = re.compile(r"眼睛|瞳孔|头发|嘴唇|皮肤|指甲|眉毛")


def by_tag(phrase: str, table: dict[str, tuple[Task, float]], why: str) -> list[Evidence]:
    tags = head_tags(phrase)
    return [Evidence(task, weight, why) for tag, (task, weight) in table.items() if tag in tags]


def read_pair(source: str, result: str, clause: str, swap: bool) -> list[Evidence]:
    """`source` becomes `result`: first what the source is, then what it turns into."""
    source, old = _without_origin(source)
    source, result = trim(source), re.sub(r"^得(?:特别|非常|更加?|很)?", "", trim(result))
    if "quoted" in source or result.startswith("quoted"):
        return [Evidence(Task.TEXT, 4.5, clause)]
    tags, result_tags = head_tags(source), head_tags(result)
    special = _read_scenery(source, result, tags, result_tags) or _read_body(source, result, tags, result_tags)
    if special:
        return [Evidence(*special, clause)]
    if source.isdigit():
        return [Evidence(Task.TEXT, 5, clause)]
    if not source or "image" in tags:
        return read_whole(result, old, clause)
    found = [Evidence(task, weight, clause) for tag, (task, weight) in CHANGED.items() if tag in tags]
    if "tone" in tags and not (head_tags(result) & {"tone", "style", "colour", "vague", "quality"}):
        found = [Evidence(Task.TONE, 4, clause)] if contains(result, "tone") else []
    return found or _object(source, result, clause, swap)


def _read_scenery(
    source: str, result: str, tags: frozenset[str], result_tags: frozenset[str]
) -> tuple[Task, float] | None:
    """What stands behind the subject, by whatever name."""
    behind = any(word in source for word in ("后面的", "背后的", "身后的"))
    if behind and (tags & {"place", "background"} or contains(result, "place") or source.endswith(_SCENERY)):
        return Task.BACKGROUND, 6
    within = re.match(r"^背景(?:中|里|上)", source) and not tags & {"person", "animal", "text"}
    if within and "colour" not in result_tags:
        return Task.BACKGROUND, 6
    if "background" in tags and "season_time" in result_tags:
        return Task.TONE, 6
    if "background" in result_tags and "background" not in tags:
        return Task.BACKGROUND, 4.5
    return None


def _read_body(
    source: str, result: str, tags: frozenset[str], result_tags: frozenset[str]
) -> tuple[Task, float] | None:
    """Hair, eyes and faces: a new colour is retouching, except on animals; a new expression is action."""
    if "colour_noun" in tags and _BODY_COLOUR.search(source) and not contains(source, "animal"):
        return Task.PORTRAIT, 8
    if "face" in tags and "colour" in result_tags and any(word in source for word in LEXICON["animal"]):
        return Task.COLOR, 8
    if source.endswith(("头", "脸", "身体", "身子")) and re.match(r"(?:左|右|前|后|上|下|另)", result):
        return Task.ACTION, 5
    if tags & {"face", "emotion", "pose"} and (result_tags & {"emotion", "pose"} or ANY_MOTION.search(result)):
        return Task.ACTION, 6.5
    return None


def _without_origin(source: str) -> tuple[str, str]:
    """ "表带从银色" → ("表带", "银色"): what it was before is not what it is."""
    match = re.match(r"^(?P<a>.*?)(?:由|从)(?P<old>[^里中上].*)$", source)
    return (match["a"] or match["old"], match["old"]) if match else (source, "")


def read_whole(result: str, old: str, clause: str) -> list[Evidence]:
    found = by_tag(result, RESULT, clause)
    if old and head_tags(result) & {"colour"}:
        return [Evidence(Task.COLOR, 4, clause)]
    if found:
        return found
    for tag, (task, weight) in RESULT.items():
        if tag in {"style", "tone", "low_level", "place"} and contains(result, tag):
            return [Evidence(task, weight - 1.5, clause)]
    if trim(result).endswith(("夜", "天气", "时分", "季", "天")):
        return [Evidence(Task.TONE, 3, clause)]
    return [Evidence(Task.STYLE, 1.2, clause)]


def _object(source: str, result: str, clause: str, swap: bool) -> list[Evidence]:
    tags = head_tags(result)
    same = len(result) > len(source) > 0 and result.endswith(source[-1]) and bool(source) and result[-1:] not in "子色"
    if {"colour", "material"} <= tags:
        return [Evidence(Task.MATERIAL, 4, clause), Evidence(Task.COLOR, 3, clause)]
    named_colour = result.endswith("色") and not result.endswith(("景色", "角色", "特色", "肤色", "气色", "夜色"))
    if "colour" in tags or "colour_noun" in tags or named_colour:
        return [Evidence(Task.COLOR, 5, clause)]
    if re.search(r"(?:做|铺|搭|编|织|雕|制|砌|拼|折|捏)(?:成)?$", result):
        return [Evidence(Task.MATERIAL, 4.5, clause)]
    if _ends_in_colour(result):
        return [Evidence(Task.COLOR, 4.5, clause)]
    if swap and result in _MATERIAL_THINGS:
        return [Evidence(Task.REPLACE, 4, clause)]
    if tags & {"material", "material_noun"}:
        return [Evidence(Task.MATERIAL, 5 if not swap else 4, clause), Evidence(Task.REPLACE, 2, clause)]
    if _rematerialed(source, result):
        return [Evidence(Task.MATERIAL, 5.5, clause), Evidence(Task.REPLACE, 2.5, clause)]
    if _recoloured(source, result):
        return [Evidence(Task.COLOR, 4.5, clause), Evidence(Task.REPLACE, 2.5, clause)]
    if same and contains(result[:-1], "material"):
        return [Evidence(Task.MATERIAL, 4, clause), Evidence(Task.REPLACE, 2.5, clause)]
    return _thing(source, result, tags, clause)


_OWNER = re.compile("^(?:[他她它我你]们?的?|(?:男|女)[人孩生]的?|[这那](?:个|件|条|只|双|顶|朵|辆))")


def _ends_in_colour(result: str) -> bool:
    """哑光黑, 莫兰迪灰: a finish or a name before a bare colour; 口红 and 面粉 are things."""
    return bool(re.fullmatch(r"[\u4e00-\u9fff]{1,4}[红蓝绿黄黑白紫灰橙棕]", result)) and not result.endswith(
        ("口红", "蛋黄", "蛋白", "雪白的")
    )


_MATERIAL_THINGS = frozenset(
    word_list("气球 巧克力 羽毛 糖果 积木 果冻 姜饼 稻草 绳索 纸 蜡 冰 钻石 水晶 竹子 石头 黄金")
)


_MADE_OF = re.compile(
    "^(?:"
    + "|".join((*(word for word in LEXICON["material"] if len(word) > 1), *"木石铁铜金银纸皮竹瓷玉布冰"))
    + ")(?:质|制|头)?的?"
)


def _rematerialed(source: str, result: str) -> bool:
    """木桥 → 石桥, 塑料瓶 → 玻璃瓶, 猫 → 玻璃雕塑: the same thing of another material."""
    bare = _MADE_OF.sub("", result)
    if not bare or bare == result:
        return False
    return bare in {_MADE_OF.sub("", source), source} or (
        bare in {"雕塑", "雕像", "像", "雕", "雕刻", "摆件"} and not source.endswith(bare)
    )


def _recoloured(source: str, result: str) -> bool:
    """白马 → 棕色的马, 粉枕头 → 蓝枕头: the thing stays, its colour does not."""
    colours = "红蓝绿黄黑白紫粉灰橙棕金银青"
    bare_source, bare_result = (
        re.sub(rf"^(?:[{colours}]色?|[\u4e00-\u9fff]色)的?", "", text) for text in (_OWNER.sub("", source), result)
    )
    return bare_result not in {"", result} and bare_source.endswith(bare_result)


def _thing(source: str, result: str, tags: frozenset[str], clause: str) -> list[Evidence]:
    alive = bool(head_tags(source) & {"person", "animal"})
    if alive and (tags & {"emotion"} or ANY_MOTION.match(result)):
        return [Evidence(Task.ACTION, 4.5, clause)]
    if head_tags(source) & {"emotion", "pose"} and tags & {"emotion", "pose"}:
        return [Evidence(Task.ACTION, 5, clause)]
    if alive and "face" in tags:
        return [Evidence(Task.PORTRAIT, 4.5, clause)]
    if tags & {"style"} or result.endswith("风格"):
        return [Evidence(Task.STYLE, 4, clause), Evidence(Task.REPLACE, 1, clause)]
    if source.endswith(("天空", "天", "空")) and tags & {"tone", "season_time"}:
        return [Evidence(Task.TONE, 5, clause)]
    if "season_time" in tags:
        return [Evidence(Task.TONE, 3.5, clause)]
    if tags & {"size"} and not tags & {"animal"}:
        return [Evidence(Task.OTHER, 3.5, clause)]
    if tags & {"vague"}:
        return [Evidence(Task.OTHER, 2.5, clause)]
    if "place" in tags and head_tags(source) & {"place"}:
        return [Evidence(Task.BACKGROUND, 3, clause), Evidence(Task.REPLACE, 2.5, clause)]
    if tags & {"place"} and head_tags(source) & {"person"}:
        return [Evidence(Task.BACKGROUND, 4, clause)]
    return [Evidence(Task.REPLACE, 4.0, clause)]
