"""Files to parts: formats, columns, and record batches in bounded memory."""
