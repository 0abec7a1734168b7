"""Put on the path of Ray's workers by test_cluster.py: engines that stumble over marked windows, as real ones
may.

More than 100 of one base in a window: T raises, A ends the process, G (with openvino) scores wrongly.
"""

import importlib.abc
import importlib.util
import os
import sys

HOOKED = {"legscore.engine.null_engine": "NullEngine", "legscore.engine.openvino_engine": "OpenVINOEngine"}


class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name not in HOOKED:
            return None
        chosen = HOOKED.pop(name)
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            stumble(getattr(module, chosen))

        spec.loader.exec_module = exec_module
        return spec


def stumble(engine):
    score = engine._score

    def marked(self, batch, members, both, tell):
        codes = batch.expand()
        if ((codes == 3).sum(axis=1) > 100).any():
            raise RuntimeError("this window cannot be scored")
        if ((codes == 0).sum(axis=1) > 100).any():
            os._exit(9)
        scores = score(self, batch, members, both, tell)
        if self.n_members > 1:  # not the network that scores are compared with
            scores = scores + 3.0 * ((codes == 1).sum(axis=1) > 100)[None, :].astype(scores.dtype)
        return scores

    engine._score = marked


if os.environ.get("LEGSCORE_TEST_WORKER"):
    sys.meta_path.insert(0, Finder())
