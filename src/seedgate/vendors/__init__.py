"""One folder per vendor, spoken both ways; none imports another. `seedgate.dialect` is the contract."""
