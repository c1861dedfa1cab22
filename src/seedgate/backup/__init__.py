"""An installation in one folder or one tar file, and back: database and pictures together.

    manifest.json          what it is, how much, and the SHA-256 of the next two
    database.sql.gz        every row, of one snapshot
    files.txt              a line `folder name sha256` per file that those rows name
    secret.key             without it no key in the database is recognised; may be left out
    development.key
    results/ab/abcd….jpg   in the order of files.txt; what was gone when its turn came is not there
    references/ab/abcd…

    take      rows and names of one snapshot → files → under its final name
    restore   mark the folder → files → one transaction: rows, what has no file, reconcile, commit → take the mark away

The database comes first, so a file that a row names is there unless it expired since. Results in object storage stay
there. A data folder that bears the mark is refused by everything but the restore that goes on with it, and a database
has all of a backup or nothing, so a restore that is killed leaves nothing that somebody could take for an installation.
"""
