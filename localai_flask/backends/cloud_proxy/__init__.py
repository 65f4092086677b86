"""Models of any server elsewhere that speaks OpenAI's API: its texts, chats, vectors and rerankings."""
