"""What users write (registrations, reports of health, modes, durations), read into core types."""
