"""What was found in files of another project, in our words, with what a person should know of it.

Owns how rows come together: who answered what, which judges there are, what stands twice.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from shared.protocol.evals.run import GivenAnswer, GivenReview
from shared.protocol.evals.spec import DimensionName, Mode, Question, Rubric


@dataclass(frozen=True, slots=True)
class FoundAnswer:
    """One answer and whose it is; None where its file does not tell."""

    model: str | None
    answer: GivenAnswer


@dataclass(slots=True)
class Found:
    """All that some files hold."""

    questions: dict[str, Question] = field(default_factory=dict[str, Question])
    answers: dict[str, dict[str, GivenAnswer]] = field(
        default_factory=dict[str, dict[str, GivenAnswer]]
    )
    """By model, then question."""
    reviews: list[GivenReview] = field(default_factory=list[GivenReview])
    rubrics: dict[str, Rubric] = field(default_factory=dict[str, Rubric])
    """Dimensions of the reviews that are none of ours."""
    counted: Counter[str] = field(default_factory=Counter[str])
    """How often something was found that a person should know of."""
    notes: list[str] = field(default_factory=list[str])

    def add_question(self, question: Question) -> None:
        """Keep a question; the first one with an id stays."""
        self.questions.setdefault(question.id or "", question)

    def add_answer(self, model: str, answer: GivenAnswer) -> None:
        """Keep an answer; as in FastChat the last one to a question stays."""
        answers = self.answers.setdefault(model, {})
        before = answers.get(answer.question_id)
        if before is not None and before != answer:
            self.counted["answers given twice, the last one is taken"] += 1
        answers[answer.question_id] = answer

    def add_review(self, review: GivenReview) -> None:
        """Keep a review that has a verdict, or a text in which one may be read."""
        unread = review.ranks is None and review.scores is None
        if unread and not (review.text or "").strip():
            self.counted["reviews without verdict and text, left out"] += 1
            return
        if unread:
            self.counted["reviews without a verdict, their text is read again"] += 1
        self.reviews.append(review)

    @property
    def models(self) -> list[str]:
        """Return all that answered or were reviewed, in the order in which they came."""
        reviewed = (model for review in self.reviews for model in review.lineup)
        return list(dict.fromkeys([*self.answers, *reviewed]))

    @property
    def judges(self) -> list[str]:
        """Return who reviewed."""
        return list(dict.fromkeys(review.judge for review in self.reviews))

    @property
    def dimensions(self) -> list[DimensionName | Rubric]:
        """Return what was reviewed."""
        names = dict.fromkeys(review.dimension for review in self.reviews)
        return [self.rubrics.get(name, name) for name in names]  # pyright: ignore[reportReturnType]

    @property
    def mode(self) -> Mode:
        """Return what judges were asked for."""
        if any(review.scores is not None for review in self.reviews):
            return Mode.SCORING
        two = all(len(review.lineup) == 2 for review in self.reviews)  # noqa: PLR2004 - a pair
        return Mode.PAIRWISE if two and self.reviews else Mode.ORDERING

    def numbered(self) -> None:
        """Count reviews that stand several times as repeats."""
        seen: Counter[tuple[object, ...]] = Counter()
        for place, review in enumerate(self.reviews):
            key = (review.question_id, review.dimension, review.judge, tuple(review.lineup))
            if seen[key] and review.repeat == 0:
                self.reviews[place] = review.model_copy(update={"repeat": seen[key]})
                self.counted["reviews given several times, they count as repeats"] += 1
            seen[key] += 1

    def told(self) -> list[str]:
        """Return what a person should know, a line each."""
        counted = [f"{what}: {number}" for what, number in sorted(self.counted.items())]
        return [*self.notes, *counted]
