"""The other CIs as Python sees them: paths that are called, handles, streams."""
