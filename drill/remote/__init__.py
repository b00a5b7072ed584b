"""Scripts that run inside the apps' containers; the drill passes them on standard input."""
