"""What rows and columns must be before they are published."""
