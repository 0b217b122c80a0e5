"""What the pages are made of: the store they ask, the scope they share, and how they show log text safely."""
