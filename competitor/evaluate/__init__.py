"""How good a player is: paired rounds, statistics, cross tables, reports."""
