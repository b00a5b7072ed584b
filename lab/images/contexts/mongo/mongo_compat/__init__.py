"""The commands of the official mongo image, on SecantusDB in the place of MongoDB's own server."""
