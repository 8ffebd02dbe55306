"""Archives: what a manifest or a listing names, taken into the registry. When it runs is not known here."""
