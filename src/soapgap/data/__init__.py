"""What a fit learns from: structures with their observations, and how far these are trusted."""
