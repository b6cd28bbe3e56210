"""What a kill leaves of a directory: a copy at every moment at which a file in it changes its name or is synced."""

import os
import shutil

WRITES = ("replace", "rename", "fsync")


def killed_at_every_write(monkeypatch, path, moments, names=WRITES):
    """The copies, which appear below `moments` while the directory at `path` is written; names are of functions of os."""
    found = []

    def before(function):
        def watching(*args, **kwargs):
            if path.is_dir():
                found.append(moments / str(len(found)))
                shutil.copytree(path, found[-1])
            return function(*args, **kwargs)

        return watching

    for name in names:
        monkeypatch.setattr(os, name, before(getattr(os, name)))
    return found
