"""Many runs as one: methods x tasks x seeds, rates chosen on validation rows."""
