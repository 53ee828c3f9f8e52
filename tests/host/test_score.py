"""X2EditScore in the host: its numbers are the core's, and what is missing is said."""

from __future__ import annotations

import pytest
import torch

SIZE = 32


class Marks:
    """A vision model whose every answer is the same."""

    name, vision = "a test", True

    def __init__(self, reply):
        self.reply = reply

    def generate(self, messages, max_tokens=256):
        return self.reply

    def score(self, messages, answers):
        return None


@pytest.fixture
def pictures():
    """A source, a target that differs in its right half, and the mask of that half."""
    source = torch.rand(1, SIZE, SIZE, 3, generator=torch.Generator().manual_seed(1))
    target, mask = source.clone(), torch.zeros(1, SIZE, SIZE)
    target[:, :, SIZE // 2 :], mask[:, :, SIZE // 2 :] = 0.5, 1.0
    return source, target, mask


def score(pack, **inputs):
    return pack.run("X2EditScore", instruction="make it grey", **inputs)


def test_the_right_answer_scores_best(pack, pictures):
    source, target, mask = pictures
    given = {"source": source, "target": target, "mask": mask}
    value, report = score(pack, image=target, **given)
    assert value == pytest.approx(1.0)
    assert report.startswith("ssim_target 1")
    assert score(pack, image=target, metric="changed_outside", **given)[0] == 0
    assert score(pack, image=source, metric="changed_inside", **given)[0] == 0
    assert score(pack, image=source, **given)[0] < value


def test_a_batch_is_averaged_and_shown_row_by_row(pack, pictures):
    source, target, _ = pictures
    value, report = score(pack, source=source, image=torch.cat([source, target]), metric="l1_source")
    one = float((source - target).abs().mean())
    assert value == pytest.approx(one / 2)
    assert f"0  {one:.4g}" in report


def test_another_size_is_brought_to_the_sources(pack):
    source, image = torch.full((1, SIZE, SIZE, 3), 0.25), torch.full((1, 50, 40, 3), 0.25)
    assert score(pack, source=source, image=image, metric="l1_source")[0] == pytest.approx(0, abs=1e-6)


def test_a_vision_models_marks_come_first(pack, pictures):
    source, target, _ = pictures
    chat = Marks('{"score": [9, 4], "reason": "the left is kept"}')
    value, report = score(pack, source=source, image=target, target=target, chat=chat)
    assert value == pytest.approx(4.0), "√(min · min) of marks 9 and 4, twice"
    assert "the left is kept" in report


def test_a_silent_vision_model_is_an_error_only_where_its_mark_is_wanted(pack, pictures):
    source, target, _ = pictures
    errors = pack.core("errors")
    given = {"source": source, "image": target, "chat": Marks("no idea")}
    with pytest.raises(errors.X2EditError, match="no usable answer"):
        score(pack, **given)
    assert "no marks" in score(pack, metric="changed", **given)[1]


@pytest.mark.parametrize(
    ("metric", "needed"), [("ssim_target", "a target"), ("psnr_outside", "a mask"), ("overall", "a chat"),
                           ("clip_text", "a CLIP encoder and a caption"), ("dino_target", "a DINO encoder and a target")]
)  # fmt: skip
def test_what_a_metric_needs_is_said(pack, pictures, metric, needed):
    source, target, _ = pictures
    with pytest.raises(pack.core("errors").X2EditError, match=f"{metric} needs {needed};"):
        score(pack, source=source, image=target, metric=metric)


def test_an_encoder_outside_the_models_is_refused(pack, pictures):
    source, target, _ = pictures
    with pytest.raises(pack.core("errors").X2EditError, match="was not found"):
        score(pack, source=source, image=target, encoder="../../secret")


def test_it_runs_at_the_end_of_a_graph(server, tmp_path):
    """As an output node it needs nothing behind it."""
    from PIL import Image

    Image.new("RGB", (SIZE, SIZE), (200, 30, 10)).save(tmp_path / "flat.png")
    graph = {
        "load": {"class_type": "LoadImage", "inputs": {"image": server.upload_image(tmp_path / "flat.png")}},
        "score": {
            "class_type": "X2EditScore",
            "inputs": {"source": ["load", 0], "image": ["load", 0], "instruction": "nothing", "metric": "psnr_source"},
        },
        "show": {"class_type": "PreviewAny", "inputs": {"source": ["score", 0]}},
    }
    assert server.run(graph).outputs["show"]["text"] == ["100.0"]
    del graph["show"]
    server.run(graph)
