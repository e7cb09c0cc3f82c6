"""A page to listen to tracks whose labels look wrong, and to decide on them."""
