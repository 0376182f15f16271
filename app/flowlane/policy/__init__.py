"""Policies: from YAML to sound data, with every error named."""
