"""The shared HTTP door: what every API of the product is built from. Start reading at `core/api/base.py`."""
