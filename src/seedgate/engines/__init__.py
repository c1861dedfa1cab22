"""Local inference engines, one package each; `seedgate.engine` is their contract."""
