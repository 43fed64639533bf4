"""What every report shares, and the reports that no clinician reads."""
