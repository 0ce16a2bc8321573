# SPDX-License-Identifier: Apache-2.0
"""Verification of unzipFPGA: golden model, testbenches and the simulation runner."""
