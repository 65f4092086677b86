"""What a request says of how its answer is made: sampling, form and thinking, in the words that families share."""
