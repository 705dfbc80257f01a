"""What reads and writes models of other formats."""
