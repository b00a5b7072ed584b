"""The programs of the lab's stand-in for MongoDB, from the folder of which its image is built.

The one place that reaches into that folder: it must hold all that the image is made of.
"""

from lab.images.contexts.mongo.mongo_compat import initdb, mongod, mongosh, settings

__all__ = ["initdb", "mongod", "mongosh", "settings"]
