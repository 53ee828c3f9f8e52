"""What the page makes of one entry of `/object_info`: which inputs become widgets, in which order, with which value."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

_DYNAMIC_COMBO, _AUTOGROW, _MATCH = "COMFY_DYNAMICCOMBO_V3", "COMFY_AUTOGROW_V3", "COMFY_MATCHTYPE_V3"
_WIDGETS = {
    "INT", "FLOAT", "BOOLEAN", "STRING", "MARKDOWN", "COMBO", "IMAGEUPLOAD", "COLOR", "IMAGECOMPARE", "BOUNDING_BOX",
    "CHART", "GALLERIA", "PAINTER", "TEXTAREA", "CURVE", "RANGE", "BOUNDING_BOXES", "COLORS", _DYNAMIC_COMBO,
}  # fmt: skip
_EMPTY: dict[str, Any] = {"INT": 0, "FLOAT": 0, "BOOLEAN": False, "STRING": ""}
_UPLOADS = ("image_upload", "video_upload", "animated_image_upload")


@dataclass
class Slot:
    """An input socket; `widget` names the widget it can override."""

    name: str
    type: str
    link: int | None
    widget: str | None


@dataclass
class Widget:
    value: Any
    kind: str = ""
    in_prompt: bool = True
    dynamic_text: bool = False


class SavedValues:
    """A node's saved widget values, by place as the page writes them, or by name as some nodes write theirs."""

    def __init__(self, saved: list[Any] | Json) -> None:
        self._named = saved if isinstance(saved, dict) else None
        self._placed = iter(() if isinstance(saved, dict) else saved)
        self._any = bool(saved)

    def __bool__(self) -> bool:
        """Whether any value was saved."""
        return self._any

    def take(self, name: str, default: Any = None) -> Any:
        """The value of the next widget, which is called `name`."""
        return next(self._placed, default) if self._named is None else self._named.get(name, default)

    def skip(self) -> None:
        """Pass over a value that belongs to no input."""
        next(self._placed, None)


@dataclass(frozen=True)
class _Spec:
    name: str
    type: str
    options: Json

    @property
    def is_widget(self) -> bool:
        return self.options.get("widgetType", self.type) in _WIDGETS and not self.options.get("forceInput")

    @property
    def controls(self) -> int:
        """How many extra widgets stand behind this one for "control after generate"."""
        asked = self.options.get("control_after_generate")
        if self.type == "INT":
            return int(bool(asked if asked is not None else self.name in ("seed", "noise_seed")))
        if self.type == "COMBO" and asked:
            return 1 if self.options.get("multi_select") else 2
        return int(bool(asked)) if self.type == "FLOAT" else 0

    @property
    def default(self) -> Any:
        if self.type == _DYNAMIC_COMBO:
            return self.options["options"][0]["key"] if self.options.get("options") else None
        if self.type == "COMBO":
            choices = self.options.get("options") or [None]
            return self.options.get("default") or choices[0]
        return self.options.get("default", _EMPTY.get(self.type))


def declare(definition: Json, saved: Json) -> tuple[list[Slot], dict[str, Widget]]:
    """The slots (page order) and widgets of a `saved` node of the class that `definition` describes."""
    specs = [*_specs(definition["input"]), *_upload(definition["input"])]
    given = {slot["name"]: slot for slot in saved.get("inputs") or []}
    values = SavedValues(_without_dummies(specs, saved.get("widgets_values") or []))
    slots = [slot for spec in specs for slot in _sockets(spec, given)]
    widgets: dict[str, Widget] = {}
    for spec in specs:
        if spec.is_widget:
            _add_widget(spec, given, values, slots, widgets)
    known = {slot.name for slot in slots}
    extra = [entry for entry in given.values() if entry["name"] not in known and not entry.get("widget")]
    slots += [Slot(entry["name"], str(entry["type"]), entry.get("link"), None) for entry in extra]
    return slots, widgets


def _specs(declared: Json, prefix: str = "") -> Iterator[_Spec]:
    for group in ("required", "optional"):
        for name, raw in (declared.get(group) or {}).items():
            options = dict(raw[1]) if len(raw) > 1 and raw[1] else {}
            if isinstance(raw[0], list):
                yield _Spec(prefix + name, "COMBO", {**options, "options": raw[0]})
            else:
                yield _Spec(prefix + name, raw[0], options)


def _upload(declared: Json) -> list[_Spec]:
    """The page puts an upload button behind the widgets of a node whose required choice takes a picture or video."""
    for spec in _specs({"required": declared.get("required") or {}}):
        if spec.type == "COMBO" and any(spec.options.get(flag) for flag in _UPLOADS):
            return [_Spec("upload", "IMAGEUPLOAD", {})]
    return []


def _sockets(spec: _Spec, given: Json) -> Iterator[Slot]:
    if spec.is_widget:
        return
    if spec.type == _AUTOGROW:
        for name, entry in given.items():
            if name.startswith(f"{spec.name}."):
                yield Slot(name, str(entry["type"]), entry.get("link"), None)
        return
    kind = spec.options["template"]["allowed_types"] if spec.type == _MATCH else spec.type
    yield Slot(spec.name, kind, given.get(spec.name, {}).get("link"), None)


def _add_widget(spec: _Spec, given: Json, values: SavedValues, slots: list[Slot], widgets: dict[str, Widget]) -> None:
    """Take this widget's saved value, skip those of its controls, and go on into the chosen dynamic option."""
    value = values.take(spec.name, spec.default)
    if spec.type == "COMBO" and value is None:
        value = (spec.options.get("options") or [None])[0]
    text = bool(spec.options.get("dynamicPrompts"))
    widgets[spec.name] = Widget(value, spec.type, spec.type != "IMAGEUPLOAD", text)
    if not spec.options.get("socketless"):
        slots.append(Slot(spec.name, spec.type, given.get(spec.name, {}).get("link"), spec.name))
    for _ in range(spec.controls):
        values.skip()
    if spec.type != _DYNAMIC_COMBO:
        return
    for option in spec.options["options"]:
        if option["key"] == value:
            for inner in _specs(option["inputs"], f"{spec.name}."):
                slots.extend(_sockets(inner, given))
                if inner.is_widget:
                    _add_widget(inner, given, values, slots, widgets)


def _without_dummies(specs: list[_Spec], values: list[Any] | Json) -> list[Any] | Json:
    """Files older than frontend 1.16 hold a value for each input that is only a socket; the page drops those."""
    if isinstance(values, dict):
        return values
    dummy = []
    for spec in specs:
        if spec.is_widget or spec.options.get("forceInput"):
            dummy.append(bool(spec.options.get("forceInput")))
            if spec.options.get("control_after_generate"):
                dummy.append(False)
    if len(dummy) != len(values):
        return values
    return [value for value, drop in zip(values, dummy, strict=True) if not drop]
