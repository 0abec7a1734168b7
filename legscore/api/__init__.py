"""What `import legscore` offers, a module for each kind of work. Use the names from `legscore` itself."""
