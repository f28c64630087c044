"""What goes wrong: labelled errors, sorted into categories that a person can name and own."""
