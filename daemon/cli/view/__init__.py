# SPDX-License-Identifier: Apache-2.0
"""What people see: tables and the status page, as pure functions of the API's data."""
