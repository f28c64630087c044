"""`tidegate demo`: the AwesomeShoes story, told while the code of production plays it."""
