"""All measures of an edit by name: which there are, what they mean, what is missing."""

from __future__ import annotations

import pytest
import torch

from x2edit_core.chat import ChatError
from x2edit_core.choosing.judge import ScoreJudge
from x2edit_core.choosing.scoring import BEST_DB, MARKS, METRICS, Edit, chosen, encoded, judged, measured, report
from x2edit_core.errors import X2EditError

SIZE = 16
GENERATOR = torch.Generator().manual_seed(0)
SOURCE, TARGET = (torch.rand(1, SIZE, SIZE, 3, generator=GENERATOR) for _ in range(2))
MASK = torch.zeros(1, SIZE, SIZE)
MASK[:, : SIZE // 2] = 1


class Features:
    """Mean colour as the feature of a picture; a text is red."""

    def __init__(self, reads_text):
        self.reads_text = reads_text

    def of_pictures(self, pictures):
        return torch.stack([picture.mean((0, 1)) for picture in pictures])

    def of_texts(self, texts):
        return torch.tensor([[1.0, 0.0, 0.0]] * len(texts))


class Chat:
    name, vision = "a test", True

    def __init__(self, reply):
        self.reply = reply

    def generate(self, messages, max_tokens=256):
        return self.reply


def test_each_input_adds_its_measures_and_all_are_explained():
    least = set(measured(Edit(SOURCE, TARGET)))
    assert least == {"changed", "l1_source", "psnr_source", "ssim_source"}
    masked = set(measured(Edit(SOURCE, TARGET, mask=MASK)))
    assert masked - least == {"changed_inside", "changed_outside", "l1_outside", "psnr_outside"}
    aimed = set(measured(Edit(SOURCE, TARGET, target=TARGET)))
    assert aimed - least == {"l1_target", "psnr_target", "ssim_target"}
    everything = masked | aimed | set(MARKS)
    for reads_text in (True, False):
        everything |= set(encoded(Edit(SOURCE, TARGET, target=TARGET, caption="red"), Features(reads_text)))
    assert everything == set(METRICS)


def test_equality_is_finite():
    scores = measured(Edit(SOURCE, SOURCE, target=SOURCE, mask=MASK))
    assert scores["psnr_target"].tolist() == scores["psnr_outside"].tolist() == [BEST_DB]


@pytest.mark.parametrize(
    ("white", "lost", "best"), [(1.0, "outside", "changed_inside"), (0.0, "inside", "psnr_outside")]
)
def test_an_area_without_a_pixel_is_not_measured(white, lost, best):
    edit = Edit(SOURCE, TARGET, mask=torch.full_like(MASK, white))
    scores = measured(edit)
    assert all(values.isfinite().all() for values in scores.values())
    assert not [name for name in scores if name.endswith(lost)]
    assert chosen(scores, "auto") == best
    with pytest.raises(X2EditError, match=f"changed_{lost} needs a mask with"):
        report(edit, f"changed_{lost}")


def test_rows_without_such_an_area_do_not_spoil_the_mean():
    both = torch.cat((MASK, torch.ones_like(MASK)))
    assert report(Edit(SOURCE, TARGET, mask=both)).value == report(Edit(SOURCE, TARGET, mask=MASK)).value


def test_pictures_are_compared_at_the_sources_size_and_rows_are_cycled():
    edit = Edit(SOURCE, torch.rand(3, 20, 24, 4), target=TARGET.repeat(2, 1, 1, 1), mask=torch.ones(20, 24)).fitted()
    assert edit.source.shape == edit.edit.shape == edit.target.shape == (3, SIZE, SIZE, 3)
    assert edit.mask.shape == (3, SIZE, SIZE)
    assert torch.equal(edit.target[0], edit.target[2])


def test_an_encoder_with_words_compares_with_the_caption():
    red = torch.zeros(1, SIZE, SIZE, 3)
    red[..., 0] = 0.7
    scores = encoded(Edit(SOURCE, red, caption="red"), Features(True))
    assert scores["clip_text"].item() == pytest.approx(1.0)
    assert "clip_text" not in encoded(Edit(SOURCE, red), Features(True))
    assert set(encoded(Edit(SOURCE, red, caption="red"), Features(False))) == {"dino_source"}


def test_marks_are_viescores():
    judge = ScoreJudge(Chat('{"score": [8, 2], "reason": "why"}'))
    scores, reasons = judged(Edit(SOURCE.repeat(2, 1, 1, 1), TARGET, "do it"), judge)
    assert [scores[name].tolist() for name in MARKS] == [[2.0] * 2, [2.0] * 2, [2.0] * 2, [0.0] * 2]
    assert reasons == ["why", "why"]


def test_auto_takes_the_most_telling_measure():
    scores = measured(Edit(SOURCE, TARGET, mask=MASK))
    assert chosen(scores, "auto") == "psnr_outside"
    assert chosen(scores | measured(Edit(SOURCE, TARGET, target=TARGET)), "auto") == "ssim_target"
    assert chosen({**scores, "overall": torch.ones(1)}, "auto") == "overall"


def test_an_unknown_metric_lists_the_known_ones():
    with pytest.raises(X2EditError, match="beauty needs a name of: overall, sc"):
        chosen(measured(Edit(SOURCE, TARGET)), "beauty")


def test_the_report_has_a_line_for_each_measure_and_the_reasons():
    found = report(Edit(SOURCE, TARGET, "do it"), judge=ScoreJudge(Chat('{"score": [9, 9], "reason": "well done"}')))
    lines = found.text.splitlines()
    assert found.value == pytest.approx(9.0)
    assert [line.split()[0] for line in lines[1:-1]] == [*MARKS, "changed", "ssim_source", "psnr_source", "l1_source"]
    assert lines[-1] == "well done"


def test_a_judge_without_an_answer_is_an_error_only_where_it_is_asked_for():
    judge = ScoreJudge(Chat("pretty"))
    with pytest.raises(ChatError):
        report(Edit(SOURCE, TARGET), judge=judge)
    first, second, *_ = report(Edit(SOURCE, TARGET), "changed", judge=judge).text.splitlines()
    assert first.startswith("WARNING: no marks: a test gave no usable answer") and second.startswith("changed ")
