# SPDX-License-Identifier: Apache-2.0
"""unzipFPGA: CNN inference from weights that are regenerated on chip from OVSF codes."""

__version__ = "0.1.0"
