"""DECIDE: what should we do, and why? Pure; time is an argument; imports monitors only."""
