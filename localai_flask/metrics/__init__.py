"""What is counted, where the counts live, and how they are shown; knows no Flask and no engine."""
