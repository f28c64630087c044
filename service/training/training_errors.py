"""What can go wrong between labelled rows and a stored model.

TrainingError
├── TrainingData            the rows cannot teach a model
│   ├── NoTrainingRows      no row with a label
│   ├── NoFeatures          no column that a model could learn from
│   ├── OneClassOnly        a classifier needs two labels
│   ├── BadLabels           a label that cannot be read as the task needs it
│   └── NotEnoughRows       curation leaves too few rows
├── TrainingCancelled       somebody asked to stop
├── LossNotFinite           the numbers ran away
├── TrainingFailed          the training child ended with an error
├── NotJudged               rows on which champion and challenger cannot be compared
├── BadModelName            a model or version that cannot be a folder name
├── VersionExists           another model is stored under this version
├── UnknownVersion          no such model version is stored
└── BadModelFile            a stored model that must not be loaded
    ├── TamperedModel       its bytes are not the ones that were stored
    └── UnexpectedType      it holds something that a model never holds
"""

from collections.abc import Sequence
from pathlib import Path

from service.errors import ServiceError


class TrainingError(ServiceError):
    """Root of everything that training and the model store raise."""


class TrainingData(TrainingError):
    """The rows cannot teach a model."""


class NoTrainingRows(TrainingData):
    """No row with a label."""

    def __init__(self, seen: int) -> None:
        super().__init__(f"no training row has a label ({seen:,} rows seen); wait for labels or widen the window")
        self.seen = seen


class NoFeatures(TrainingData):
    """No column that a model could learn from."""

    def __init__(self, left_out: Sequence[str]) -> None:
        names = ", ".join(left_out) or "none"
        super().__init__(
            f"no usable feature_* column (left out: {names}); one with values, not `tag` or `ignore`, is needed"
        )
        self.left_out = tuple(left_out)


class OneClassOnly(TrainingData):
    """A classifier needs two labels."""

    def __init__(self, label: str, rows: int) -> None:
        super().__init__(f"all {rows:,} training rows have the label {label!r}; a classifier needs at least two")
        self.label = label
        self.rows = rows


class BadLabels(TrainingData):
    """A label that cannot be read as the task needs it."""


class NotEnoughRows(TrainingData):
    """Curation leaves too few rows."""

    def __init__(self, part: str, seen: int, needed: int, excluded: str) -> None:
        super().__init__(f"{part}: {seen:,} rows, at least {needed:,} are needed ({excluded})")
        self.part = part
        self.seen = seen
        self.needed = needed


class TrainingCancelled(TrainingError):
    """Somebody asked to stop."""

    def __init__(self, step: int) -> None:
        super().__init__(f"training was cancelled after checkpoint {step}")
        self.step = step


class LossNotFinite(TrainingError):
    """The numbers ran away."""

    def __init__(self, step: int, loss: float) -> None:
        super().__init__(
            f"the loss is {loss} at checkpoint {step}; look for extreme values in the labels or the feature columns"
        )
        self.step = step
        self.loss = loss


class TrainingFailed(TrainingError):
    """The training child ended with an error."""


class NotJudged(TrainingError):
    """Rows on which champion and challenger cannot be compared."""


class VersionExists(TrainingError):
    """Another model is stored under this version."""

    def __init__(self, model: str, version: str) -> None:
        super().__init__(
            f"model {model!r} already has a version {version!r} with another content; give it a new version"
        )
        self.model = model
        self.version = version


class UnknownVersion(TrainingError):
    """No such model version is stored."""

    def __init__(self, model: str, version: str, folder: Path) -> None:
        super().__init__(f"model {model!r} has no version {version!r} in {folder}")
        self.model = model
        self.version = version


class BadModelFile(TrainingError):
    """A stored model that must not be loaded."""


class TamperedModel(BadModelFile):
    """Its bytes are not the ones that were stored."""

    def __init__(self, file: Path, expected: str, seen: str) -> None:
        super().__init__(
            f"{file} has sha256 {seen[:12]}… but its manifest says {expected[:12]}…; restore it from a copy or retrain"
        )
        self.file = file


class UnexpectedType(BadModelFile):
    """It holds something that a model never holds."""

    def __init__(self, file: Path, types: Sequence[str]) -> None:
        super().__init__(f"{file} holds {', '.join(types)}; a Tidegate model holds only arrays, numbers and strings")
        self.file = file
        self.types = tuple(types)
