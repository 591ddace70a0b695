"""From record batches to committed parts."""
