"""From numbers to a page, tables and figures."""
