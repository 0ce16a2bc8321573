# SPDX-License-Identifier: Apache-2.0
"""Errors that a user can cause: the command line prints one line and exits with status 2."""


class UnzipError(Exception):
    """Base of every error that is the input's fault: says what is wrong, where, and what helps."""


class ModelError(UnzipError):
    """A model file that cannot be read, or that holds something outside the supported set."""


class RangeError(UnzipError):
    """A layer whose integer ranges cannot be proven; names the layer and the bound."""


class DataError(UnzipError):
    """Images, labels or a data set that are missing or do not fit the model."""
