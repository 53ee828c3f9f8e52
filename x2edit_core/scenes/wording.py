"""What instructions say. Each edit has training and held-out sentences; held-out ones use no word training lacks.

Fields in braces are filled with `Words` of the same language. Chinese sentences carry their own punctuation.
"""

from __future__ import annotations

from dataclasses import dataclass

from .draw import Draw, Language
from .words import Words


@dataclass(frozen=True)
class Wording:
    """Sentences of one edit in both languages: those for training, then those for held-out cases."""

    en: tuple[str, ...]
    en_heldout: tuple[str, ...]
    zh: tuple[str, ...]
    zh_heldout: tuple[str, ...]

    def templates(self, language: Language, split: str) -> tuple[str, ...]:
        if language == "en":
            return self.en if split == "train" else self.en_heldout
        return self.zh if split == "train" else self.zh_heldout


OPENINGS: dict[str, tuple[str, ...]] = {
    "en": ("", "", "", "Please ", "Now ", "I want you to ", "Can you "),
    "zh": ("", "", "", "请", "请你", "帮我", "现在"),
}
ENDINGS: dict[str, tuple[str, ...]] = {"en": ("", ".", "."), "zh": ("", "。", "。")}


def say(draw: Draw, language: Language, wording: Wording, fields: dict[str, Words]) -> str:
    """One sentence of the draw's split with its fields filled in; imperatives may get a polite opening.

    A template that starts with `!` is complete as it is.
    """
    template = draw.choice(wording.templates(language, draw.split))
    sentence = template.format(**{name: words.said(language) for name, words in fields.items()})
    opening = draw.choice(OPENINGS[language])
    if template.startswith("!"):
        return _capital(sentence[1:])
    ending = "?" if opening == "Can you " else draw.choice(ENDINGS[language])
    if opening:
        sentence = sentence[0].lower() + sentence[1:]
    return _capital(opening + sentence + ending)


def _capital(sentence: str) -> str:
    return sentence[0].upper() + sentence[1:]


REMOVE = Wording(
    ("Remove {it}", "Delete {it}", "Take {it} away", "Erase {it} from the picture", "Get rid of {it}"),
    ("Take {it} out of the picture", "Erase {it}"),
    ("删除{it}", "去掉{it}", "把{it}移走", "把画面里{it}擦掉", "移除{it}"),
    ("把{it}去掉", "擦掉{it}"),
)
ADD = Wording(
    ("Add {new} {where}", "Put {new} {where}", "Draw {new} {where}", "Place {new} {where}"),
    ("Draw {new}, and put it {where}", "!{where}, add {new}"),
    ("在{where}添加{new}", "在{where}画{new}", "在{where}放{new}", "{where}加上{new}"),
    ("添加{new}，放在{where}", "{where}画上{new}"),
)
STYLE = Wording(
    (
        "Turn this picture into {style}",
        "Make it look like {style}",
        "Redraw the picture as {style}",
        "Change the style to {style}",
    ),
    ("Draw this picture as {style}", "Turn it into {style}"),
    ("把图片变成{style}风格", "用{style}的风格重画", "改成{style}风格", "转换为{style}风格"),
    ("把图片转换为{style}", "变成{style}风格"),
)
BACKGROUND = Wording(
    ("Change the background to {place}", "Replace the background with {place}", "Put everything in front of {place}"),
    ("Make the background {place}", "Replace everything in the background with {place}"),
    ("把背景换成{place}", "将背景改为{place}", "!背景替换成{place}", "让背景变成{place}"),
    ("!背景改为{place}", "将背景换成{place}"),
)
COLOUR = Wording(
    ("Make {it} {colour}", "Change the color of {it} to {colour}", "Paint {it} {colour}", "Turn {it} {colour}"),
    ("Change {it} to {colour}", "Paint {it} in {colour}"),
    ("把{it}变成{colour}", "将{it}的颜色改为{colour}", "把{it}涂成{colour}", "让{it}变{colour}"),
    ("将{it}变成{colour}", "把{it}的颜色变成{colour}"),
)
MATERIAL = Wording(
    ("Make {it} out of {material}", "Change the material of {it} to {material}", "Turn {it} into {material}"),
    ("Change {it} so that it is made of {material}", "Make {it} of {material}"),
    ("把{it}变成{material}做的", "将{it}的材质改为{material}", "用{material}做{it}", "让{it}由{material}做成"),
    ("把{it}的材质变成{material}", "让{it}变成{material}做的"),
)
STRIPES = Wording(
    ("Give {it} white stripes", "Make {it} striped", "Cover {it} with stripes so that it is made of striped cloth"),
    ("Cover {it} with white stripes", "Turn {it} striped"),
    ("给{it}加上白色条纹", "把{it}变成条纹的"),
    ("让{it}变成条纹的", "给{it}加上条纹"),
)
DOTS = Wording(
    ("Give {it} white dots", "Make {it} dotted", "Cover {it} with dots"),
    ("Cover {it} with white dots", "Turn {it} dotted"),
    ("给{it}加上白色圆点", "把{it}变成圆点的"),
    ("让{it}变成圆点的", "给{it}加上圆点"),
)
MOVE = Wording(
    ("Move {it} so that it is {where}", "Put {it} {where}", "Let {it} go {where}", "Move {it}, place it {where}"),
    ("Let {it} move so that it is {where}", "Place {it} {where}"),
    ("把{it}移到{where}", "让{it}去{where}", "将{it}移动到{where}"),
    ("让{it}移动到{where}", "将{it}移到{where}"),
)
POSE = Wording(
    ("Make {it} {pose}", "Let {it} {pose}", "Change the pose: {it} should {pose}"),
    ("!{it} should {pose} now", "Change {it}, let the person {pose}"),
    ("让{it}{pose}", "改变动作：{it}{pose}", "使{it}{pose}"),
    ("使{it}改变动作，{pose}", "改变动作，让{it}{pose}"),
)
REPLACE = Wording(
    (
        "Replace {it} with {new}",
        "Swap {it} for {new}",
        "Change {it} into {new}",
        "Put {new} in the place where {it} is",
    ),
    ("Turn {it} into {new}", "Put {new} in place of {it}"),
    ("把{it}换成{new}", "将{it}替换为{new}", "用{new}替换{it}", "把{it}变成{new}"),
    ("将{it}换成{new}", "用{new}换{it}"),
)
TEXT = Wording(
    (
        'Change the text on {it} to "{new}"',
        'Write "{new}" on {it}',
        'Replace "{old}" with "{new}"',
        'Let {it} say "{new}"',
    ),
    ('Change "{old}" to "{new}"', '!The text on {it} should say "{new}"'),
    ("把{it}上的文字改成“{new}”", "在{it}上写“{new}”", "将“{old}”替换为“{new}”", "让{it}上写着“{new}”"),
    ("把“{old}”改成“{new}”", "将{it}上的文字替换为“{new}”"),
)
CAPTION = Wording(
    (
        "!A picture of {items} on {place}",
        "!{items} in front of {place}.",
        "!{place} with {items}",
        "!This shows {items}; behind is {place}.",
    ),
    ("!This picture shows {items} in front of {place}.",),
    ("!{place}前面有{items}。", "!一张图：{items}，背景是{place}", "!{items}在{place}前面"),
    ("!图里{place}前面有{items}。",),
)
SUBJECT = Wording(
    (
        "Show this {it} {where}, in front of {place}",
        "Put this {it} {where} with {place} behind it",
        "!This {it} {where} on {place}",
    ),
    ("Show this {it} {where} with {place} behind it",),
    ("让这个{it}出现在{place}的{where}", "把这个{it}放到{place}里，{where}", "!这个{it}在{place}的{where}"),
    ("把这个{it}放到{place}的{where}",),
)
SUBJECT_PAIR = Wording(
    ("Show two of this {it} side by side in front of {place}", "Put this {it} twice, side by side, on {place}"),
    ("Show this {it} twice, side by side, with {place} behind it",),
    ("在{place}里并排放两个这个{it}", "让两个这个{it}并排出现在{place}前面"),
    ("把两个这个{it}并排放在{place}前面",),
)
