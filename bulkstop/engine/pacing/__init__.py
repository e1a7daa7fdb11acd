"""How soon calls leave, where that is learnt from what a service answers."""
