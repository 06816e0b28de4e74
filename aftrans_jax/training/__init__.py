"""Steps, losses, optimizer, evaluation, checkpoints and the loop: what trains any model here."""
