"""What a number of machines would do with an archive and its uploads: a simulation with a virtual clock, seeded."""
