"""`python -m seedgate` is the command `seedgate`."""

from seedgate.cli import main

main()
