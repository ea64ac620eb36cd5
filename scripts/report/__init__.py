# SPDX-License-Identifier: Apache-2.0
"""Result files, pictures, and documents made from them."""
