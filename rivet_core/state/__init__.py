"""What a run remembers between its steps and between runs, in a SQL database."""
