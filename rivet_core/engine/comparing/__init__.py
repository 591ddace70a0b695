"""Compares rows of two sides in bounded memory."""
