"""The rules of a plan: pure functions of what was measured, each with its source."""
