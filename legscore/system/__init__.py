"""What knows no DNA: files, locks, caches, memory, cores, logs."""
