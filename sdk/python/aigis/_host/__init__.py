"""What others may call in this process: handles in any, the skills of plugins in a core host."""
