"""From ``rivet.yaml`` to validated models."""
