"""One JSON object a line on stderr: when, what, which request; never a listing's words or a secret."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

LOG = logging.getLogger("stallwart")


class JsonLines(logging.Formatter):
    """Log records as JSON; what is passed as `extra={"facts": {...}}` becomes keys."""

    def format(self, record: logging.LogRecord) -> str:
        """One record as one line."""
        line: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "facts", {}),
        }
        if record.exc_info and record.exc_info[0]:
            # Where it happened, without the message: that could quote a listing
            line["error"] = record.exc_info[0].__name__
            frames, trace = [], record.exc_info[2]
            while trace:
                code = trace.tb_frame.f_code
                frames.append(f"{code.co_filename}:{trace.tb_lineno} {code.co_name}")
                trace = trace.tb_next
            line["trace"] = frames[-12:]
        return json.dumps(line, ensure_ascii=False, default=str)


def log_to_stderr() -> None:
    """Send the service's log, and uvicorn's complaints, to stderr as JSON lines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    for name, level in (("stallwart", logging.INFO), ("uvicorn", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level)


def say(event: str, level: int = logging.INFO, exc_info: bool = False, **facts: Any) -> None:
    """Log one event with its facts."""
    LOG.log(level, event, extra={"facts": facts}, exc_info=exc_info)
