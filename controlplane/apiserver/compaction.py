"""Forgets old history: storage keeps the changes of the last few minutes, and everything that is current.

IO through storage. One task per server. History is needed by later pages of a list and by clients that
resume a watch after the server was restarted.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from controlplane.storage.contract import Storage
from controlplane.storage.errors import StorageError

logger = logging.getLogger(__name__)

COMPACTION_PERIOD_SECONDS: Final = 300.0


async def run_compaction(storage: Storage, period_seconds: float = COMPACTION_PERIOD_SECONDS) -> None:
    """Until cancelled: each time, forget what was superseded before the last time."""
    revision = storage.revision
    while True:
        await asyncio.sleep(period_seconds)
        try:
            await storage.compact(revision)
        except StorageError as error:
            logger.warning("compaction failed, trying again later", extra={"error": str(error)})
        else:
            logger.debug("history compacted", extra={"revision": revision})
        revision = storage.revision
