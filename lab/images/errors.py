"""The one error of this package."""


class ImageError(Exception):
    """An image cannot be had; the message is one sentence that names the cause and the remedy."""
