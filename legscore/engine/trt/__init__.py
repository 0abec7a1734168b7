"""TensorRT's bindings: common.py holds what 8.6, 10, 11 and TensorRT-RTX share; v8.py, v10.py and rtx.py the
rest.

Only these modules write `trt.`; a test compares every name with the lists of the versions that the module
serves.
"""
