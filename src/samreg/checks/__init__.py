"""Is it right? A finished transform with its images and pairs goes in, and named numbers with warnings come out."""
