"""Knocks at TCP ports, all at once. Runs on the machines too, so it uses only the standard library.

The answer tells who said no: ``open``; ``refused`` where the packet arrived and nobody listened;
``silent`` where it was dropped on its way.
"""

from __future__ import annotations

import asyncio
import json
import sys

# Long enough for a second and a third attempt of TCP (after 1 s and 3 s).
PATIENCE_SECONDS = 5


async def knock(address: str, port: int) -> str:
    """The answer of one port."""
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(address, port), PATIENCE_SECONDS)
    except ConnectionRefusedError:
        return "refused"
    except TimeoutError:
        return "silent"
    except OSError as error:
        return error.strerror or str(error)
    writer.close()
    return "open"


async def scan(targets: list[tuple[str, int]]) -> list[str]:
    """The answers of many ports, in their order."""
    return await asyncio.gather(*(knock(address, port) for address, port in targets))


if __name__ == "__main__":
    print(json.dumps(asyncio.run(scan(json.loads(sys.argv[1])))))
