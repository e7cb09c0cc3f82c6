"""What the networks listen to: one question a module. ``layers`` finds the parts of a network, ``pictures`` draws."""
