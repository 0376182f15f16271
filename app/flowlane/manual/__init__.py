"""Manual pages, shell completions and the sample configuration, made of the parsers and options of both commands.

``python -m flowlane.manual PREFIX`` writes them below a prefix such as ``/usr/share``, where man(1) and the shells
look for them. ``flowlane completion SHELL`` prints a completion alone.
"""
