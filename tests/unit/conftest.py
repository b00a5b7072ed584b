"""Ansible's own way to find collections, before any test imports a module or filter of ours through it."""

from __future__ import annotations

from ansible.plugins.loader import init_plugin_loader

init_plugin_loader()
