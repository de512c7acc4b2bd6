"""CAISO's OASIS as a source of prices: asked politely, checked hour by hour, and kept, since OASIS forgets.

``client`` asks, one request at a time, ``report`` reads what comes back, ``archive`` tells whether a day is whole and
keeps it, and ``source`` puts them together behind ``PriceSource``.
"""
