"""CAISO's OASIS as a source of prices: asked politely, checked hour by hour, and kept, since OASIS forgets.

``client`` speaks HTTP (with ``gate``: one request at a time), ``report`` reads what comes back, ``days`` tells whether
a day is whole, ``copy`` keeps it, and ``source`` puts them together behind ``PriceSource``.
"""
