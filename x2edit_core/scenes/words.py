"""Names in both languages. `Words` is one meaning said in English and in Chinese."""

from __future__ import annotations

from dataclasses import dataclass

from .draw import Language


@dataclass(frozen=True)
class Words:
    en: str
    zh: str

    def said(self, language: Language) -> str:
        return self.en if language == "en" else self.zh


def table(**entries: str) -> dict[str, Words]:
    """`name="english|chinese"`; spaces in names are written as underscores."""
    return {name.replace("_", " "): Words(*text.split("|")) for name, text in entries.items()}


COLOUR_WORDS = table(
    red="red|红色",
    orange="orange|橙色",
    yellow="yellow|黄色",
    green="green|绿色",
    blue="blue|蓝色",
    purple="purple|紫色",
    pink="pink|粉色",
    brown="brown|棕色",
    white="white|白色",
    black="black|黑色",
)

KIND_WORDS = table(
    circle="circle|圆形",
    square="square|方块",
    triangle="triangle|三角形",
    star="star|星星",
    heart="heart|爱心",
    cross="cross|十字",
    ring="ring|圆环",
    moon="moon|月亮",
    tree="tree|树",
    house="house|房子",
    car="car|汽车",
    fish="fish|鱼",
    mushroom="mushroom|蘑菇",
    balloon="balloon|气球",
    flower="flower|花",
    cup="cup|杯子",
)

MATERIAL_ADJECTIVES = table(
    striped="striped|条纹",
    dotted="dotted|圆点",
    wood="wooden|木头",
    brick="brick|砖头",
    gold="golden|黄金",
    silver="silver|白银",
)

MATERIAL_NOUNS = table(
    wood="wood|木头",
    brick="bricks|砖头",
    gold="gold|黄金",
    silver="silver|白银",
)

BACKGROUND_WORDS = table(
    pale_blue="a plain pale blue background|纯淡蓝色背景",
    pale_green="a plain pale green background|纯淡绿色背景",
    pale_yellow="a plain pale yellow background|纯淡黄色背景",
    pale_pink="a plain pale pink background|纯淡粉色背景",
    pale_purple="a plain pale purple background|纯淡紫色背景",
    gray="a plain gray background|纯灰色背景",
    checkerboard="a checkerboard|棋盘格背景",
    stripes="a striped wall|条纹墙",
    dots="a wall with dots|圆点墙",
    meadow="a green meadow|绿色草地",
    beach="a sunny beach|海滩",
    desert="a desert|沙漠",
    snow="a snowy mountain|雪山",
    night="a night sky|夜空",
    sunset="a sunset|日落",
    city="a city street|城市街道",
    sea="the bottom of the sea|海底",
    forest="a forest|森林",
    room="a room|房间",
)

STYLE_WORDS = table(
    sketch="a pencil sketch|铅笔素描",
    pixel_art="pixel art|像素画",
    neon="neon lights|霓虹灯",
    comic="a comic|漫画",
    watercolour="a watercolour painting|水彩画",
    blueprint="a blueprint|蓝图",
    stained_glass="stained glass|彩色玻璃",
)

SLOTS = {
    "top left": (0.2, 0.2),
    "top right": (0.8, 0.2),
    "bottom left": (0.2, 0.8),
    "bottom right": (0.8, 0.8),
    "middle": (0.5, 0.5),
}
SLOT_WORDS = table(
    top_left="in the top left corner|左上角",
    top_right="in the top right corner|右上角",
    bottom_left="in the bottom left corner|左下角",
    bottom_right="in the bottom right corner|右下角",
    middle="in the middle|正中间",
)

SIDES = {"left": (-1, 0), "right": (1, 0), "above": (0, -1), "below": (0, 1)}
SIDE_WORDS = table(left="to the left of|左边", right="to the right of|右边", above="above|上方", below="below|下方")

POSE_WORDS = table(
    standing="stand still with the arms down|垂下双手站着",
    arms_raised="raise both arms|举起双手",
    waving="wave one hand|挥一只手",
    arms_spread="spread the arms to the sides|张开双臂",
    sitting="sit down|坐下",
    jumping="jump up|跳起来",
    running="run|跑起来",
)

HAIR_WORDS = table(
    black="black|黑色", brown="brown|棕色", blond="blond|金色", red="red|红色", gray="gray|灰色", blue="blue|蓝色"
)
HAIR_STYLE_WORDS = table(short="short|短", long="long|长", curly="curly|卷")

_VOWELS = tuple("aeiou")


def article(noun: str) -> str:
    return f"an {noun}" if noun.startswith(_VOWELS) else f"a {noun}"


def listing(parts: list[Words]) -> Words:
    """`a, b and c`."""
    if len(parts) == 1:
        return parts[0]
    english = ", ".join(part.en for part in parts[:-1]) + f" and {parts[-1].en}"
    return Words(english, "、".join(part.zh for part in parts[:-1]) + f"和{parts[-1].zh}")
