"""Keys and credits: who may ask, and what they can spend."""
