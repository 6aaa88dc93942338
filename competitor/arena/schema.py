"""The SQL of the arena's store; competitor.arena.store and queries are the only ones who speak it."""

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
TO_FORMAT_2 = """
ALTER TABLE users ADD COLUMN state TEXT NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'banned', 'removed'));
CREATE INDEX matches_by_first ON matches (first, ended_at);
CREATE INDEX matches_by_second ON matches (second, ended_at);
CREATE INDEX matches_by_leaver ON matches (left_by) WHERE left_by IS NOT NULL
"""
TO_FORMAT_3 = "ALTER TABLE users ADD COLUMN address TEXT NOT NULL DEFAULT ''"
UPGRADES = (SCHEMA, TO_FORMAT_2, TO_FORMAT_3)
FORMAT = len(UPGRADES)  # version of the tables, kept in the file's user_version
LEADERBOARD = """
SELECT name, role, mu - 3 * sigma, mu, sigma, wins + draws + losses, wins, draws, losses
FROM ratings JOIN users ON users.id = ratings.user
WHERE wins + draws + losses > 0 AND state = 'active' ORDER BY mu - 3 * sigma DESC, name
"""
MATCHES = """
SELECT matches.id, first.name, second.name, first_score, second_score, ending, leaver.name, started_at, ended_at,
    first_rating_before, first_rating_after, second_rating_before, second_rating_after
FROM matches JOIN users AS first ON first.id = matches.first JOIN users AS second ON second.id = matches.second
LEFT JOIN users AS leaver ON leaver.id = matches.left_by
"""
NEWEST_FIRST = "ORDER BY ended_at DESC, matches.rowid DESC LIMIT ? OFFSET ?"
OF_USER = f"""
WHERE matches.rowid IN (SELECT rowid FROM matches WHERE first = (SELECT id FROM users WHERE name = ?1)
    UNION SELECT rowid FROM matches WHERE second = (SELECT id FROM users WHERE name = ?1))
{NEWEST_FIRST.replace("LIMIT ? OFFSET ?", "LIMIT ?2 OFFSET ?3")}
"""
ACCOUNTS = """
SELECT name, role, state, added_at, mu - 3 * sigma, wins + draws + losses,
    (SELECT count(*) FROM matches WHERE left_by = users.id)
FROM users JOIN ratings ON ratings.user = users.id WHERE state != 'removed' ORDER BY name COLLATE NOCASE
"""
OPPONENTS = """
WITH own AS (SELECT id FROM users WHERE name = ?1), met AS (
    SELECT second AS other, first_score - second_score AS margin, ending, left_by FROM matches, own WHERE first = own.id
    UNION ALL
    SELECT first, second_score - first_score, ending, left_by FROM matches, own WHERE second = own.id
)
SELECT users.name, sum(ending = 'played' AND margin > 0), sum(ending = 'played' AND margin = 0),
    sum(ending = 'played' AND margin < 0), sum(left_by IS own.id), sum(left_by IS other)
FROM met JOIN users ON users.id = other, own GROUP BY other ORDER BY count(*) DESC, users.name
"""
RATING_CURVE = """
WITH own AS (SELECT id FROM users WHERE name = ?1)
SELECT ended_at, rating FROM (
    SELECT ended_at, matches.rowid AS row, first_rating_after AS rating, ending FROM matches, own WHERE first = own.id
    UNION ALL
    SELECT ended_at, matches.rowid, second_rating_after, ending FROM matches, own WHERE second = own.id
) WHERE ending = 'played' ORDER BY ended_at DESC, row DESC LIMIT ?2
"""
INSERT_MATCH = f"INSERT INTO matches VALUES ({', '.join('?' * 13)})"
