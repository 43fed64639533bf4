"""From a protocol file to finished runs, on this machine or on a Ray cluster."""
