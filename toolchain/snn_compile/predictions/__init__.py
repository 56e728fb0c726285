"""What a compiled network answers to samples: rows for people, figures against labels."""
