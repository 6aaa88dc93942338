"""A population: learners with roles that train side by side and feed each other through one directory."""
