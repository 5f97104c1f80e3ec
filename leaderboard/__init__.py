"""Many runs as a site and as tables."""
