"""TensorRT's bindings: common.py holds what 8.6, 10 and 11 share, v8.py and v10.py what they do not.

Only these modules write `trt.`; a test compares every name with the lists of the versions that the module
serves.
"""
