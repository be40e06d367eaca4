"""Numbers that physicists ask of any potential: crystals, springs, series, and a reference potential of silicon."""
