"""Many runs as one honest table: reading run folders, statistics over seeds and cases, and reports."""
