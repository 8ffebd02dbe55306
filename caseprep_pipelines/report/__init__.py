"""What the archive took and gave, in hours, speed, money, waiting and quality: from the catalog, with pandas."""
