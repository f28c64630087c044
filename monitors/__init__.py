"""MEASURE: what is true? Pure; arrays in, values out; imports nothing of ours."""
