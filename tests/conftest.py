"""Before any test imports os-ken: the hub that the product runs on, without patching the test process."""

from flowlane import hub

hub.prepare(patch=False)
