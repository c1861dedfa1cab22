-- Reference pictures that callers uploaded, checked and cleaned. The content lies on the shelf by its SHA-256, and any
-- number of rows, and of tasks' references, may share it. A row is the permission to read it; without the row, or after
-- `expires_at`, its address leads nowhere.
CREATE TABLE file (
    id uuid PRIMARY KEY,
    account_id uuid NOT NULL REFERENCES account,
    name text NOT NULL UNIQUE CHECK (name ~ '^[0-9A-Za-z]{22}\.(jpg|png)$'),
    sha256 text NOT NULL CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    format text NOT NULL CHECK (format IN ('jpeg', 'png')),
    width integer NOT NULL CHECK (width > 0),
    height integer NOT NULL CHECK (height > 0),
    size_bytes bigint NOT NULL CHECK (size_bytes > 0),
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    CHECK (expires_at > created_at)
);
CREATE INDEX file_by_account ON file (account_id, id);
CREATE INDEX file_by_content ON file (sha256);
CREATE INDEX file_by_expiry ON file (expires_at);
