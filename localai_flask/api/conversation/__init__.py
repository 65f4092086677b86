"""What every family's conversations share: calls and results in pairs, tools, and a past from elsewhere."""
