"""What writers are asked: each task's definition and examples, the form of the answer, reflection and rewriting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..tasks import Task

VERSION = 1


@dataclass(frozen=True)
class Definition:
    """A task in words, and sentences of its kind."""

    meaning: str
    examples: tuple[str, ...]


DEFINITIONS: dict[Task, Definition] = {
    Task.REMOVE: Definition(
        "One thing that is clearly visible disappears; what was behind it takes its place.",
        (
            "Remove the bicycle that leans on the wall",
            "Take the cup off the table",
            "Get rid of the people in the back",
        ),
    ),
    Task.ADD: Definition(
        "One thing that is not there appears at a place where it could be; everything else stays.",
        ("Put a lantern on the window sill", "Add a sailing boat to the horizon", "Let a cat sleep on the chair"),
    ),
    Task.STYLE: Definition(
        "The whole picture is shown in another technique or style; what it shows stays.",
        ("Turn this photo into a watercolour", "Show it as a woodcut", "Make it look like a knitted picture"),
    ),
    Task.BACKGROUND: Definition(
        "What is behind the main thing becomes another place; the main thing stays as it is.",
        ("Put the dog on a beach at noon", "Replace the background by a library", "Let it snow behind the bus"),
    ),
    Task.COLOR: Definition(
        "One thing gets another colour; its shape and material stay.",
        ("Make the door dark green", "Change the umbrella from red to yellow", "Paint the car silver"),
    ),
    Task.MATERIAL: Definition(
        "One thing is made of another material; its shape stays.",
        ("Make the bench of marble", "Let the vase be of clear glass", "Turn the statue into carved wood"),
    ),
    Task.ACTION: Definition(
        "A person or an animal does something else, or holds itself in another way.",
        ("Let the dog sit down", "Make the woman wave her hand", "Have the bird spread its wings"),
    ),
    Task.REPLACE: Definition(
        "One thing becomes another thing at the same place.",
        ("Replace the apple by a lemon", "Turn the truck into a tram", "Put a candle where the lamp is"),
    ),
    Task.PORTRAIT: Definition(
        "Something about a person's face, hair or make-up changes; the person stays the same.",
        ("Give the man a short beard", "Let her hair be curly", "Open the eyes of the child"),
    ),
    Task.TEXT: Definition(
        "Words that can be read in the picture become other words, in quotation marks, in the same lettering.",
        ('Change "OPEN" on the sign to "CLOSED"', 'Let the poster say "Sunday" instead of "Friday"'),
    ),
    Task.TONE: Definition(
        "Light, weather, season or colour mood of the whole picture changes; its things stay.",
        ("Make it an evening in autumn", "Give the picture a cold blue light", "Let it be a foggy morning"),
    ),
    Task.CAMERA: Definition(
        "The same scene is seen from nearer, farther, another side or another angle.",
        ("Zoom in on the clock", "Show the house from above", "Move the camera to the left"),
    ),
    Task.REASONING: Definition(
        "What is to be done must be concluded from the picture; the sentence does not name the change itself.",
        ("What does the table look like after breakfast?", "Show the candle some hours later"),
    ),
    Task.LOW_LEVEL: Definition(
        "The picture becomes a technical picture of itself, or a damaged one is repaired.",
        ("Turn this picture into an edge map", "Show the depth of the scene", "Remove the noise"),
    ),
    Task.SUBJECT: Definition(
        "The main thing of the picture is shown in a new scene, recognisably the same one.",
        ("Show this backpack on a mountain path", "Put this toy onto a desk by the window"),
    ),
    Task.OTHER: Definition("Any other change that the picture allows.", ("Make the picture symmetrical",)),
}

WRITE = """\
You write instructions for a program that edits pictures. Look at the picture. For each kind of edit below, write one \
instruction that fits exactly this picture, if one is possible.

{kinds}

An instruction is one short sentence as a person would type it. It is definite (name the thing so that it cannot be \
mistaken for another one), it can be seen whether it was carried out, and it asks for one change only. Write it in \
English and, meaning the same, in Chinese.{extra}
Answer with JSON and nothing else:
{{"edits": [{{"task": "the kind's name", "possible": true, "en": "…", "zh": "…", "object": "the thing that changes"}}]}}"""

AGAIN = """\
That answer cannot be used: {fault}. Answer again, with the JSON that was asked for and nothing else."""

REFLECT = """\
An editor is to change this picture by the instruction: {en}
The same in Chinese: {zh}
It is meant to be an edit of the kind "{task}": {meaning}

Check it against the picture, strictly. Answer with JSON and nothing else, each with true or false:
{{"visible": is everything that it speaks of as present really there, "unambiguous": is it clear what is to change, \
"feasible": can the edit be shown in this picture, "task": is it of that kind, "same": do both languages mean the same, \
"reason": "one short sentence"}}"""

CHECKS = ("visible", "unambiguous", "feasible", "task", "same")

OBJECTS = """\
List the things in this picture that could be removed or replaced without spoiling it: concrete things with a clear \
outline, no landscape, no parts of bodies, nothing abstract. At most {most}.
Answer with JSON and nothing else:
{{"objects": [{{"name": "what it is, as short and definite as possible", "zh": "the same in Chinese", \
"other": "another thing that could stand in its place", "other_zh": "…", "where": "its place in the picture"}}]}}"""

REWRITE = """\
Two pictures follow: the first was edited, the second is the outcome. The edit was asked for by: {en}

Write two more instructions that lead from the first picture to the second, each at most 20 words, best as a question or \
a wish, neither naming the thing that changes:
- "understanding": it points at the thing by where it is, how it looks or what it is for;
- "reasoning": it gives the purpose or the situation, so that the change must be concluded.
Answer with JSON and nothing else: {{"understanding": "…", "reasoning": "…"}}"""

LONGEST_REWRITE = 20
"""Words of a rewritten instruction."""


def kinds_told(tasks: Sequence[Task], turn: int) -> str:
    """A line a task, with its definition and two examples, others for another `turn`."""
    return "\n".join(f"- {task.english}: {_told(DEFINITIONS[task], turn)}" for task in tasks)


def _told(definition: Definition, turn: int) -> str:
    examples = definition.examples
    shown = [examples[(turn + place) % len(examples)] for place in range(min(2, len(examples)))]
    return f"{definition.meaning} For instance: {'; '.join(shown)}."


OPPOSITES = {Task.REMOVE: Task.ADD, Task.ADD: Task.REMOVE, Task.REPLACE: Task.REPLACE, Task.COLOR: Task.COLOR}
"""What an edit is the other way round."""

TEMPLATES = {
    Task.REMOVE: ("Remove {thing}", "去掉{thing_zh}"),
    Task.ADD: ("Add {thing}", "添加{thing_zh}"),
    Task.REPLACE: ("Replace {thing} with {other}", "把{thing_zh}换成{other_zh}"),
}
"""The sentences of edits whose things are known."""
