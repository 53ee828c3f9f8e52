"""The candidates as one picture: a card for each, the winner marked, and below them who met whom."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from ..chat.images import to_pil
from .referee import Candidate, Match
from .seeds import Selection

CARD_PX = 268
COLUMNS = 6
GAP_PX = 12
CAPTION_PX = 26
ROW_PX = 30
TEXT_PX = 15
INK, FAINT, WINNER, FAULT = (40, 40, 40), (190, 190, 190), (30, 140, 60), (200, 60, 40)


def draw_selection(selection: Selection) -> Image.Image:
    """RGB, as wide as up to six cards; a person reads the seeds and the course of the choice from it."""
    columns = min(len(selection.candidates), COLUMNS)
    rows = -(-len(selection.candidates) // columns)
    wide = columns * (CARD_PX + GAP_PX) + GAP_PX
    cards = [_card(item, item is selection.winner) for item in selection.candidates]
    heights = [max(card.height for card in cards[row * columns : (row + 1) * columns]) for row in range(rows)]
    chart = _chart(selection, wide)
    sheet = Image.new("RGB", (wide, sum(height + GAP_PX for height in heights) + chart.height + GAP_PX), "white")
    for index, card in enumerate(cards):
        row, column = divmod(index, columns)
        top = GAP_PX + sum(height + GAP_PX for height in heights[:row])
        sheet.paste(card, (GAP_PX + column * (CARD_PX + GAP_PX), top))
    sheet.paste(chart, (0, sheet.height - chart.height))
    return sheet


def _card(candidate: Candidate, won: bool) -> Image.Image:
    """The judged picture in a frame, with number and seed."""
    inner = CARD_PX - 12
    picture = Image.new("RGB", (inner, inner), FAINT) if candidate.picture is None else to_pil(candidate.picture, inner)
    if max(picture.size) < inner:  # tiny pictures grow by whole steps, so that their pixels stay what they are
        scale = inner // max(picture.size)
        picture = picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST)
    card = Image.new("RGB", (CARD_PX, picture.height + 12 + CAPTION_PX), WINNER if won else FAINT)
    card.paste("white", (0, picture.height + 12, CARD_PX, card.height))
    card.paste(picture, ((CARD_PX - picture.width) // 2, 6))
    state = "  WINNER" if won else "  dropped" if candidate.picture is None else ""
    _write(ImageDraw.Draw(card), (4, picture.height + 16), f"{candidate.number}: seed {candidate.run.seed}{state}", won)
    return card


def _chart(selection: Selection, wide: int) -> Image.Image:
    """A lane for each candidate; a bar for each comparison, pointing to who stayed; a lane ends where its owner lost."""
    lanes = {item.number: round(wide * (index + 0.5) / len(selection.candidates))
             for index, item in enumerate(selection.candidates)}  # fmt: skip
    chart = Image.new("RGB", (wide, ROW_PX * (len(selection.matches) + 2)), "white")
    draw = ImageDraw.Draw(chart)
    ends = {number: 1 for number in lanes}
    for row, match in enumerate(selection.matches, 2):
        ends.update(dict.fromkeys(match.players, row))
    for number, x in lanes.items():
        won = number == selection.winner.number
        bottom = chart.height if won else ends[number] * ROW_PX
        draw.line((x, ROW_PX, x, bottom), fill=WINNER if won else FAINT, width=3)
        _write(draw, (x - 4, 4), str(number), won)
    for row, match in enumerate(selection.matches, 2):
        _draw_match(draw, match, lanes, row * ROW_PX)
    return chart


def _draw_match(draw: Any, match: Match, lanes: dict[int, int], y: int) -> None:
    colour = FAULT if match.fault else INK
    places = sorted(lanes[number] for number in match.players)
    for left, right in pairwise(places):
        draw.line((left, y, right, y), fill=colour, width=2)
    for number in match.players:
        x = lanes[number]
        if number == match.winner:
            draw.ellipse((x - 6, y - 6, x + 6, y + 6), fill=WINNER)
        else:
            draw.line((x - 5, y - 5, x + 5, y + 5), fill=colour, width=3)
            draw.line((x - 5, y + 5, x + 5, y - 5), fill=colour, width=3)


def _write(draw: Any, place: tuple[int, int], text: str, strong: bool) -> None:
    draw.text(place, text, fill=WINNER if strong else INK, font=ImageFont.load_default(TEXT_PX))
