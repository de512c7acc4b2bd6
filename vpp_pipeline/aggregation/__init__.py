"""Storage resources that the market clears: classes of owners whose every award can be delivered."""
