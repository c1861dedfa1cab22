"""Who runs a command, for the books and the history."""

import os
import pwd


def operator() -> str:
    """The name of the account that runs the command, as the system knows it."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"
