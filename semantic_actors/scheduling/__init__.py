"""THE scheduler actor: it owns the KV pool and the batch loop."""

from semantic_actors.engine.protocol import TokenLogprobs
from semantic_actors.scheduling.batch import BatchLimits
from semantic_actors.scheduling.board import Board
from semantic_actors.scheduling.messages import (
    Abort,
    Accepted,
    Admitted,
    AskResidents,
    Flush,
    Generated,
    Inspect,
    Leave,
    Probe,
    Refused,
    SchedulerMessage,
    SequenceFailed,
    Submit,
    Warm,
)
from semantic_actors.scheduling.scheduler import Scheduler
from semantic_actors.scheduling.sequence import SequenceFinish, new_sequence_id
from semantic_actors.scheduling.snapshot import Snapshot, counters

__all__ = [
    "Abort",
    "Accepted",
    "Admitted",
    "AskResidents",
    "BatchLimits",
    "Board",
    "Flush",
    "Generated",
    "Inspect",
    "Leave",
    "Probe",
    "Refused",
    "Scheduler",
    "SchedulerMessage",
    "SequenceFailed",
    "SequenceFinish",
    "Snapshot",
    "Submit",
    "TokenLogprobs",
    "Warm",
    "counters",
    "new_sequence_id",
]
