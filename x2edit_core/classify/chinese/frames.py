"""Chinese sentence frames: 把 A 换成 B, 让 A 做 B, 给 A 加 B, 用 B 代替 A."""

from __future__ import annotations

import re

from ...tasks import Task
from ..evidence import Evidence
from .changes import CHANGED, RESULT, by_tag, read_pair, read_whole
from .words import ANY_MOTION, LEXICON, contains, head_tags, trim

_VERB = (
    r"(?:整|替换|替焕|更换|切换|转换|转化|变换|调整|修改|更改|改造|更新|变身|转变|调|"
    r"换|改|变|转|替|做|弄|搞|染|涂|刷|漆|画|设|p|打扮|装扮|还原|翻译|渲染|处理|制作|生成)"
)


_BECOME = re.compile(
    r"^(?:把|将|让|使|给|令)?(?P<a>.*?)(?:的)?(?:(?:都|全|重新|整个|统一|直接|一律|改|全部|也)*)"
    r"(?P<v>" + _VERB + r")(?P<c>成为|成了|成|程|为|作|做成|到|回|用|换成)(?P<b>.+)$"
)


_BARE_CHANGE = re.compile(
    r"^(?:把|将|给)?(?P<a>.+?)(?P<v>换|改(?![变善进动])|(?<!改)变(?!得)|(?<![翻旋反倒])转)(?!个|一|了)(?P<b>[^成为换改变上下个掉了回一]\S*)$"
)


_CHANGE_ONLY = re.compile(
    r"^(?:把|将|给)?(?P<a>.*?)(?:换|改|变|更换|调整|修改|更改|改变)(?:一?下|个|一换|一改|掉|了|一个|别的)?(?P<b>.*)$"
)


_LET = re.compile(r"^(?:让|使|叫|令|请)(?P<a>.+)$")


_GIVE = re.compile(
    r"^(?:给|为|在|往|替|对|用)(?P<a>.+?)(?P<v>加上|加个|加入|添加|增加|添上|添|加|戴上|戴|"
    r"穿上|穿|披|系上|系|配上|配|画上|画|插上|插|放上|放|摆上|摆|挂上|挂|安上|安|装上|装|贴上|"
    r"贴|铺上|铺|种上|种|撒上|撒|换上|换|涂上|涂|化上|化|打上|打|剃|来|写上|写|印上|印(?!刷|象)|刻上|"
    r"刻|题|搭|盖|塞|装饰|布置|比)"
    r"(?P<b>.+)$"
)


_ADD = re.compile(
    r"^(?P<place>.*?)(?:再|新|多|也|上|,|，)*(?P<v>添加|增加|加上|加入|插入|添上|添置|增添|"
    r"新增|放置|放上|放|摆上|摆放|摆满|摆|挂上|挂|种上|种|画上|画|戴上|戴|穿上|穿|披上|系上|"
    r"系|配上|铺上|铺|撒上|撒|安上|装上|贴上|来|添|加|插|塞|点缀|有)"
    r"(?P<b>[^的]?.+)$"
)


_REMOVE = re.compile(
    r"(?:删除|移除|去除|擦除|消除|清除|抹除|抹掉|擦掉|删掉|去掉|拿掉|拿走|移走|移出|撤掉|抠掉|"
    r"消掉|剔除|清空|清理|摘掉|脱掉|弄没|弄掉|p掉|除掉|隐藏|抹去|删去|消去|删处|^去(?![到往年])"
    r"|(?<=[^过回出进来下上离]{2})去(?:了|掉)(?:吧)?$)"
)


_INSTEAD = re.compile(r"^(?!把|将|给|让)用?(?P<b>.+?)(?:来)?(?:替换|代替|取代|替代|换掉|替)(?P<a>.*)$")


_USE = re.compile(r"^用(?P<b>.+?)(?:来)?(?:重画|重绘|重新(?:绘制|画)|画|绘制|表现|照亮|打光|渲染|做|制作|拍|重新打光)")


_ADDED = {
    "text": (Task.TEXT, 5),
    "pose": (Task.ACTION, 5),
    "face": (Task.PORTRAIT, 5),
    "tone": (Task.TONE, 4.5),
    "style_noun": (Task.STYLE, 3),
    "background": (Task.BACKGROUND, 4),
    "colour_noun": (Task.COLOR, 4),
    "material_noun": (Task.MATERIAL, 4),
}


def read_clause(clause: str) -> list[Evidence]:
    """What one clause asks for, by the first frame that fits it."""
    if _REMOVE.search(clause):
        return _removal(clause)
    for frame in (_instead, _handing, _become, _using, _let, _give, _bare_change, _change_only, _addition):
        found = frame(clause)
        if found:
            return found
    return _verbless(clause)


def _removal(clause: str) -> list[Evidence]:
    target = trim(re.sub(r"^(?:把|将|从.{1,8}(?:中|里|上))", "", _REMOVE.sub("", clause, count=1)))
    tags = head_tags(target)
    found = [Evidence(Task.REMOVE, 1.5, clause)]
    table = {
        "background": (Task.BACKGROUND, 5),
        "text": (Task.TEXT, 4),
        "face": (Task.PORTRAIT, 4),
        "low_level": (Task.LOW_LEVEL, 3),
    }
    if re.fullmatch(r"(?:大|浓|薄)?(?:雾|雾霾|雾气|霾|雨|雨水|雨丝|雨滴|雪花|噪声|噪点|模糊)", target):
        return [Evidence(Task.LOW_LEVEL, 6, clause)]
    if contains(target, "face") and target.endswith(
        ("反光", "油", "光", "斑", "痕", "红", "疤", "汗", "纹", "阴影", "脏")
    ):
        return [Evidence(Task.PORTRAIT, 7.5, clause)]
    if "face" in tags and not contains(clause, "animal"):
        table["face"] = (Task.PORTRAIT, 6)
    special = [Evidence(task, weight, clause) for tag, (task, weight) in table.items() if tag in tags]
    return found + (special or [Evidence(Task.REMOVE, 2.5, f"{target} is a thing")])


def _handing(clause: str) -> list[Evidence]:
    """给小熊一罐蜂蜜: the verb is the giving itself."""
    fits = re.match(r"^给[^加换戴穿画把将让]{1,8}?[一两三几][\u4e00-\u9fff]{2,}$", clause)
    return [Evidence(Task.ADD, 3.5, clause)] if fits and not re.search(_VERB, clause) else []


def _using(clause: str) -> list[Evidence]:
    """用漫画线条重新绘制, 用巧克力做这座雕像, 用烛光照亮."""
    match = _USE.match(clause)
    if not match:
        return []
    for tag, task in (
        ("low_level", Task.LOW_LEVEL),
        ("style", Task.STYLE),
        ("tone", Task.TONE),
        ("material", Task.MATERIAL),
    ):
        if contains(match["b"], tag):
            return [Evidence(task, 4.5, clause)]
    return []


def _instead(clause: str) -> list[Evidence]:
    match = _INSTEAD.match(clause)
    return read_pair(match["a"], match["b"], clause, swap=True) if match else []


def _become(clause: str) -> list[Evidence]:
    match = _BECOME.match(clause)
    if not match:
        return []
    if match["v"] in {"染", "涂", "刷", "漆"}:
        return _dyed(match["a"], clause)
    if match["v"] == "翻译":
        return [Evidence(Task.TEXT, 4, clause)]
    return read_pair(match["a"], match["b"], clause, swap=match["v"] in {"替换", "替焕", "更换", "换", "替"})


def _dyed(target: str, clause: str) -> list[Evidence]:
    hair = "face" in head_tags(target)
    return [Evidence(Task.PORTRAIT if hair else Task.COLOR, 5, clause)]


def _is_human(receiver: str) -> bool:
    return "person" in head_tags(receiver) and not receiver.endswith(("雪人", "机器人", "稻草人", "木偶人"))


def _let(clause: str) -> list[Evidence]:
    match = _LET.match(clause)
    if not match:
        return []
    body = match["a"]
    motion = ANY_MOTION.search(body)
    if re.match(r"一[只个位条匹架头名群]", body):
        return [Evidence(Task.ADD, 4, clause)]
    wear = re.search(
        r"(?:戴|穿|披|系|拿|握|捧|提|背|撑|打|牵|骑)(?:着|上|起)?[一个顶副件把]|(?:手里|手中|手上|"
        r"身上|头上|脖子上)?(?:戴|穿|披|系|拿|握|捧|提|抱)着(?!手|胳膊|腿|头).{1,8}$",
        body,
    )
    if wear:
        return [Evidence(Task.ADD, 4.5, clause)]
    if re.search(r"(?:站|坐|置身|身处|位于|停|走|躺)(?:在|于)", body):
        place = contains(body, "place")
        return [Evidence(Task.BACKGROUND if place else Task.ACTION, 4, clause)]
    if re.search(r"在[^,，]*", body) and not motion and contains(body, "place"):
        return [Evidence(Task.BACKGROUND, 4.5, clause)]
    if contains(body, "face") and re.search("[更变点些得]", body):
        return [Evidence(Task.PORTRAIT, 4.5, clause)]
    aged = re.search(r"(?:年轻|老(?!虎|鼠|鹰|师|板)|岁|瘦|胖|肌肉|头发|胡)", body)
    if aged:
        return [Evidence(Task.PORTRAIT, 4, clause)]
    if motion and not contains(body, "tone"):
        return [Evidence(Task.ACTION, 4.5, clause)]
    return _stative(body, clause)


def _stative(body: str, clause: str) -> list[Evidence]:
    """让 A 更…, 让 A 看起来像…: a state instead of a movement."""
    look = re.search(r"(?:看起来|看上去|显得|像|如同|变得|更加?|有)(?P<b>.+)$", body)
    value = look["b"] if look else body
    tags = head_tags(value)
    subject = body[: look.start()] if look else body
    if tags & {"emotion"} and not head_tags(subject) & {"image"}:
        return [Evidence(Task.ACTION, 4, clause)]
    if tags & {"vague", "quality"}:
        return [Evidence(Task.OTHER, 3.5, clause)]
    table = {"material": (Task.MATERIAL, 4), "material_noun": (Task.MATERIAL, 4), "tone": (Task.TONE, 3.5),
             "style": (Task.STYLE, 3.5),             "colour": (Task.COLOR, 3.5), "size": (Task.OTHER, 4)}  # fmt: skip
    found = [Evidence(task, weight, clause) for tag, (task, weight) in table.items() if tag in tags]
    alive = re.match("(?:" + "|".join((*LEXICON["person"], *LEXICON["animal"])) + ")", body)
    return found or ([Evidence(Task.ACTION, 3, clause)] if alive and not look else [])


def _give(clause: str) -> list[Evidence]:
    match = _GIVE.match(clause)
    if not match:
        return []
    receiver, gift = match["a"], match["b"]
    if match["v"] in {"写", "写上", "印", "印上", "刻", "刻上", "题"} or "quoted" in gift:
        return [Evidence(Task.TEXT, 3.5, clause)]
    if match["v"] in {"换", "换上"} and re.match(r"(?:上|成)?[\u4e00-\u9fff]{1,3}色的?(?:羽毛|毛发|皮毛|毛)$", gift):
        return [Evidence(Task.COLOR, 5, clause)]
    if match["v"] in {"换", "换上"}:
        return read_pair(receiver, gift.lstrip("个一"), clause, swap=True) or read_whole(gift, "", clause)
    found = by_tag(gift, _ADDED, clause)
    if (
        "face" in head_tags(gift)
        and not head_tags(receiver) & {"face"}
        and not _is_human(receiver)
        and match["v"] not in {"换", "剃", "化"}
    ):
        found = []
    if match["v"] == "比":
        return [Evidence(Task.ACTION, 4, clause)]
    if match["v"] in {"剃", "化", "化上"}:
        return [Evidence(Task.PORTRAIT, 4, clause)]
    if match["v"] in {"涂", "涂上"} and not found:
        return [Evidence(Task.COLOR, 3, clause)]
    if clause.startswith("用") and not found:
        return []
    return found or [Evidence(Task.ADD, 4, clause)]


def _bare_change(clause: str) -> list[Evidence]:
    """披萨换汉堡, 红底改白底, 夏天变冬天."""
    match = _BARE_CHANGE.match(clause)
    if not match or len(trim(match["a"])) > 12:
        return []
    return read_pair(match["a"], match["b"], clause, swap=match["v"] == "换")


def _change_only(clause: str) -> list[Evidence]:
    """换个背景, 改一下发型, 颜色调整为…: the thing is named, the new value is not."""
    match = _CHANGE_ONLY.match(clause)
    if not match:
        return []
    return by_tag(match["b"] or match["a"], CHANGED, clause) or by_tag(match["a"], CHANGED, clause)


def _addition(clause: str) -> list[Evidence]:
    match = _ADD.match(clause)
    if not match or len(match["place"]) > 24:
        return []
    if match["place"].startswith(("把", "将")):
        return _moved(match["place"][1:], match["v"], match["b"], clause)
    gift = re.sub(r"(?:的)?(?:感觉|效果|氛围)$", "", match["b"])
    found = by_tag(gift, {**_ADDED, "style": (Task.STYLE, 4)} if gift != match["b"] else _ADDED, clause)
    if not found and contains(gift, "face") and not contains(match["place"], "animal"):
        return [Evidence(Task.PORTRAIT, 4, clause)]
    if match["v"] == "有" and match["place"].endswith(("更", "更加", "很")):
        return by_tag(gift, {"vague": (Task.OTHER, 4), "quality": (Task.OTHER, 3), "tone": (Task.TONE, 4)}, clause)
    strong = match["v"] not in {"有", "来", "画", "放", "穿", "戴", "种", "系"} or re.match(
        r"[一两三几个只些点]", match["b"]
    )
    return found or [Evidence(Task.ADD, 2.5 if strong else 1.2, clause)]


def _moved(thing: str, verb: str, rest: str, clause: str) -> list[Evidence]:
    """把女孩放到沙漠里 moves her to a place; 把手插进口袋 is a pose."""
    if trim(thing).endswith(("手", "腿", "脚", "头", "胳膊", "手臂")):
        return [Evidence(Task.ACTION, 4.5, clause)]
    if contains(rest, "place") or contains(rest, "background"):
        return [Evidence(Task.BACKGROUND, 4, clause)]
    if head_tags(thing) & {"person", "animal"} and rest.endswith(("前", "边", "里", "中", "旁")):
        return [Evidence(Task.BACKGROUND, 4, clause)]
    return [Evidence(Task.ADD, 2, clause)]


def _verbless(clause: str) -> list[Evidence]:
    """A bare wish: 印象派, 夜景效果, 沙发要紫色的, 头往右歪一点."""
    clause = re.sub(r"(?:的)?(?:感觉|效果|样子|氛围|味道|feel)$", "", clause) or clause
    wish = re.search(r"(?:想要|要|应该是?|看起来像?|是|偏|再|更|想|更加|必须是?|最好是?)(?P<b>[^,，]+)$", clause)
    value = wish["b"] if wish else clause
    subject = clause[: wish.start()] if wish else ""
    value = re.sub(r"^(?:像|如同|仿佛)", "", value)
    if "background" in head_tags(subject):
        return [Evidence(Task.BACKGROUND, 6, clause)]
    found = by_tag(value, RESULT, clause)
    if not found and contains(value, "style"):
        found = [Evidence(Task.STYLE, 3, clause)]
    tags = head_tags(value)
    if subject and not head_tags(subject) & {"image", "tone"}:
        found = [] if tags & {"colour", "material", "size", "emotion"} else found
        table = {
            "colour": (Task.COLOR, 4),
            "material": (Task.MATERIAL, 4),
            "emotion": (Task.ACTION, 4),
            "size": (Task.OTHER, 3),
        }
        found += [Evidence(task, weight, clause) for tag, (task, weight) in table.items() if tag in tags]
    subject_tags = head_tags(subject)
    if "face" in subject_tags or (not subject and "face" in tags):
        found.append(Evidence(Task.PORTRAIT, 4, clause))
    if not found and contains(clause, "face"):
        found.append(Evidence(Task.PORTRAIT, 3, clause))
    if not found and contains(clause, "tone"):
        found.append(Evidence(Task.TONE, 2, clause))
    if not found and ANY_MOTION.search(clause):
        return [Evidence(Task.ACTION, 2.5, clause)]
    return [Evidence(item.task, item.weight - 0.5, item.reason) for item in found]
