"""What is to be done about models and workers: pure functions from the table, the rules and the time to actions."""
