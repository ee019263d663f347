"""What happened and what is about to: deploys, intents, verdicts, what was answered, which releases were healthy.

SQLite with a write-ahead log and ``synchronous=FULL``: what a method has returned from survives a power cut
(https://www.sqlite.org/pragma.html#pragma_synchronous). The agent alone writes (``keeping``), in a thread of its own
(``thread``); the commands and the page read beside it (``reading``).
"""
