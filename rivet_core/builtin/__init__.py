"""Sources, formats and destinations that come with the core, registered like any plugin."""
