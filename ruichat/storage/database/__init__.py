"""What people write: users, cases, chats, findings; in SQLite, or in PostgreSQL by URL."""
