"""What a row means: its columns, the windows it asks for, and how scores become its results."""
