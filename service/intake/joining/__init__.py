"""Labels and outcomes meet their predictions."""
