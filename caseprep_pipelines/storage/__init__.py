"""Where bytes live: keys, objects, immutable product versions and their documents."""
