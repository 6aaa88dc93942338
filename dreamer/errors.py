"""What can go wrong inside the mind.

DreamerError
├── CheckpointError   a file is missing, damaged, foreign or of another version; or could not be written
├── ReplayError       an episode or a stored replay does not fit
└── DivergenceError   the losses stay non-finite; training cannot go on
"""


class DreamerError(Exception):
    """Base of every error of this package; its text is one sentence for the user."""


class CheckpointError(DreamerError):
    """A checkpoint cannot be read or written."""


class ReplayError(DreamerError):
    """An episode or a stored replay does not fit the buffer."""


class DivergenceError(DreamerError):
    """Updates stay non-finite, so training has stopped."""
