"""A task of an experiment whose process is killed, as where memory has run out."""

from __future__ import annotations

import os
import signal
from typing import Any


class DeadlyTask:
    def __init__(self, task: Any) -> None:
        self.asked, self.systems, self.work = task.asked, task.systems, task.work

    def run(self, resources: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)
