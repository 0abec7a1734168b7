"""One run: options, checks, the pipeline, and what lets it be resumed."""
