"""The commands of `tidegate`, one file each: `run` takes the parsed options and gives the exit code."""
