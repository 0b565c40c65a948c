"""What carries bytes between agents. `url.open_bus` makes one; `base.Bus` is what it does."""
