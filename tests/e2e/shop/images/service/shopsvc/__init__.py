"""The Python parts of the demo shop: one code base, one image, configured by environment variables."""
