# SPDX-License-Identifier: Apache-2.0
"""cocotb modules that the tests of the runner simulate."""
