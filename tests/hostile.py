"""Texts that broke other programs: as SQL, in logs, as headers, in templates, on terminals and in paths."""

SQL = [
    "' OR '1'='1",
    "'; DROP TABLE task; --",
    "1) UNION SELECT digest FROM api_key --",
    "$1",
    "\\'; --",
    "%_\\",
    "$$x$$",
]
TEMPLATES = ["{{7*7}}", "${7*7}", "#{7*7}", "<%= 7*7 %>", "%s%n%d", "%(prompt)s", "{0}", "{self.__class__}", "${jndi:ldap://x}"]  # fmt: skip
LINES = [
    "a\r\nX-Evil: 1",
    "a\nX-Evil: 1",
    "a\rb",
    "\r\n\r\nHTTP/1.1 200 OK",
    '"}\n{"event":"forged"}',
    "a\u2028b\u2029c\x85d",
]
TERMINALS = ["\x1b[2J\x1b[31mred", "\x9b31m", "\x07\x08\x7f", "\u202egnp.exe", "\x1b]0;title\x07"]
PATHS = ["../../etc/passwd", "..%2f..%2fetc", "/etc/passwd\x01", "C:\\x", ".", "..", "a/b", "a%00b", "?a=b#c", ";x=1"]
UNICODE = ["\u0000", "\ufeffbom", "a\u200bb", "𝕊eedream", "é" * 300, "\U0010ffff", "İıſ", "x" * 3_000, "a\u0301" * 40]
MARKUP = ["<script>alert(1)</script>", "<!--", "&lt;", "]]>", "`id`", "$(id)", "| id", "=1+1", "@SUM(1)"]

TEXTS = [*SQL, *TEMPLATES, *LINES, *TERMINALS, *PATHS, *UNICODE, *MARKUP]
