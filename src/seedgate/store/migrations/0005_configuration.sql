-- What an operator changes while the gateway runs: rows are only ever added, the newest of a name holds, and one without a
-- value is back at its default. Limits of accounts, keys and lanes are written to their own rows in the same transaction.
CREATE TABLE configuration (
    version bigint PRIMARY KEY CHECK (version > 0),
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 400),
    value text CHECK (length(value) <= 10000),
    actor text NOT NULL CHECK (length(actor) BETWEEN 1 AND 200),
    reason text NOT NULL CHECK (length(reason) BETWEEN 1 AND 1000),
    at timestamptz NOT NULL DEFAULT seedgate_now()
);
CREATE INDEX configuration_by_name ON configuration (name, version DESC);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is a history; rows are only added', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER configuration_is_history BEFORE UPDATE OR DELETE ON configuration
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
