"""Take a recording out of everything that the project keeps, and say what still holds it."""
