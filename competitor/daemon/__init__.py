"""The tournament daemon: takes a checkpoint to a remote server and plays there, one state per match."""
