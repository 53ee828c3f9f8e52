"""Many answers behind one prompt in a single forward pass.

The answers' tokens follow the prompt in one row. Each answer sees the prompt and itself, never another answer, and
its positions go on from the prompt's last: what the model computes for it is what it would compute for it alone.
Letters: P prompt tokens, A tokens of all answers, L = P + A.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class PackedAnswers:
    """`answers` as token ids, each ending with the token that ends the reply."""

    answers: tuple[tuple[int, ...], ...]
    prompt_length: int

    @property
    def extra_ids(self) -> list[int]:
        """What follows the prompt (A): every answer's tokens but its last, which only has to be predicted."""
        return [token for answer in self.answers for token in answer[:-1]]

    @property
    def predicting_rows(self) -> list[int]:
        """For every token of every answer in order, the row of the sequence whose logits predict it."""
        rows, start = [], self.prompt_length
        for answer in self.answers:
            inner = len(answer) - 1
            rows += [self.prompt_length - 1, *range(start, start + inner)]
            start += inner
        return rows

    def extra_positions(self, next_position: int) -> Tensor:
        """Positions (A) of the extra tokens, where the prompt would go on at `next_position`."""
        return torch.tensor(
            [next_position + index for answer in self.answers for index in range(len(answer) - 1)], dtype=torch.long
        )

    def mask(self) -> Tensor:
        """Who sees whom, boolean (L, L), rows are queries."""
        length = self.prompt_length + len(self.extra_ids)
        mask = torch.zeros(length, length, dtype=torch.bool)
        mask[:, : self.prompt_length] = True
        start = self.prompt_length
        for answer in self.answers:
            end = start + len(answer) - 1
            mask[start:end, start:end] = True
            start = end
        return mask.tril()

    def totals(self, logits: Tensor) -> list[float]:
        """Log-probability of each answer from `logits` (len(predicting_rows), vocabulary)."""
        targets = torch.tensor([token for answer in self.answers for token in answer], device=logits.device)
        chosen = logits.float().log_softmax(-1).gather(-1, targets.unsqueeze(-1)).squeeze(-1)
        return [part.sum().item() for part in chosen.double().split([len(answer) for answer in self.answers])]


def answer_ids(answers: Sequence[Sequence[int]], end: int) -> tuple[tuple[int, ...], ...]:
    """Token ids of whole replies: each answer closed by `end`."""
    return tuple((*answer, end) for answer in answers)
