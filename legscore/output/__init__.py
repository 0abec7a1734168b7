"""Parts to files: kept parts, shards, and the writers of each format."""
