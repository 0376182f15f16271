"""Classification of flows: rules, hints and rate gates.

The arguments that many functions share:

vm
    The sender, None when it is not a known VM.
parts
    The flow's key, unpacked (see :mod:`flowlane.core.flowkey`).
dscp, pcp
    The marks of its first packet; 0: not marked.
opened
    The rate gates of the policy that are open for the flow, bit i for ``policy.gates[i]``.
"""
