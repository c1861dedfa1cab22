-- How often this installation came out of a backup. What happened after the backup happened in another epoch: whoever
-- meets a name of this installation outside it can tell the two apart.
ALTER TABLE installation ADD COLUMN epoch integer NOT NULL DEFAULT 0 CHECK (epoch >= 0);
