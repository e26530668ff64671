"""What programs ask the server for, as JSON."""
