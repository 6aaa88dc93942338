"""The SQL of the arena's store; competitor.arena.store is the only one who speaks it."""

from __future__ import annotations

FORMAT = 1
"""Version of the tables, kept in the file's user_version."""
TABLES = {"users", "ratings", "matches"}

SCHEMA = """
CREATE TABLE users (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE COLLATE NOCASE,
    role TEXT NOT NULL CHECK (role IN ('player', 'bot')),
    token_sha256 TEXT NOT NULL UNIQUE,
    added_at REAL NOT NULL
);
CREATE TABLE ratings (
    user INTEGER PRIMARY KEY REFERENCES users (id),
    mu REAL NOT NULL,
    sigma REAL NOT NULL,
    wins INTEGER NOT NULL DEFAULT 0,
    draws INTEGER NOT NULL DEFAULT 0,
    losses INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE matches (
    id TEXT PRIMARY KEY,
    first INTEGER NOT NULL REFERENCES users (id),
    second INTEGER NOT NULL REFERENCES users (id),
    first_score INTEGER NOT NULL,
    second_score INTEGER NOT NULL,
    ending TEXT NOT NULL,
    left_by INTEGER REFERENCES users (id),
    started_at REAL NOT NULL,
    ended_at REAL NOT NULL,
    first_rating_before REAL NOT NULL,
    first_rating_after REAL NOT NULL,
    second_rating_before REAL NOT NULL,
    second_rating_after REAL NOT NULL
);
CREATE INDEX matches_by_end ON matches (ended_at);
"""
LEADERBOARD = """
SELECT name, role, mu, sigma, wins, draws, losses FROM ratings JOIN users ON users.id = ratings.user
WHERE wins + draws + losses > 0 ORDER BY mu - 3 * sigma DESC, name
"""
RECENT = """
SELECT matches.id, first.name, second.name, first_score, second_score, ending, leaver.name, started_at, ended_at,
    first_rating_before, first_rating_after, second_rating_before, second_rating_after
FROM matches JOIN users AS first ON first.id = matches.first JOIN users AS second ON second.id = matches.second
LEFT JOIN users AS leaver ON leaver.id = matches.left_by
ORDER BY ended_at DESC, matches.rowid DESC LIMIT ?
"""
INSERT_MATCH = f"INSERT INTO matches VALUES ({', '.join('?' * 13)})"
